"""Where the rows of one split come from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, TypeVar

import attrs

from phi_finetune.chat_dataset.canonical import blocks_of
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.derived import Mended
from phi_finetune.chat_dataset.forms import (
    RECOGNISED_ROWS,
    Droppable,
    Form,
    FormName,
    RowFunction,
    conversation_of,
    form_of,
    recognise,
)
from phi_finetune.chat_dataset.forms.messages import Messages
from phi_finetune.chat_dataset.forms.prompt_messages import PromptMessages
from phi_finetune.chat_dataset.found import Broken, Found, Mend, Reader, Source, whatever_is_read
from phi_finetune.chat_dataset.readers.globs import found_files
from phi_finetune.chat_dataset.rules import BrokenRule, Fault

__all__ = ["Files", "FormChoice", "Joined", "Rows", "reads_messages"]


R = TypeVar("R", bound=Reader, covariant=True)


@attrs.frozen
class FormChoice:
    """What form rows are of, as far as the caller says.

    Attributes:
        form: The form's name, or a function that makes messages of a row; None lets the first rows tell.
        columns: The names in the rows, where they differ from the form's.
        drop: What the form ``openai`` leaves out, where it would refuse the row.
    """

    form: FormName | RowFunction | None = None
    columns: Mapping[str, str] | None = None
    drop: tuple[Droppable, ...] = ()

    def of(self, reader: Reader) -> Form:
        """The form of what a reader reads.

        Raises:
            InvalidData: The first rows are of no known form, or of several.
            InvalidParameter: There is no such form, or it has no such columns.
        """
        if self.form is not None:
            return form_of(self.form, columns=self.columns, drop=self.drop)
        first = [value for _number, value in islice(reader.records(), RECOGNISED_ROWS)]
        return recognise(first, label=reader.label, columns=self.columns, drop=self.drop)


def reads_messages(form: Form) -> bool:
    """Whether rows of the form are what they are made to, but for keys that are left out."""
    return isinstance(form, Messages | PromptMessages)


@attrs.frozen
class Rows(Generic[R]):
    """What a reader reads, checked.

    Attributes:
        reader: Gives the rows as they are.
        must_end_answered: Whether each row's last turn must be the assistant's.
        choice: What form they are of.
    """

    reader: R
    must_end_answered: bool
    choice: FormChoice = FormChoice()

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
        form = self.form()
        for number, value in self.reader.records():
            yield self.checked(form, number, value)

    def blocks(self) -> Iterator[bytes]:
        """The same rows as lines."""
        return blocks_of(self.rows())

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read it from the start, whatever it holds."""
        return whatever_is_read(self.label, self._found())

    def _found(self) -> Iterator[Found]:
        form = self.form()
        for number, value in self.reader.records():
            yield from self.judged(form, number, value)

    def mended(self, mend: Mend) -> Source:
        """The same rows, the broken ones mended."""
        return Mended(self, mend)

    def judged(self, form: Form, number: int, value: object) -> Iterator[Found]:
        """One row, good or not; and what its form remarks of a good one."""
        if isinstance(value, Fault):
            yield self.label, number, value
            return
        try:
            row = conversation_of(form, value, must_end_answered=self.must_end_answered)
        except BrokenRule:
            yield self.label, number, Broken(value, self.must_end_answered, form)
            return
        yield self.label, number, row
        for remark in form.remarks(value) if isinstance(value, Mapping) else ():
            yield self.label, number, remark

    def form(self) -> Form:
        """The form of its rows.

        Raises:
            InvalidData: The first rows are of no known form, or of several.
            InvalidParameter: There is no such form, or it has no such columns.
        """
        return self.choice.of(self.reader)

    def checked(self, form: Form, number: int, value: object) -> Conversation:
        """One row.

        Raises:
            InvalidData: It cannot be read, or breaks a rule.
        """
        if isinstance(value, Fault):
            raise value.error(self.label, number)
        try:
            return conversation_of(form, value, must_end_answered=self.must_end_answered)
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

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """The rows of each, whatever they hold."""
        for part in self.parts:
            yield from part.examine(texts=texts)

    def mended(self, mend: Mend) -> Source:
        """The same of mended ones."""
        return Joined(self.label, tuple(part.mended(mend) for part in self.parts))


@attrs.frozen
class Files:
    """The files that paths, patterns and folders stand for when they are read, one after the other.

    Attributes:
        paths: What was given.
        endings: Which files of a folder are taken.
        rows_of: Makes a source of one file.
    """

    paths: tuple[str, ...]
    endings: tuple[str, ...]
    rows_of: Callable[[Path], Source]

    @property
    def label(self) -> str:
        """What was given; errors about a row name its file."""
        return ", ".join(self.paths)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files found."""
        return found_files(self.paths, endings=self.endings)

    def stamp(self) -> Hashable:
        """Those of the files found, and which they are."""
        return tuple((part.label, part.stamp()) for part in self._parts())

    def rows(self) -> Iterator[Conversation]:
        """The rows of each."""
        for part in self._parts():
            yield from part.rows()

    def blocks(self) -> Iterator[bytes]:
        """The lines of each."""
        for part in self._parts():
            yield from part.blocks()

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """The rows of each, whatever they hold."""
        return whatever_is_read(self.label, self._found(texts))

    def _found(self, texts: bool) -> Iterator[Found]:
        for part in self._parts():
            yield from part.examine(texts=texts)

    def mended(self, mend: Mend) -> Source:
        """The same of mended ones."""
        return attrs.evolve(self, rows_of=partial(_mended, self.rows_of, mend))

    def _parts(self) -> list[Source]:
        return [self.rows_of(path) for path in self.files]


def _mended(rows_of: Callable[[Path], Source], mend: Mend, path: Path) -> Source:
    return rows_of(path).mended(mend)
