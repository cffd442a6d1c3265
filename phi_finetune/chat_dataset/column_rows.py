"""Conversations in the columns of a table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import attrs

from phi_finetune.chat_dataset.canonical import assembled, blocks_of, read_line
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.forms import RECOGNISED_ROWS, Form
from phi_finetune.chat_dataset.found import Found, Ordinary, whatever_is_read
from phi_finetune.chat_dataset.parts import lines_of
from phi_finetune.chat_dataset.read_ahead import read_ahead
from phi_finetune.chat_dataset.readers.plain_lines import HUGE_CHARACTERS
from phi_finetune.chat_dataset.readers.tables import Table, batch_values
from phi_finetune.chat_dataset.shards import FEW_ROWS
from phi_finetune.chat_dataset.sources import Rows, reads_messages

if TYPE_CHECKING:
    from numpy import bool_, int64
    from numpy.typing import NDArray
    from pyarrow import Array, RecordBatch

__all__ = ["ColumnRows"]

_ROLES: Final = ("system", "user", "assistant")
_SYSTEM, _USER, _ASSISTANT = range(3)
_ORDINARY: Final = Ordinary(1)


@attrs.frozen
class ColumnRows(Rows[Table]):
    """The conversations of a table.

    Nearly every batch of rows is checked and written straight from its columns. Only one that this leaves in doubt
    is read row by row, which tells what is wrong with it, if anything is.
    """

    def form(self) -> Form:
        """The form of its rows, by the first of them.

        Raises:
            InvalidData: The first rows are of no known form, or of several.
            InvalidParameter: There is no such form, or it has no such columns.
        """
        return self.choice.of(self.reader.head(RECOGNISED_ROWS))

    def rows(self) -> Iterator[Conversation]:
        """Read the table from its start.

        Raises:
            InvalidData: The table cannot be read, or a row breaks a rule.
        """
        return map(read_line, lines_of(self))

    def blocks(self) -> Iterator[bytes]:
        """The same as lines, a batch at a time.

        Raises:
            InvalidData: The table cannot be read, or a row breaks a rule.
        """
        form, number = self.form(), 1
        for batch, block in self._judged_batches(form):
            if block is not None:
                yield block
            else:
                yield from blocks_of(self._strictly(form, batch, number))
            number += batch.num_rows

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read the table from its start, whatever it holds; what a form remarks of good rows is not looked for."""
        return whatever_is_read(self.label, self._every(texts))

    def _every(self, texts: bool) -> Iterator[Found]:
        form, number = self.form(), 1
        for batch, block in self._judged_batches(form):
            if block is None:
                for place, value in batch_values([batch], number):
                    yield from self.judged(form, place, value)
            else:
                for place, line in enumerate(block.splitlines(keepends=True), number):
                    yield self.label, place, read_line(line) if texts or not _is_ordinary(line) else _ORDINARY
            number += batch.num_rows

    def _judged_batches(self, form: Form) -> Iterator[tuple[RecordBatch, bytes | None]]:
        """The batches, each with its lines; without, where a row may break a rule."""
        there = self.reader.columns()
        wanted = tuple(name for name in ("messages", "prompt_id") if name in there)
        plain = reads_messages(form) and "messages" in wanted
        for batch in _few_first(read_ahead(self.reader.batches(wanted if plain else None))):
            yield batch, _quickly(batch, must_end_answered=self.must_end_answered) if plain else None

    def _strictly(self, form: Form, batch: RecordBatch, first: int) -> Iterator[Conversation]:
        for number, value in batch_values([batch], first):
            yield self.checked(form, number, value)


def _is_ordinary(line: bytes) -> bool:
    """Whether nothing is to be remarked of a good row: it has a second turn, and no line is huge."""
    # In a text this cannot stand: a quotation mark there has a backslash before it.
    return len(line) <= HUGE_CHARACTERS and b'}, {"role": "' in line


def _few_first(batches: Iterator[RecordBatch]) -> Iterator[RecordBatch]:
    """The same rows, a few of them first: who only looks at those does not wait for a thousand."""
    for batch in islice(batches, 1):
        yield batch.slice(0, FEW_ROWS)
        if batch.num_rows > FEW_ROWS:
            yield batch.slice(FEW_ROWS)
    yield from batches


def _quickly(batch: RecordBatch, *, must_end_answered: bool) -> bytes | None:
    """The lines of a batch whose rows all keep the rules; None where one may not."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    messages = columns.get("messages")
    if messages is None or not _is_chat(messages) or messages.null_count:
        return None
    turns = messages.flatten()
    codes, counts = _codes(turns.field("role")), _numbers(messages.value_lengths())
    if turns.null_count or codes is None or not _in_order(codes, counts, must_end_answered=must_end_answered):
        return None
    try:
        contents: list[str] = turns.field("content").to_pylist()
        prompt_ids = _texts(columns.get("prompt_id"), batch.num_rows)
    except UnicodeDecodeError:
        return None
    if not all(contents) or any(map(str.isspace, contents)):
        return None
    return assembled([_ROLES[code] for code in codes.tolist()], contents, counts.tolist(), prompt_ids)


def _is_chat(column: Array) -> bool:
    """Whether it holds lists of structs of two texts, whatever else is in them."""
    from pyarrow import types

    kind = column.type
    if not (types.is_list(kind) or types.is_large_list(kind)) or not types.is_struct(kind.value_type):
        return False
    fields = {field.name: field.type for field in kind.value_type}
    return all(name in fields and _is_text(fields[name]) for name in ("role", "content"))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _codes(roles: Array) -> NDArray[int64] | None:
    """The roles as their places in ``_ROLES``; None where one is none of them."""
    import numpy

    encoded = roles.dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    if encoded.null_count or not set(names) <= set(_ROLES):
        return None
    places = numpy.array([_ROLES.index(name) for name in names], dtype=numpy.int64)
    codes: NDArray[int64] = places[_numbers(encoded.indices)]
    return codes


def _numbers(column: Array) -> NDArray[int64]:
    """The numbers of a column without nulls; the column's own ``to_numpy`` imports pandas."""
    import numpy

    width = column.type.bit_width // 8
    return numpy.frombuffer(
        column.buffers()[1], dtype=f"i{width}", count=len(column), offset=column.offset * width
    )


def _in_order(codes: NDArray[int64], counts: NDArray[int64], *, must_end_answered: bool) -> bool:
    """Whether in each row a system message comes first, if at all, and then user and assistant in turn."""
    import numpy

    if not counts.all():
        return False
    ends = numpy.cumsum(counts)
    starts = ends - counts
    led: NDArray[bool_] = codes[starts] == _SYSTEM
    if (counts == led).any() or (must_end_answered and (codes[ends - 1] != _ASSISTANT).any()):
        return False
    place = numpy.arange(len(codes)) - numpy.repeat(starts + led, counts)
    expected = numpy.where(place < 0, _SYSTEM, _USER + place % 2)
    return bool((codes == expected).all())


def _texts(column: Array | None, rows: int) -> list[str | None]:
    if column is None or not _is_text(column.type):
        return [None] * rows
    texts: list[str | None] = column.to_pylist()
    return texts
