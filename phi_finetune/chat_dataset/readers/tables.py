"""Tables in columns, given as batches of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from phi_finetune.chat_dataset.found import Reader
from phi_finetune.chat_dataset.rules import Fault

if TYPE_CHECKING:
    from pyarrow import RecordBatch

__all__ = ["Table", "batch_values"]


class Table(Reader, Protocol):
    """A reader of columns."""

    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        ...

    def head(self, rows: int) -> Table:
        """Its first rows alone, so that no more are decoded."""
        ...

    def batches(self, columns: tuple[str, ...] | None = None) -> Iterator[RecordBatch]:
        """Its columns, or some of them, about a thousand rows at a time."""
        ...


def batch_values(batches: Iterable[RecordBatch], first: int = 1) -> Iterator[tuple[int, object]]:
    """The rows of batches, numbered; each is a mapping, or the fault that keeps it from being read."""
    number = first
    for batch in batches:
        for place in range(batch.num_rows):
            yield number, _value(batch, place)
            number += 1


def _value(batch: RecordBatch, place: int) -> object:
    try:
        value: object = batch.slice(place, 1).to_pylist()[0]
    except UnicodeDecodeError:
        return Fault("not-utf-8")
    return value
