"""A file of JSON lines, read a line at a time."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from phi_finetune.chat_dataset.readers.compressed import opened
from phi_finetune.chat_dataset.readers.one_file import OneFile
from phi_finetune.chat_dataset.readers.parsing import parse_line
from phi_finetune.chat_dataset.rules import BrokenRule

__all__ = ["JsonLines"]

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLOCK_BYTES = 128 * 1024
"""A block and what is made of it fit into a processor's cache."""


@attrs.frozen
class JsonLines(OneFile):
    """The rows of one file; lines count from 1, a byte order mark and blank lines are passed over."""

    def begins_with_mark(self) -> bool:
        """Whether a byte order mark stands at its start.

        Raises:
            InvalidData: The file cannot be read.
        """
        with opened(self.path) as file:
            return file.readline(len(_BYTE_ORDER_MARK)) == _BYTE_ORDER_MARK

    def records(self) -> Iterator[tuple[int, object]]:
        """Each line's number and its value, or the fault that keeps it from being read.

        Raises:
            InvalidData: The file cannot be read.
        """
        for number, line in self.lines():
            yield number, self.value(line)

    def value(self, line: bytes) -> object:
        """What a line holds, or the fault that keeps it from being read."""
        try:
            return parse_line(line)
        except BrokenRule as broken:
            return broken.fault

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Each line that is not blank, with its number.

        Raises:
            InvalidData: The file cannot be read.
        """
        return ((number, line) for number, line in self._numbered_lines() if not line.isspace())

    def line_spans(self) -> Iterator[tuple[bytes, int, int]]:
        """Where in what was read whole lines stand, many at a time, blank ones too.

        They are not copied out of it, but for a line that goes from one block into the next.

        Raises:
            InvalidData: The file cannot be read.
        """
        with opened(self.path) as file:
            begun = [file.readline().removeprefix(_BYTE_ORDER_MARK)]
            while data := file.read1(_BLOCK_BYTES):  # read() would lose what stands before a fault
                start, end = data.find(b"\n") + 1, data.rfind(b"\n") + 1
                if not end:
                    begun.append(data)
                    continue
                line = b"".join([*begun, data[:start]])
                yield line, 0, len(line)
                if start < end:
                    yield data, start, end
                begun = [data[end:]]
            if rest := b"".join(begun):
                yield rest, 0, len(rest)

    def _numbered_lines(self) -> Iterator[tuple[int, bytes]]:
        with opened(self.path) as file:
            first = file.readline()
            yield 1, first.removeprefix(_BYTE_ORDER_MARK) or b"\n"
            yield from enumerate(file, start=2)
