"""The rows of a parquet file, or the first of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import attrs

from phi_finetune.chat_dataset.readers.one_file import OneFile
from phi_finetune.chat_dataset.readers.tables import batch_values
from phi_finetune.chat_dataset.shards import batches, plan, schema

if TYPE_CHECKING:
    from pyarrow import RecordBatch

__all__ = ["Parquet"]


@attrs.frozen
class Parquet(OneFile):
    """The rows of one file, or the first of them; they count from 1.

    Attributes:
        first: How many rows; None for all.
    """

    first: int | None = None

    def records(self) -> Iterator[tuple[int, object]]:
        """Each row's number and its columns.

        Raises:
            InvalidData: The file cannot be read.
        """
        return batch_values(self.batches())

    def head(self, rows: int) -> Parquet:
        """Its first rows alone."""
        return attrs.evolve(self, first=rows if self.first is None else min(rows, self.first))

    def batches(self, columns: tuple[str, ...] | None = None) -> Iterator[RecordBatch]:
        """Its columns, or some of them, a thousand rows at a time.

        Raises:
            InvalidData: The file cannot be read, or has no such column.
        """
        return batches(plan([self.path], self.first), columns)

    def columns(self) -> tuple[str, ...]:
        """The names of its columns.

        Raises:
            InvalidData: The file cannot be read.
        """
        return tuple(schema([self.path]).names)
