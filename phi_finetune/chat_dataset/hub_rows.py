"""The rows of a split that came from the hub."""

from __future__ import annotations

from typing import Final

from phi_finetune.chat_dataset.column_rows import ColumnRows
from phi_finetune.chat_dataset.file_kinds import CSV, JSON_ARRAY, JSON_LINES, Kind
from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.hub import HubSplit, rows_of_percent
from phi_finetune.chat_dataset.hub_files import FileFormat
from phi_finetune.chat_dataset.parts import Leading, lines_of
from phi_finetune.chat_dataset.readers.parquet import Parquet
from phi_finetune.chat_dataset.shards import plan
from phi_finetune.chat_dataset.sources import FormChoice, Joined

__all__ = ["rows_of_split"]

_KINDS: Final[dict[FileFormat, Kind]] = {"json-lines": JSON_LINES, "json": JSON_ARRAY, "csv": CSV}


def rows_of_split(split: HubSplit, choice: FormChoice, *, must_end_answered: bool) -> Source:
    """The rows wanted of a split.

    Raises:
        InvalidData: A parquet file of it cannot be read; or, where only reading tells how many rows a share is, a row
            breaks a rule.
    """
    if split.format == "parquet":
        return _parquet(split, choice, must_end_answered)
    kind = _KINDS[split.format]
    parts = tuple(kind.rows_of(path, must_end_answered, choice) for path in split.paths)
    whole = parts[0] if len(parts) == 1 else Joined(split.name, parts)
    first = split.rows
    if first is None and split.percent is not None:
        first = rows_of_percent(sum(1 for _line in lines_of(whole)), split.percent)
    return whole if first is None else Leading(whole, first)


def _parquet(split: HubSplit, choice: FormChoice, must_end_answered: bool) -> Source:
    parts = tuple(
        ColumnRows(reader=Parquet(piece.path, piece.rows), must_end_answered=must_end_answered, choice=choice)
        for piece in plan(split.paths, split.rows).pieces
    )
    return parts[0] if len(parts) == 1 else Joined(split.name, parts)
