"""ChatDataset.repair: what it mends, what it leaves alone, and what it tells of it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, Conversation
from phi_finetune.errors import InvalidData


def said(*turns: tuple[Any, Any]) -> dict[str, Any]:
    """A row of roles and contents."""
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def short(row: Conversation) -> list[tuple[str, str]]:
    """A row's roles and contents."""
    return [(turn.role, turn.content) for turn in row.messages]


GOOD = said(("user", "Q"), ("assistant", "A"))
QA = [("user", "Q"), ("assistant", "A")]
MENDED: dict[str, tuple[dict[str, Any], list[tuple[str, str]], list[str]]] = {
    "ShareGPT's names": (said(("human", "Q"), ("gpt", "A")), QA, ["role-renamed"]),
    "a capital": (said(("User", "Q"), ("bot ", "A")), QA, ["role-renamed"]),
    "a blank end": (said(*QA, ("user", " "), ("assistant", "")), QA, ["blank-end-dropped"]),
    "an end of nothing": (said(*QA, ("user", None)), QA, ["blank-end-dropped"]),
    "a question last": (said(*QA, ("user", "More?")), QA, ["question-dropped"]),
    "a blank system": (said(("system", ""), *QA), QA, ["blank-system-dropped"]),
    "system in the middle": (
        said(("user", "Q"), ("system", "s"), ("assistant", "A")),
        [("system", "s"), *QA],
        ["system-moved"],
    ),
    "two systems": (
        said(("system", "s"), ("system", "t"), *QA),
        [("system", "s\n\nt"), *QA],
        ["system-moved"],
    ),
    "several": (
        said(("human", "Q"), ("gpt", "A"), ("human", "More?"), ("gpt", "")),
        QA,
        ["role-renamed", "blank-end-dropped", "question-dropped"],
    ),
}


@pytest.mark.parametrize("kind", MENDED)
def test_a_row_is_mended(kind: str) -> None:
    """And each thing done to it is told."""
    broken, expected, done = MENDED[kind]
    repaired = ChatDataset.from_records([GOOD, broken]).repair()
    first, second = repaired.data.rows()
    assert (short(first), short(second)) == (QA, expected)
    assert [(each.row, each.mend) for each in repaired.done] == [(2, each) for each in done]
    assert repaired.counts == dict.fromkeys(done, 1)


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"messages": 7},
        said(("user", "Q")),
        said(("tool", "Q"), ("assistant", "A")),
        said(("user", "Q"), ("assistant", 7)),
        said(("user", ""), ("assistant", "A")),
        said(("user", "Q"), ("user", "R"), ("assistant", "A")),
        said(("user", "Q"), ("assistant", "\ud800")),
    ],
)
def test_what_cannot_be_mended_is_left_out(row: Any) -> None:
    """And told."""
    repaired = ChatDataset.from_records([GOOD, row, GOOD]).repair()
    assert [short(each) for each in repaired.data.rows()] == [QA, QA]
    assert [(each.row, each.mend) for each in repaired.done] == [(2, "row-dropped")]


def test_turns_are_joined_when_asked() -> None:
    """With a blank line between."""
    data = ChatDataset.from_records([said(("user", "Q"), ("user", "R"), ("assistant", "A"))])
    repaired = data.repair(join_turns=True)
    assert [short(row) for row in repaired.data.rows()] == [[("user", "Q\n\nR"), ("assistant", "A")]]
    assert repaired.counts == {"turns-joined": 1}


def test_a_test_split_keeps_its_questions() -> None:
    """They are what an endpoint is asked."""
    data = ChatDataset.from_records([GOOD], test=[said(*QA, ("human", "More?"))])
    (row,) = data.repair().data.rows("test")
    assert short(row) == [*QA, ("user", "More?")]


def test_lines_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    """A byte order mark too."""
    file = tmp_path / "a.jsonl"
    line = json.dumps(GOOD).encode()
    file.write_bytes(b"\xef\xbb\xbf" + line + b"\n{\n" + line[:20] + b"\xff\n" + line)
    repaired = ChatDataset.from_jsonl(file).repair()
    assert [short(row) for row in repaired.data.rows()] == [QA, QA]
    assert repaired.counts == {"mark-dropped": 1, "row-dropped": 2}


def test_a_file_that_cannot_be_read_is_not_mended_away(tmp_path: Path) -> None:
    """It raises, at once and later."""
    file = tmp_path / "a.jsonl"
    with pytest.raises(InvalidData, match="missing-file"):
        ChatDataset.from_jsonl(file).repair()
    file.write_text("{}\n", encoding="utf-8")
    mended = ChatDataset.from_jsonl(file).repair().data
    file.unlink()
    with pytest.raises(InvalidData, match="missing-file"):
        list(mended.rows())


