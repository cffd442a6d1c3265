"""The way from a pandas frame to records, and from conversations to a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from phi_finetune.chat_dataset.conversation import Conversation

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["frame_records", "preview_frame"]

_COLUMNS = ["messages", "prompt", "answer", "turns"]


def frame_records(frame: DataFrame) -> Iterator[dict[str, object]]:
    """Give a frame's rows as records, one after the other."""
    names = [str(name) for name in frame.columns]
    return (dict(zip(names, cells, strict=True)) for cells in frame.itertuples(index=False, name=None))


def preview_frame(rows: Iterable[Conversation]) -> DataFrame:
    """Give a frame of one row a conversation; ``ChatDataset.preview`` describes its columns."""
    import pandas

    return pandas.DataFrame([_cells(row) for row in rows], columns=_COLUMNS)


def _cells(row: Conversation) -> tuple[object, ...]:
    spoken = [turn for turn in row.messages if turn.role != "system"]
    return row.as_dict()["messages"], spoken[0].content, row.answer, len(spoken)
