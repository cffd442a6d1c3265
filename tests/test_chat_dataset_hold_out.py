"""Holding out the last rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune import ChatDataset
from phi_finetune.errors import InvalidParameter


def numbered(count: int) -> ChatDataset:
    """A data set of so many rows that can be told apart."""
    turns = ({"role": "user", "content": f"question {n}"} for n in range(count))
    rows = [{"messages": [turn, {"role": "assistant", "content": "an answer"}]} for turn in turns]
    return ChatDataset.from_records(rows)


@given(count=st.integers(2, 30), share=st.integers(1, 29))
def test_the_last_rows_are_held_out(count: int, share: int) -> None:
    """Exactly so many of the last rows become the validation split, and together the two are the whole."""
    whole = numbered(count)
    held = min(share, count - 1)
    parts = whole.hold_out(held)
    assert [*parts.lines("train"), *parts.lines("validation")] == list(whole.lines("train"))
    assert parts.describe("validation").rows == held


@pytest.mark.parametrize("rows", [0, -1, 3, 4])
def test_something_must_be_left(rows: int) -> None:
    """A number that holds out nothing, or everything, is refused, and the error says which would do."""
    with pytest.raises(InvalidParameter) as refused:
        numbered(3).hold_out(rows)
    assert refused.value.allowed == "1 to 2"


def test_there_is_one_validation_split() -> None:
    """Where a validation split is there, none is held out."""
    with pytest.raises(InvalidParameter, match="validation split already"):
        numbered(5).hold_out(1).hold_out(1)
