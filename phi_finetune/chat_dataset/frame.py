"""The way from a pandas frame to records, and from conversations to a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.rules import Fault

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["frame_records", "preview_frame"]

_COLUMNS = ["messages", "prompt", "answer", "turns"]


def frame_records(frame: DataFrame, name: str) -> Iterator[dict[str, object]]:
    """Give a frame's rows as records, one after the other.

    Raises:
        InvalidData: At once, if the frame has no column ``messages``.
    """
    if "messages" not in frame.columns:
        raise Fault("no-messages-column").error(name)
    return ({"messages": _as_list(cell)} for cell in frame["messages"])


def _as_list(cell: object) -> object:
    import numpy

    return cell.tolist() if isinstance(cell, numpy.ndarray) else cell


def preview_frame(rows: Iterable[Conversation]) -> DataFrame:
    """Give a frame of one row a conversation; ``ChatDataset.preview`` describes its columns."""
    import pandas

    return pandas.DataFrame([_cells(row) for row in rows], columns=_COLUMNS)


def _cells(row: Conversation) -> tuple[object, ...]:
    spoken = [turn for turn in row.messages if turn.role != "system"]
    return row.as_dict()["messages"], spoken[0].content, row.answer, len(spoken)
