"""ChatDataset.split: which rows go where, and that it stays so."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, SplitName
from phi_finetune.errors import InvalidData, InvalidParameter

FRACTIONS = st.floats(0, 0.49)


def row(text: str) -> dict[str, list[dict[str, str]]]:
    """A conversation of two turns."""
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": f"on {text}"}]}


def numbered(count: int) -> ChatDataset:
    """A data set of so many different rows."""
    return ChatDataset.from_records([row(f"question {number}") for number in range(count)])


def draw(data: ChatDataset, split: str, fraction: float) -> ChatDataset:
    """Draw one split."""
    return data.split(validation=fraction) if split == "validation" else data.split(test=fraction)


def questions(data: ChatDataset, split: SplitName) -> list[str]:
    """What the users ask in a split."""
    return [each.messages[0].content for each in data.rows(split)]


@given(st.lists(st.integers(), min_size=3, max_size=60), FRACTIONS, FRACTIONS, st.integers())
def test_a_split_is_a_partition(numbers: list[int], validation: float, test: float, seed: int) -> None:
    """Each row is in one split, in the order of before; equal rows are in the same one."""
    texts = [f"question {number}" for number in numbers]
    try:
        data = ChatDataset.from_records(map(row, texts)).split(validation=validation, test=test, seed=seed)
    except InvalidData:  # too few rows: a split came out empty
        assume(False)
    parts = [questions(data, split) for split in data.splits]
    assert sorted(text for part in parts for text in part) == sorted(texts)
    for part in parts:
        assert part == [text for text in texts if text in set(part)]
    assert data.splits == tuple(
        split for split, fraction in (("train", 1), ("validation", validation), ("test", test)) if fraction
    )


@given(st.integers(20, 40), st.integers(1, 20), st.integers())
def test_appended_rows_move_no_other(count: int, more: int, seed: int) -> None:
    """Every split of the longer data begins with the split of the shorter."""
    try:
        before = numbered(count).split(validation=0.3, test=0.3, seed=seed)
    except InvalidData:  # a split came out empty
        assume(False)
    after = numbered(count + more).split(validation=0.3, test=0.3, seed=seed)
    for split in before.splits:
        assert questions(after, split)[: before.describe(split).rows] == questions(before, split)


def test_the_draw_stays_what_it_is() -> None:
    """The same call gives the same rows in every release, on every machine."""
    data = numbered(30).split(validation=0.2, test=0.2)
    assert questions(data, "validation") == [f"question {number}" for number in (13, 15, 17, 19)]
    assert questions(data, "test") == [
        f"question {number}" for number in (0, 1, 2, 4, 5, 10, 11, 12, 14, 16, 20, 24, 25, 26)
    ]


def test_a_draw_does_not_know_how_the_rows_are_kept(tmp_path: Path) -> None:
    """A file gives the same splits as the records in it."""
    data = numbered(60)
    written = ChatDataset.from_jsonl(data.write(tmp_path)["train"])
    assert written.split(test=0.3, seed=4).digest == data.split(test=0.3, seed=4).digest


def test_another_seed_gives_another_draw() -> None:
    """The seed is part of what decides."""
    data = numbered(60)
    assert data.split(test=0.5, seed=1).digest != data.split(test=0.5, seed=2).digest


def test_sizes_come_near_the_fractions() -> None:
    """Of 4,000 rows a tenth and a fifth are drawn, give or take four standard deviations."""
    data = numbered(4_000).split(validation=0.1, test=0.2)
    assert abs(data.describe("validation").rows - 400) < 76
    assert abs(data.describe("test").rows - 800) < 102


def test_drawing_in_two_steps_does_not_depend_on_the_first() -> None:
    """A validation split drawn later, with the same seed, is as large as one drawn at once."""
    first = numbered(400).split(test=0.2)
    second = first.split(validation=0.25)
    assert second.digest == numbered(400).split(test=0.2, validation=0.2).digest
    assert second.describe("test") == first.describe("test")


def test_fractions_of_zero_change_nothing() -> None:
    """No split is made of no rows."""
    data = numbered(5)
    assert data.split() == data


def test_a_split_keeps_the_name_and_the_other_splits() -> None:
    """Only train is drawn from."""
    rows = [row(f"{number}") for number in range(40)]
    data = ChatDataset.from_records(rows, test=[row("apart")], name="support").split(validation=0.3)
    assert (data.name, data.splits) == ("support", ("train", "validation", "test"))
    assert questions(data, "test") == ["apart"]


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(split: str, fraction: float) -> None:
    """The error names the parameter and what is allowed."""
    with pytest.raises(InvalidParameter) as caught:
        draw(numbered(5), split, fraction)
    assert (caught.value.name, caught.value.allowed) == (split, "from 0 to below 1")


def test_fractions_that_leave_nothing_are_refused() -> None:
    """Something must be left to train on."""
    with pytest.raises(InvalidParameter) as caught:
        numbered(5).split(validation=0.5, test=0.5)
    assert caught.value.name == "validation"


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_that_is_there_is_not_drawn_again(split: str) -> None:
    """Rows that were set apart stay so."""
    data = numbered(60).split(validation=0.3, test=0.3)
    with pytest.raises(InvalidParameter) as caught:
        draw(data, split, 0.1)
    assert (caught.value.name, caught.value.allowed) == (split, "0")


def test_a_draw_that_takes_no_row_is_refused() -> None:
    """Too few rows for the fraction: the error names the split."""
    with pytest.raises(InvalidData) as caught:
        numbered(2).split(test=0.0001)
    assert (caught.value.rule, caught.value.file) == ("empty-draw", "the test split of records (train)")


def test_a_draw_that_leaves_no_row_is_refused() -> None:
    """Nothing would be left to train on."""
    with pytest.raises(InvalidData) as caught:
        numbered(2).split(test=0.9999)
    assert (caught.value.rule, caught.value.file) == ("empty-draw", "records (train)")


def test_errors_in_a_drawn_split_give_the_row_of_the_file(tmp_path: Path) -> None:
    """A row is found where it stands, not where it would stand in the split."""
    path = tmp_path / "a.jsonl"
    numbered(30).write(tmp_path / "good")["train"].rename(path)
    path.write_bytes(path.read_bytes() + b"{}\n")
    data = ChatDataset.from_jsonl(path).split(test=0.5)
    with pytest.raises(InvalidData) as caught:
        data.describe("test")
    assert (caught.value.rule, caught.value.file, caught.value.row) == ("no-messages", str(path), 31)
