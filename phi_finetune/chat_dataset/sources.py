"""Where the rows of one split come from."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Protocol

import attrs

from phi_finetune.chat_dataset.canonical import blocks_of
from phi_finetune.chat_dataset.conversation import Conversation, parse_conversation
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["Joined", "Reader", "Rows", "Source"]


class Reader(Protocol):
    """Rows as they stand in a file, before anybody knows what form they are of."""

    @property
    def label(self) -> str:
        """What errors call it."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that it reads."""
        ...

    def stamp(self) -> Hashable:
        """Give a value that differs when the rows may have changed."""
        ...

    def records(self) -> Iterator[tuple[int, object]]:
        """Each row's number, counted from 1, and its value; a :class:`Fault` where it cannot be read.

        Raises:
            InvalidData: The file as a whole cannot be read.
        """
        ...


class Source(Protocol):
    """Checked rows. Reading it again gives the same ones."""

    @property
    def label(self) -> str:
        """What errors call it."""
        ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The user's files that it reads."""
        ...

    def stamp(self) -> Hashable:
        """Give a value that differs when the rows may have changed."""
        ...

    def rows(self) -> Iterator[Conversation]:
        """Read all rows from the first, checked; an error names the file and the row."""
        ...

    def blocks(self) -> Iterator[bytes]:
        """The same as canonical lines, many at a time."""
        ...


@attrs.frozen
class Rows:
    """What a reader reads, checked.

    Attributes:
        reader: Gives the rows as they are.
        must_end_answered: Whether each row's last turn must be the assistant's.
    """

    reader: Reader
    must_end_answered: bool

    @property
    def label(self) -> str:
        """The reader's."""
        return self.reader.label

    @property
    def files(self) -> tuple[Path, ...]:
        """The reader's."""
        return self.reader.files

    def stamp(self) -> Hashable:
        """The reader's."""
        return self.reader.stamp()

    def rows(self) -> Iterator[Conversation]:
        """Read it from the start.

        Raises:
            InvalidData: It cannot be read, or a row breaks a rule.
        """
        for number, value in self.reader.records():
            yield self.checked(number, value)

    def blocks(self) -> Iterator[bytes]:
        """The same rows as lines."""
        return blocks_of(self.rows())

    def checked(self, number: int, value: object) -> Conversation:
        """One row.

        Raises:
            InvalidData: It cannot be read, or breaks a rule.
        """
        if isinstance(value, Fault):
            raise value.error(self.label, number)
        try:
            return parse_conversation(value, must_end_answered=self.must_end_answered)
        except BrokenRule as broken:
            raise broken.fault.error(self.label, number) from None


@attrs.frozen
class Joined:
    """Several sources, one after the other.

    Attributes:
        label: What errors call it as a whole; those about a row name the row's own source.
        parts: The sources.
    """

    label: str
    parts: tuple[Source, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for part in self.parts for path in part.files)

    def stamp(self) -> Hashable:
        """All of them."""
        return tuple(part.stamp() for part in self.parts)

    def rows(self) -> Iterator[Conversation]:
        """The rows of each."""
        for part in self.parts:
            yield from part.rows()

    def blocks(self) -> Iterator[bytes]:
        """The lines of each."""
        for part in self.parts:
            yield from part.blocks()
