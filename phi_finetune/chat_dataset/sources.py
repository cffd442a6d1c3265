"""Where the rows of one split come from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs

from phi_finetune.chat_dataset.canonical import blocks_of
from phi_finetune.chat_dataset.conversation import Conversation, faults_of, parse_conversation
from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.errors import InvalidData

__all__ = ["Broken", "Found", "Joined", "Mend", "Mended", "Reader", "Rows", "Source", "whatever_is_read"]


@attrs.frozen
class Broken:
    """A row that was read and breaks a rule.

    Attributes:
        value: What it holds.
        must_end_answered: Whether its last turn had to be the assistant's.
    """

    value: object
    must_end_answered: bool

    def faults(self) -> tuple[Fault, ...]:
        """All that it breaks."""
        return faults_of(self.value, must_end_answered=self.must_end_answered)


Found: TypeAlias = tuple[str, int | None, Conversation | Broken | Fault | None]
"""What a row is, good or not: its source's label, its number there, and the row; None for a good one whose text
nobody asked for, and a fault for one that could not be read. One without a number is of the file as a whole."""


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


Mend: TypeAlias = Callable[[Broken], Conversation | None]
"""Makes a row that keeps the rules of one that breaks them, if it can."""


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

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read all rows, good or not. A broken row raises nothing, nor does a file that cannot be read.

        Args:
            texts: False lets the source give None for a good row that is nothing out of the ordinary.
        """
        ...

    def mended(self, mend: Mend) -> Source:
        """The same rows, with each broken one as ``mend`` makes it, and without those that it makes nothing of."""
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

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read it from the start, whatever it holds."""
        return whatever_is_read(
            self.label,
            ((self.label, number, self.judged(value)) for number, value in self.reader.records()),
        )

    def mended(self, mend: Mend) -> Source:
        """The same rows, the broken ones mended."""
        return Mended(self, mend)

    def judged(self, value: object) -> Conversation | Broken | Fault:
        """One row, good or not."""
        if isinstance(value, Fault):
            return value
        try:
            return parse_conversation(value, must_end_answered=self.must_end_answered)
        except BrokenRule:
            return Broken(value, self.must_end_answered)

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


def whatever_is_read(label: str, rows: Iterator[Found]) -> Iterator[Found]:
    """The same, and one fault more where the file cannot be read, or no further."""
    try:
        yield from rows
    except InvalidData as error:
        if error.rule is None:
            raise
        yield error.file or label, error.row, Fault(error.rule, error.path)


@attrs.frozen
class Mended:
    """A source's rows, each broken one mended or left out.

    Attributes:
        whole: The rows.
        mend: Makes a good row of a broken one, or nothing.
    """

    whole: Source
    mend: Mend

    @property
    def label(self) -> str:
        """The whole's."""
        return self.whole.label

    @property
    def files(self) -> tuple[Path, ...]:
        """The whole's."""
        return self.whole.files

    def stamp(self) -> Hashable:
        """The whole's: the same mends are made of the same rows."""
        return self.whole.stamp()

    def rows(self) -> Iterator[Conversation]:
        """Read the whole.

        Raises:
            InvalidData: It cannot be read.
        """
        for label, number, found in self.examine():
            if isinstance(found, Fault):
                raise found.error(label, number)
            if isinstance(found, Conversation):
                yield found

    def blocks(self) -> Iterator[bytes]:
        """The same as lines."""
        return blocks_of(self.rows())

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read the whole, without what was mended away; that it cannot be read stays."""
        for label, number, found in self.whole.examine(texts=texts):
            if isinstance(found, Fault):
                if number is None and found.severity == "stops":
                    yield label, number, found
            elif isinstance(found, Broken):
                row = self.mend(found)
                if row is not None:
                    yield label, number, row
            else:
                yield label, number, found

    def mended(self, mend: Mend) -> Source:
        """Itself."""
        return self


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

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """The rows of each, whatever they hold."""
        for part in self.parts:
            yield from part.examine(texts=texts)

    def mended(self, mend: Mend) -> Source:
        """The same of mended ones."""
        return Joined(self.label, tuple(part.mended(mend) for part in self.parts))
