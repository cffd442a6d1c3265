"""Rows as they are found, good or not, and what gives them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import attrs

from phi_finetune.chat_dataset.conversation import Conversation, faults_of
from phi_finetune.chat_dataset.forms import Form
from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.errors import InvalidData

__all__ = ["Broken", "Found", "Mend", "Ordinary", "Reader", "Source", "whatever_is_read"]


@attrs.frozen
class Broken:
    """A row that was read and breaks a rule.

    Attributes:
        record: What it holds, as it was read.
        must_end_answered: Whether its last turn had to be the assistant's.
        form: The form that it is taken for.
    """

    record: object
    must_end_answered: bool
    form: Form

    @property
    def value(self) -> object:
        """The same as messages; None where the form makes none of it."""
        try:
            return self.form.messages_of(self.record)
        except BrokenRule:
            return None

    def faults(self) -> tuple[Fault, ...]:
        """All that it breaks."""
        try:
            row = self.form.messages_of(self.record)
        except BrokenRule as broken:
            return (broken.fault,)
        faults = faults_of(row, must_end_answered=self.must_end_answered)
        return tuple(self._in_its_own_words(fault) for fault in faults)

    def _in_its_own_words(self, fault: Fault) -> Fault:
        if fault.path is None or not isinstance(self.record, Mapping):
            return fault
        return Fault(fault.rule, self.form.path(fault.path, self.record))


@attrs.frozen
class Ordinary:
    """Good rows one after another whose texts nobody asked for, with nothing to be remarked of them.

    Attributes:
        rows: How many.
    """

    rows: int


Found: TypeAlias = tuple[str, int | None, Conversation | Broken | Fault | Ordinary]
"""What a row is, good or not: its source's label, its number there, and the row; a fault for one that could not be
read. Ordinary ones may come many at once, with the number of the first. A fault that is only worth a look is of the row
before it; one without a number is of the file as a whole."""


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
            texts: False lets the source give :class:`Ordinary` for good rows.
        """
        ...

    def mended(self, mend: Mend) -> Source:
        """The same rows, with each broken one as ``mend`` makes it, and without those that it makes nothing of."""
        ...


def whatever_is_read(label: str, rows: Iterator[Found]) -> Iterator[Found]:
    """The same, and one fault more where the file cannot be read, or no further."""
    try:
        yield from rows
    except InvalidData as error:
        if error.rule is None:
            raise
        yield error.file or label, error.row, Fault(error.rule, error.path)
