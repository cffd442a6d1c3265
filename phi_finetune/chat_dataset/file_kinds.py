"""The kinds of files that rows are read from."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from phi_finetune.chat_dataset.column_rows import ColumnRows
from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.line_rows import LineRows
from phi_finetune.chat_dataset.readers.arrow import ArrowFile
from phi_finetune.chat_dataset.readers.csv import LIST_COLUMNS, Csv
from phi_finetune.chat_dataset.readers.json_array import JsonArray
from phi_finetune.chat_dataset.readers.json_lines import JsonLines
from phi_finetune.chat_dataset.readers.parquet import Parquet
from phi_finetune.chat_dataset.sources import Files, FormChoice, Rows

__all__ = ["ARROW", "CSV", "JSON_ARRAY", "JSON_LINES", "PARQUET", "Kind", "Paths", "source_of", "texts_of"]

Paths: TypeAlias = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""A file, a pattern such as ``"data/*.jsonl"``, a folder, or several of these. A folder stands for the files of the
kind in it; what a pattern or a folder stands for is sorted by name. Files of gzip, bzip2 and xz are read as what they
hold, but for parquet and arrow."""


@attrs.frozen
class Kind:
    """A kind of files.

    Attributes:
        endings: How their names end; only these are taken of a folder.
        rows_of: Gives a file's rows: of its path, whether each row's last turn must be the assistant's, and its form.
    """

    endings: tuple[str, ...]
    rows_of: Callable[[Path, bool, FormChoice], Source]

    def delimited(self, delimiter: str | None) -> Kind:
        """The same, of tables with another delimiter."""
        return attrs.evolve(self, rows_of=partial(_csv_rows, delimiter=delimiter))


def texts_of(paths: Paths) -> tuple[str, ...]:
    """What was given, as texts."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    return tuple(os.fspath(path) for path in given)


def source_of(paths: tuple[str, ...], kind: Kind, choice: FormChoice, *, must_end_answered: bool) -> Source:
    """The rows of all that paths stand for. The disk is not looked at, but for whether one path is a folder."""
    if len(paths) == 1 and not glob.has_magic(paths[0]) and not Path(paths[0]).is_dir():
        return kind.rows_of(Path(paths[0]), must_end_answered, choice)
    rows_of = partial(_rows_of, kind.rows_of, must_end_answered, choice)
    return Files(paths, kind.endings, rows_of)


def _rows_of(
    rows_of: Callable[[Path, bool, FormChoice], Source],
    must_end_answered: bool,
    choice: FormChoice,
    path: Path,
) -> Source:
    return rows_of(path, must_end_answered, choice)


def _json_lines(path: Path, must_end_answered: bool, choice: FormChoice) -> Source:
    return LineRows(reader=JsonLines(path), must_end_answered=must_end_answered, choice=choice)


def _json_array(path: Path, must_end_answered: bool, choice: FormChoice) -> Source:
    return Rows(JsonArray(path), must_end_answered, choice)


def _csv_rows(
    path: Path, must_end_answered: bool, choice: FormChoice, delimiter: str | None = None
) -> Source:
    others = choice.columns or {}
    lists = LIST_COLUMNS | {others[name] for name in LIST_COLUMNS if name in others}
    return Rows(Csv(path, delimiter, lists), must_end_answered, choice)


def _parquet_rows(path: Path, must_end_answered: bool, choice: FormChoice) -> Source:
    return ColumnRows(reader=Parquet(path), must_end_answered=must_end_answered, choice=choice)


def _arrow_rows(path: Path, must_end_answered: bool, choice: FormChoice) -> Source:
    return ColumnRows(reader=ArrowFile(path), must_end_answered=must_end_answered, choice=choice)


JSON_LINES: Final = Kind((".jsonl", ".ndjson"), _json_lines)
JSON_ARRAY: Final = Kind((".json",), _json_array)
CSV: Final = Kind((".csv", ".tsv"), _csv_rows)
PARQUET: Final = Kind((".parquet",), _parquet_rows)
ARROW: Final = Kind((".arrow",), _arrow_rows)
