"""A source's rows in another order."""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain

import attrs

from phi_finetune.chat_dataset.canonical import BLOCK_BYTES, line_of, read_line
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.derived import Derived
from phi_finetune.chat_dataset.found import Found, Mend, Source
from phi_finetune.chat_dataset.parts import lines_of

__all__ = ["Shuffled"]

_IN_MEMORY_BYTES = 8 * 1024 * 1024


@attrs.frozen
class Shuffled(Derived):
    """All rows of a source, in an order that the rows and a seed decide.

    Each pass copies the lines to a temporary file, in memory up to 8 MiB, and holds 24 bytes a row.

    Attributes:
        seed: Another seed gives another order.
    """

    seed: int

    def rows(self) -> Iterator[Conversation]:
        """Read the whole, and give its rows in the new order."""
        return (read_line(line) for _place, line in self._ordered(lines_of(self.whole)))

    def blocks(self) -> Iterator[bytes]:
        """The same as lines."""
        block: list[bytes] = []
        size = 0
        for _place, line in self._ordered(lines_of(self.whole)):
            block.append(line)
            size += len(line)
            if size >= BLOCK_BYTES:
                yield b"".join(block)
                block.clear()
                size = 0
        if block:
            yield b"".join(block)

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """The whole's broken rows first, then the good ones in the new order, with their old numbers."""
        broken: list[Found] = []
        labels: list[str] = []
        numbers, which = array("Q"), array("H")

        def good() -> Iterator[bytes]:
            for label, number, found in self.whole.examine():
                if not isinstance(found, Conversation):
                    broken.append((label, number, found))
                    continue
                if label not in labels:
                    labels.append(label)
                numbers.append(number or 0)
                which.append(labels.index(label))
                yield line_of(found)

        ordered = self._ordered(good())
        first = next(ordered, None)
        yield from broken
        if first is not None:
            for place, line in chain([first], ordered):
                yield labels[which[place]], numbers[place], read_line(line)

    def mended(self, mend: Mend) -> Source:
        """The same of the mended whole."""
        return Shuffled(self.whole.mended(mend), self.seed)

    def _ordered(self, lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """All lines in the new order, each with its place in the old one."""
        import numpy

        salt = f"{self.seed} shuffle\n".encode()
        keys, starts = array("Q"), array("Q")
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
            for line in lines:
                keys.append(int.from_bytes(hashlib.blake2b(salt + line, digest_size=8).digest(), "big"))
                starts.append(file.tell())
                file.write(line)
            for place in numpy.argsort(numpy.asarray(keys), kind="stable"):
                file.seek(starts[place])
                yield int(place), file.readline()
