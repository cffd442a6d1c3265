"""One data set made of another: in another order, with fewer rows, with changed ones, or joined."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, Conversation, Message, SplitName
from phi_finetune.errors import InvalidData, InvalidParameter
from phi_finetune.events import Event, WriteProgress

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: not text.isspace())
ROWS = st.lists(st.sampled_from([f"question {number}" for number in range(12)]), min_size=1, max_size=30)


def row(text: str, answer: str = "so it is", prompt_id: str | None = None) -> Conversation:
    """A conversation of two turns."""
    return Conversation((Message("user", text), Message("assistant", answer)), prompt_id)


def made(*texts: str) -> ChatDataset:
    """A data set of one split."""
    return ChatDataset.from_records([row(text).as_dict() for text in texts])


def questions(data: ChatDataset, split: SplitName = "train") -> list[str]:
    """What the users ask in a split."""
    return [each.messages[0].content for each in data.rows(split)]


@given(st.lists(st.tuples(TEXTS, TEXTS, st.none() | st.text(st.characters(codec="utf-8"))), max_size=8))
def test_a_line_is_what_the_json_module_writes(texts: list[tuple[str, str, str | None]]) -> None:
    """However many are made at a time, and whatever the texts hold."""
    rows = [row(*each) for each in texts]
    data = ChatDataset.from_records([each.as_dict() for each in rows])
    assert list(data.lines()) == [json.dumps(each.as_dict()).encode("ascii") + b"\n" for each in rows]
    assert list(data.rows()) == rows


@given(ROWS, st.integers())
def test_shuffling_loses_no_row(texts: list[str], seed: int) -> None:
    """And gives the same order each time."""
    data = made(*texts).shuffle(seed)
    assert sorted(questions(data)) == sorted(texts)
    assert questions(data) == questions(made(*texts).shuffle(seed))
    assert b"".join(data.lines()).count(b"\n") == data.describe().rows == len(texts)


def test_another_seed_gives_another_order() -> None:
    """And neither is the one of before."""
    data = made(*map(str, range(20)))
    assert len({tuple(questions(each)) for each in (data, data.shuffle(), data.shuffle(1))}) == 3


@given(ROWS)
def test_deduplicating_leaves_the_first(texts: list[str]) -> None:
    """In the order of before; doing it again changes nothing."""
    once = made(*texts).deduplicate()
    assert questions(once) == list(dict.fromkeys(texts))
    assert questions(once.deduplicate()) == questions(once)


def test_what_is_held_out_is_not_trained_on() -> None:
    """The test split keeps its rows; the validation split loses what is in it, and training what is in either."""
    texts = {"train": ["a", "b", "c", "a"], "validation": ["b", "d"], "test": ["c", "d"]}
    splits = {split: [row(text).as_dict() for text in each] for split, each in texts.items()}
    data = ChatDataset.from_records(splits["train"], splits["validation"], splits["test"]).deduplicate()
    assert {split: questions(data, split) for split in data.splits} == {
        "train": ["a"],
        "validation": ["b"],
        "test": ["c", "d"],
    }


def test_rows_are_the_same_whatever_they_are_called() -> None:
    """The row's own name goes with the first; case and white space count unless they are told not to."""
    rows = [row("One two", prompt_id="x"), row("One two", prompt_id="y"), row("one  TWO ")]
    data = ChatDataset.from_records([each.as_dict() for each in rows])
    assert [each.prompt_id for each in data.deduplicate().rows()] == ["x", None]
    assert [each.prompt_id for each in data.deduplicate(normalised=True).rows()] == ["x"]


def test_filter_and_map_are_carried_out_in_all_splits() -> None:
    """As the rows are read, one after the other."""
    data = ChatDataset.from_records(
        [row("short").as_dict(), row("much longer").as_dict()], test=[row("short").as_dict()]
    )
    longer = data.filter(lambda each: len(each.messages[0].content) > 5)
    assert (questions(longer), questions(longer, "test")) == (["much longer"], [])
    loud = data.map(lambda each: row(each.messages[0].content.upper()))
    assert (questions(loud), questions(loud, "test")) == (["SHORT", "MUCH LONGER"], ["SHORT"])


@pytest.mark.parametrize(
    ("made_of_it", "rule"),
    [
        (row(" "), "blank-content"),
        (Conversation((Message("user", "a"),)), "no-assistant-turn"),
        (None, "not-a-conversation"),
    ],
)
def test_what_map_makes_is_checked(made_of_it: Conversation, rule: str) -> None:
    """By the same rules, with the number of the row it was made of."""
    data = made("a", "b").map(lambda each: each if each.messages[0].content == "a" else made_of_it)
    with pytest.raises(InvalidData) as caught:
        list(data.rows())
    assert (caught.value.row, caught.value.rule) == (2, rule)


