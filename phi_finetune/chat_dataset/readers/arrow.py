"""Tables of Arrow's own: in memory, or in a file of its IPC formats."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune.chat_dataset.readers.one_file import OneFile
from phi_finetune.chat_dataset.readers.opening import reading
from phi_finetune.chat_dataset.readers.tables import batch_values
from phi_finetune.chat_dataset.rules import Fault

if TYPE_CHECKING:
    from pyarrow import RecordBatch, RecordBatchFileReader, RecordBatchStreamReader, Schema, Table

__all__ = ["ArrowFile", "ArrowTable"]

_BATCH_ROWS: Final = 1000
_FILE_MARK: Final = b"ARROW1"
"""How a file of the IPC file format begins (Arrow, "IPC File Format"); one of the streaming format has no mark."""


@attrs.frozen
class ArrowTable:
    """A table in memory.

    Attributes:
        table: The table.
        label: What errors call it.
    """

    table: Table = attrs.field(eq=False, repr=False)
    label: str

    @property
    def files(self) -> tuple[Path, ...]:
        """None."""
        return ()

    def stamp(self) -> Hashable:
        """Give a constant: a table never changes."""
        return 0

    def records(self) -> Iterator[tuple[int, object]]:
        """Each row's number and its columns."""
        return batch_values(self.batches())

    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return tuple(self.table.column_names)

    def head(self, rows: int) -> ArrowTable:
        """Its first rows alone."""
        return attrs.evolve(self, table=self.table.slice(0, rows))

    def batches(self, columns: tuple[str, ...] | None = None) -> Iterator[RecordBatch]:
        """Its columns, or some of them, a thousand rows at a time."""
        table = self.table if columns is None else self.table.select(list(columns))
        return iter(table.to_batches(max_chunksize=_BATCH_ROWS))


@attrs.frozen
class ArrowFile(OneFile):
    """A file of Arrow's IPC formats, as ``datasets`` keeps them too; rows count from 1."""

    def records(self) -> Iterator[tuple[int, object]]:
        """Each row's number and its columns.

        Raises:
            InvalidData: The file cannot be read.
        """
        return batch_values(self.batches())

    def columns(self) -> tuple[str, ...]:
        """The names of its columns.

        Raises:
            InvalidData: The file cannot be read.
        """
        with self._opened() as file:
            schema: Schema = file.schema
            return tuple(schema.names)

    def head(self, rows: int) -> ArrowFile:
        """Itself: nothing of it is decoded."""
        return self

    def batches(self, columns: tuple[str, ...] | None = None) -> Iterator[RecordBatch]:
        """Its columns, or some of them, a thousand rows at a time at most.

        Raises:
            InvalidData: The file cannot be read.
        """
        with self._opened() as file:
            for batch in self._each(file):
                chosen = batch if columns is None else batch.select(list(columns))
                for start in range(0, chosen.num_rows, _BATCH_ROWS):
                    yield chosen.slice(start, _BATCH_ROWS)

    def _each(self, file: RecordBatchFileReader | RecordBatchStreamReader) -> Iterator[RecordBatch]:
        from pyarrow import RecordBatchStreamReader

        if isinstance(file, RecordBatchStreamReader):
            yield from file
            return
        for index in range(file.num_record_batches):
            yield file.get_batch(index)

    @contextmanager
    def _opened(self) -> Iterator[RecordBatchFileReader | RecordBatchStreamReader]:
        import pyarrow

        with reading(self.path), self.path.open("rb") as beginning:
            mark = beginning.read(len(_FILE_MARK))
        try:
            with pyarrow.memory_map(str(self.path)) as source:
                open_it = pyarrow.ipc.open_file if mark == _FILE_MARK else pyarrow.ipc.open_stream
                with open_it(source) as file:
                    yield file
        except (pyarrow.ArrowException, OSError):
            fault = Fault("broken-arrow")
        else:
            return
        raise fault.error(self.label)
