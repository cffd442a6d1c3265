"""Where the rows of one split come from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

import attrs

from phi_finetune.chat_dataset.canonical import blocks_of
from phi_finetune.chat_dataset.conversation import Conversation, faults_of
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
from phi_finetune.chat_dataset.readers.globs import found_files
from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.errors import InvalidData

__all__ = [
    "Broken",
    "Files",
    "FormChoice",
    "Found",
    "Joined",
    "Mend",
    "Mended",
    "Reader",
    "Rows",
    "Source",
    "reads_messages",
    "whatever_is_read",
]


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


Found: TypeAlias = tuple[str, int | None, Conversation | Broken | Fault | None]
"""What a row is, good or not: its source's label, its number there, and the row; None for a good one whose text
nobody asked for, and a fault for one that could not be read. A fault that is only worth a look is of the row before it;
one without a number is of the file as a whole."""


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


R = TypeVar("R", bound=Reader, covariant=True)
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