def test_an_error_of_the_function_goes_through() -> None:
    """It is the caller's own."""

    def fails(_row: Conversation) -> Conversation:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made("a").map(fails).describe()


def test_concatenating_joins_split_by_split() -> None:
    """What only one of them has is there too; the name is the first one's."""
    held_out = ChatDataset.from_records([row("b").as_dict()], test=[row("t").as_dict()], name="second")
    both = made("a").concat(held_out, made("c"))
    assert {split: questions(both, split) for split in both.splits} == {
        "train": ["a", "b", "c"],
        "test": ["t"],
    }
    assert both.name == "records"


def test_rows_with_the_same_key_stay_together() -> None:
    """Whatever else they say."""
    texts = [f"customer {number % 10}: question {number}" for number in range(100)]
    data = made(*texts).split(test=0.3, by=lambda each: each.messages[0].content.partition(":")[0])
    customers = [{text.partition(":")[0] for text in questions(data, split)} for split in data.splits]
    assert not set.intersection(*customers)
    assert sum(map(len, customers)) == 10


@given(st.integers(10, 60), st.integers(10, 60), st.floats(0.1, 0.4), st.integers())
def test_each_stratum_gives_the_same_share(short: int, long: int, fraction: float, seed: int) -> None:
    """To the nearest row, and no row is lost."""
    texts = [f"s {number}" for number in range(short)] + [f"l {number}" for number in range(long)]
    data = made(*texts).split(test=fraction, seed=seed, stratify=lambda each: each.messages[0].content[0])
    drawn = questions(data, "test")
    assert sorted(drawn + questions(data)) == sorted(texts)
    for stratum, size in (("s", short), ("l", long)):
        assert sum(text[0] == stratum for text in drawn) == round(fraction * size)


def test_a_split_has_one_rule() -> None:
    """Two could contradict each other."""
    with pytest.raises(InvalidParameter, match="two rules"):
        made("a", "b").split(test=0.5, by=str, stratify=str)


def test_a_sample_is_drawn_once_and_for_all() -> None:
    """From the whole split, in its order; a larger one holds the smaller."""
    data = made(*map(str, range(50)))
    few, many = (list(data.sample(n, seed=3)["prompt"]) for n in (5, 20))
    assert len(few) == 5
    assert set(few) < set(many)
    assert many == sorted(many, key=int)
    assert few != list(data.sample(5)["prompt"])
    with pytest.raises(InvalidParameter):
        data.sample(0)


def test_text_can_be_written_as_it_is(tmp_path: Path) -> None:
    """The rows are the same, and so is the digest, since that is of the lines that a job is given."""
    rows = [row("caf\u00e9 \U0001f600 \\u00e9 \u2028\x7f", prompt_id="\u00e9"), row("plain")]
    data = ChatDataset.from_records([each.as_dict() for each in rows])
    file = data.write(tmp_path, encoding="utf-8")["train"]
    assert file.read_bytes().decode("utf-8").count("caf\u00e9 \U0001f600") == 1
    again = ChatDataset.from_jsonl(file)
    assert list(again.rows()) == rows
    assert again.digest == data.digest


def test_the_manifest_says_what_is_there(tmp_path: Path) -> None:
    """Where it came from, and for each file what a reader can count and hash anew."""
    made("a", "b").write(tmp_path / "first")
    data = ChatDataset.from_jsonl(tmp_path / "first" / "train.jsonl", name="two")
    data.write(tmp_path / "second")
    manifest = json.loads((tmp_path / "second" / "manifest.json").read_text())
    info = data.describe()
    assert manifest == {
        "format": 1,
        "name": "two",
        "origin": {"source": "train.jsonl", "revision": None, "licence": None},
        "splits": {
            "train": {
                "file": "train.jsonl",
                "rows": 2,
                "size_bytes": info.size_bytes,
                "sha256": info.sha256,
            }
        },
    }


def test_a_listener_hears_what_was_written(tmp_path: Path) -> None:
    """The last event of each file has all of it."""
    heard: list[Event] = []
    files = made("a", "b").hold_out(1).write(tmp_path, on_event=heard.append)
    last = {event.resource: event for event in heard if isinstance(event, WriteProgress)}
    assert {name: event.size_bytes for name, event in last.items()} == {
        str(path): path.stat().st_size for path in files.values()
    }
    assert sum(event.rows for event in last.values()) == 2