def test_repeated_rows_are_left_out_when_asked() -> None:
    """Also those that the mends made the same."""
    rows = [GOOD, said(("human", "Q"), ("gpt", "A")), said(("user", "other"), ("assistant", "A")), GOOD]
    data = ChatDataset.from_records(rows)
    assert len(list(data.repair().data.rows())) == 4
    repaired = data.repair(deep=True)
    assert [row.messages[0].content for row in repaired.data.rows()] == ["Q", "other"]
    assert repaired.counts == {"role-renamed": 1, "repeated-row-dropped": 2}
    assert [each.row for each in repaired.done] == [2, 2, 4]


def test_what_was_done_is_shown_as_text_and_frame() -> None:
    """By mend, and the first rows."""
    repaired = ChatDataset.from_records([*[{}] * 20, GOOD]).repair(limit=15)
    assert "20  row-dropped: the row cannot be mended, and was left out" in str(repaired)
    assert "and 10 more" in str(repaired)
    assert list(repaired.to_frame()["row"]) == list(range(1, 16))
    assert "nothing was to be mended" in str(ChatDataset.from_records([GOOD]).repair())


def test_a_mended_set_can_be_split_mapped_and_pickled() -> None:
    """Like any other."""
    rows = [said(("human", f"Q{n}"), ("gpt", "A")) for n in range(40)]
    data = ChatDataset.from_records(rows).repair().data
    split = pickle.loads(pickle.dumps(data.split(validation=0.5).shuffle()))
    assert sum(split.describe(each).rows for each in split.splits) == 40
    assert data.validate().ok
    assert data.map(lambda row: row).digest == data.digest


def test_a_split_is_mended_in_its_whole(tmp_path: Path) -> None:
    """A row goes where its mended form belongs, and its mend is told once."""
    file = tmp_path / "a.jsonl"
    good = [json.dumps(said(("user", f"Q{n}"), ("assistant", "A"))) for n in range(40)]
    file.write_text("\n".join(good) + "\n", encoding="utf-8")
    split = ChatDataset.from_jsonl(file).split(validation=0.5)
    file.write_text("\n".join(good).replace("user", "human") + "\n", encoding="utf-8")
    repaired = split.repair()
    assert repaired.counts == {"role-renamed": 40}
    file_2 = tmp_path / "b.jsonl"
    file_2.write_text("\n".join(good) + "\n", encoding="utf-8")
    assert repaired.data.digest == ChatDataset.from_jsonl(file_2).split(validation=0.5).digest


ROLES = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", None])
TEXTS = st.sampled_from(["a", "b", "", " ", None, 7, "\ud800"])
ROWS = st.lists(st.tuples(ROLES, TEXTS), max_size=6).map(lambda turns: said(*turns))


@given(st.lists(ROWS | st.just(GOOD), max_size=8), st.booleans(), st.booleans())
def test_what_repair_gives_keeps_the_rules(rows: list[Any], join_turns: bool, deep: bool) -> None:
    """Row by row; nothing is mended in silence, and a second repair has nothing to do."""
    data = ChatDataset.from_records(rows, test=rows)
    repaired = data.repair(join_turns=join_turns, deep=deep)
    report = repaired.data.validate(deep=deep)
    assert set(report.counts) <= {"too-few-rows", "empty-split", "one-message", "other-answer"}
    assert bool(repaired.done) == (repaired.data is not data)
    again = repaired.data.repair(join_turns=join_turns, deep=deep)
    assert (again.done, again.data) == ((), repaired.data)
    broken = {
        (each.split, each.row) for each in data.validate().problems if each.row and each.severity != "look"
    }
    told = {(each.split, each.row) for each in repaired.done if each.mend != "repeated-row-dropped"}
    assert told == broken


@given(st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_good_data_comes_back_unchanged(numbers: list[int]) -> None:
    """The very data set, and an empty list."""
    data = ChatDataset.from_records([said(("user", f"Q{n}"), ("assistant", "A")) for n in numbers])
    repaired = data.repair(deep=True)
    assert repaired.data is data
    assert (repaired.done, repaired.counts) == ((), {})


@given(st.lists(ROWS, max_size=8))
def test_the_texts_of_turns_stay_as_they_are(rows: list[Any]) -> None:
    """Only system messages are joined."""
    given_texts = {turn["content"] for row in rows for turn in row["messages"]}
    for row in ChatDataset.from_records(rows).repair().data.rows():
        assert all(turn.content in given_texts for turn in row.messages if turn.role != "system")
