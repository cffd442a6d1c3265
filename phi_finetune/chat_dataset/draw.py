"""A share of a source's rows, drawn by the rows' own content."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Protocol

import attrs

from phi_finetune.chat_dataset.conversation import Conversation, canonical_line

__all__ = ["Draw", "Part", "Source"]

_POSITION_BYTES = 6  # 48 bits: a float holds every such fraction exactly
_POSITIONS = 1 << 48


class Source(Protocol):
    """Where the rows of one split come from. Reading it again gives the same rows."""

    @property
    def label(self) -> str:
        """What errors call it."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that it reads."""
        ...

    def rows(self) -> Iterator[Conversation]:
        """Read all rows from the first, checked; an error names the file and the row."""
        ...

    def stamp(self) -> Hashable:
        """Give a value that differs when the rows may have changed."""
        ...


@attrs.frozen
class Part:
    """Some of a source's rows, in their order.

    Attributes:
        whole: The rows taken from.
        name: The name of the split that the rows taken become.
        takes: True for the rows taken, False for those left.
    """

    whole: Source
    name: str
    takes: bool = attrs.field(kw_only=True)

    @property
    def label(self) -> str:
        """The split, and from what; what is left goes by the name of the whole."""
        return f"the {self.name} split of {self.whole.label}" if self.takes else self.whole.label

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the whole."""
        return self.whole.files

    def stamp(self) -> Hashable:
        """Give the stamp of the whole."""
        return self.whole.stamp()


@attrs.frozen
class Draw(Part):
    """The rows of ``whole`` that a draw took, or those that it left.

    A row's content alone, with the seed and the draw's name, decides: not its position, nor the other rows.
    So rows appended later move none of the earlier ones, and equal rows always stay together.

    Attributes:
        whole: The rows drawn from.
        name: The name of the split drawn; it goes into the draw, so that two with one seed are independent.
        seed: Any number; the same one draws the same rows.
        fraction: The expected share of the rows that is taken, from 0 to 1.
        takes: True for the rows taken, False for those left.
    """

    seed: int
    fraction: float

    def rows(self) -> Iterator[Conversation]:
        """Read the whole from its start, and give the rows of this share in their order."""
        salt = f"{self.seed} {self.name}\n".encode()
        return (row for row in self.whole.rows() if (_position(salt, row) < self.fraction) is self.takes)


def _position(salt: bytes, row: Conversation) -> float:
    digest = hashlib.sha256(salt + canonical_line(row)).digest()
    return int.from_bytes(digest[:_POSITION_BYTES], "big") / _POSITIONS
