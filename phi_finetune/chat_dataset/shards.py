"""The rows of parquet files: counted by their footers, and read by the row groups that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune.chat_dataset.rules import BrokenRule, Fault
from phi_finetune.errors import InvalidParameter

if TYPE_CHECKING:
    from pyarrow import NativeFile, RecordBatch, Schema
    from pyarrow.parquet import ParquetFile

__all__ = ["FEW_ROWS", "Piece", "Plan", "batches", "footer_rows", "plan", "row_count", "schema"]

_BATCH_ROWS: Final = 1000
FEW_ROWS: Final = 50
"""The first rows of a file that come alone."""
_READ_BYTES: Final = 1024 * 1024
"""What of a column is read at a time: a row group need not be held whole, however large it is (data.md 2.3)."""
_MARK: Final = b"PAR1"
_SHORTEST: Final = 12


@attrs.frozen
class Piece:
    """The first rows of some row groups of a file.

    Attributes:
        path: The file.
        row_groups: The row groups, from the file's first.
        rows: How many rows of them.
    """

    path: Path
    row_groups: tuple[int, ...]
    rows: int


@attrs.frozen
class Plan:
    """Which rows to read.

    Attributes:
        pieces: What to read of each file, in order; files of which nothing is read are left out.
    """

    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """How many rows that is."""
        return sum(piece.rows for piece in self.pieces)


def row_count(paths: Sequence[Path]) -> int:
    """Count the rows of parquet files by their footers; no row is read.

    Raises:
        InvalidData: A file is not there, is not parquet, or breaks off.
    """
    return sum(_each_row_count(paths))


def schema(paths: Sequence[Path]) -> Schema:
    """Give the columns, which are the same in each of the files; their order may differ.

    Raises:
        InvalidData: A file is not there, is not parquet, breaks off, or has other columns than the first.
    """
    with _opened(paths[0]) as first:
        columns = first.schema_arrow
    for path in paths[1:]:
        with _opened(path) as other:
            _check_same(columns, other.schema_arrow, path)
    return columns


def plan(paths: Sequence[Path], first: int | None = None) -> Plan:
    """Find the row groups that hold the first rows.

    Args:
        paths: The files of one split, in their order.
        first: How many rows to take; all, unless given. With fewer rows in the files, all of them.

    Raises:
        InvalidData: One of the files that hold them is not there, is not parquet, breaks off, or has other
            columns than the first.
        InvalidParameter: ``first`` is below 0.
    """
    if first is not None and first < 0:
        raise InvalidParameter(
            f"{first} rows cannot be taken", name="first", value=first, allowed="0 or more"
        )
    pieces: list[Piece] = []
    columns: Schema | None = None
    left = first
    for path in paths:
        if left == 0:
            break
        with _opened(path) as file:
            columns = file.schema_arrow if columns is None else columns
            _check_same(columns, file.schema_arrow, path)
            piece = _piece(path, file, left)
        if piece.rows:
            pieces.append(piece)
        left = None if left is None else left - piece.rows
    return Plan(tuple(pieces))


def batches(plan: Plan, columns: Sequence[str] | None = None) -> Iterator[RecordBatch]:
    """Read the rows of a plan, 1,000 at a time at most, on the caller's thread and in flat memory.

    The first batch of a file is of a few: who only looks at those does not wait until a thousand are decoded. The
    file is closed when its last row was given, and when the iterator is closed or dropped.

    Args:
        plan: Which rows.
        columns: The columns to read, in this order; all of them, unless given.

    Raises:
        InvalidData: A file has gone or changed, has no such column, or cannot be decoded; at the first batch
            that it concerns.
    """
    for piece in plan.pieces:
        yield from _read(piece, columns)


def footer_rows(tail: bytes, label: str) -> int:
    """Count the rows of a parquet file by its last bytes, which need not hold more than the footer.

    Args:
        tail: The end of the file.
        label: The file's name, for errors.

    Raises:
        InvalidData: It is not the end of a parquet file.
    """
    import pyarrow

    with _refusing(label):
        _check_mark(tail[-len(_MARK) :])
        return int(_open_parquet(pyarrow.BufferReader(tail)).metadata.num_rows)


def _each_row_count(paths: Sequence[Path]) -> Iterator[int]:
    for path in paths:
        with _opened(path) as file:
            yield file.metadata.num_rows


def _piece(path: Path, file: ParquetFile, most: int | None) -> Piece:
    groups = rows = 0
    while groups < file.metadata.num_row_groups and (most is None or rows < most):
        rows += file.metadata.row_group(groups).num_rows
        groups += 1
    return Piece(path, tuple(range(groups)), rows if most is None else min(rows, most))


def _read(piece: Piece, columns: Sequence[str] | None) -> Iterator[RecordBatch]:
    few = min(FEW_ROWS, piece.rows)
    with _opened(piece.path) as file:
        _check_columns(file, columns, piece)
        yield from _decoded(file, piece, columns, FEW_ROWS, range(few))
        yield from _decoded(file, piece, columns, _BATCH_ROWS, range(few, piece.rows))


def _decoded(
    file: ParquetFile, piece: Piece, columns: Sequence[str] | None, size: int, rows: range
) -> Iterator[RecordBatch]:
    """Some of a piece's rows; decoding begins with its first, whichever they are."""
    with _refusing(str(piece.path)):
        found = file.iter_batches(
            batch_size=max(1, min(size, piece.rows)),
            row_groups=list(piece.row_groups),
            columns=None if columns is None else list(columns),
            use_threads=False,
        )
    at = 0
    while rows and at < rows.stop:
        with _refusing(str(piece.path)):
            batch = next(found, None)
        if batch is None:
            raise Fault("broken-parquet").error(str(piece.path))
        begin, end = max(rows.start, at), min(rows.stop, at + batch.num_rows)
        if begin < end:
            wanted = batch.slice(begin - at, end - begin)
            yield wanted if columns is None else wanted.select(list(columns))
        at += batch.num_rows


def _check_columns(file: ParquetFile, columns: Sequence[str] | None, piece: Piece) -> None:
    if file.metadata.num_row_groups <= max(piece.row_groups, default=-1):
        raise Fault("broken-parquet").error(str(piece.path))
    for column in columns or ():
        if column not in file.schema_arrow.names:
            raise Fault("no-such-column", column).error(str(piece.path))


def _check_same(columns: Schema, others: Schema, path: Path) -> None:
    expected, found = ({each.name: each.type for each in one} for one in (columns, others))
    if expected != found:
        different = next(name for name in {**expected, **found} if expected.get(name) != found.get(name))
        raise Fault("shards-differ", different).error(str(path))


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    """Open a file for reading; its bytes are read as they are needed, and it is closed at the end."""
    import pyarrow

    with ExitStack() as stack:
        with _refusing(str(path)):
            if path.is_dir():
                raise BrokenRule("not-a-file")
            source = stack.enter_context(closing(pyarrow.OSFile(str(path))))
            _check_ends(source)
            file = stack.enter_context(_open_parquet(source))
        yield file


def _open_parquet(source: NativeFile) -> ParquetFile:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(source, buffer_size=_READ_BYTES, pre_buffer=False)


def _check_ends(source: NativeFile) -> None:
    """Tell a file that is no parquet from one that was cut off: the format's mark stands at both ends."""
    size = source.size()
    start = source.read(len(_MARK))
    if start != _MARK:
        raise BrokenRule("not-parquet")
    if size < _SHORTEST:
        raise BrokenRule("truncated-parquet")
    source.seek(size - len(_MARK))
    if source.read(len(_MARK)) != _MARK:
        raise BrokenRule("truncated-parquet")
    source.seek(0)


def _check_mark(mark: bytes) -> None:
    if mark != _MARK:
        raise BrokenRule("not-parquet")


@contextmanager
def _refusing(label: str) -> Iterator[None]:
    """Tell what the system and pyarrow refuse as what it is to the caller."""
    from pyarrow import ArrowException

    try:
        yield
    except BrokenRule as broken:
        fault = broken.fault
    except FileNotFoundError:
        fault = Fault("missing-file")
    except PermissionError:
        fault = Fault("no-permission")
    except (ArrowException, OSError) as error:
        # pyarrow also raises OSError, without a number, where bytes cannot be decoded.
        unreadable = isinstance(error, OSError) and error.errno is not None
        fault = Fault("unreadable" if unreadable else "broken-parquet")
    else:
        return
    raise fault.error(label) from None
