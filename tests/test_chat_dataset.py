"""ChatDataset: reading, measuring, previewing and writing conversations."""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, Conversation, Message
from phi_finetune.errors import InvalidData, InvalidParameter

Record = dict[str, list[dict[str, str]]]

ROLES = ("user", "assistant")
TEXT = st.text(min_size=1, max_size=20).filter(lambda text: not text.isspace())


def record(*contents: str) -> Record:
    """A row in which user and assistant take turns."""
    return {"messages": [{"role": ROLES[i % 2], "content": content} for i, content in enumerate(contents)]}


def many(rows: int) -> list[Record]:
    """Rows that are all different."""
    return [record(f"Question {number}?", f"Answer {number}.") for number in range(rows)]


def write_rows(path: Path, rows: list[Record]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Any row that may be trained on."""
    turns = draw(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
    messages = [
        {"role": role, "content": content}
        for pair in turns
        for role, content in zip(ROLES, pair, strict=True)
    ]
    system = draw(st.none() | TEXT)
    return {"messages": messages if system is None else [{"role": "system", "content": system}, *messages]}


def test_a_file_is_read_row_by_row(tmp_path: Path) -> None:
    """Rows come in the file's order, with their turns as messages."""
    data = ChatDataset.from_jsonl(write_rows(tmp_path / "talks.jsonl", [record("a", "b"), record("c", "d")]))
    assert list(data.rows()) == [
        Conversation((Message("user", "a"), Message("assistant", "b"))),
        Conversation((Message("user", "c"), Message("assistant", "d"))),
    ]


def test_making_a_data_set_reads_nothing(tmp_path: Path) -> None:
    """A file need not be there before the data set is used."""
    data = ChatDataset.from_jsonl(tmp_path / "later.jsonl")
    write_rows(tmp_path / "later.jsonl", [record("a", "b")])
    assert data.describe().rows == 1


def test_a_file_gives_its_name_to_the_data_set(tmp_path: Path) -> None:
    """The name is the train file's without its ending, unless another is given."""
    assert ChatDataset.from_jsonl(tmp_path / "support-2026.jsonl").name == "support-2026"
    assert ChatDataset.from_jsonl(str(tmp_path / "a.jsonl"), name="support").name == "support"


def test_a_blank_name_is_refused() -> None:
    """Names of jobs are made from it."""
    with pytest.raises(InvalidParameter) as caught:
        ChatDataset.from_records([], name=" ")
    assert caught.value.name == "name"


def test_the_splits_are_named_in_order() -> None:
    """Only the splits that were given are there."""
    rows = many(1)
    assert ChatDataset.from_records(rows).splits == ("train",)
    assert ChatDataset.from_records(rows, test=rows).splits == ("train", "test")
    assert ChatDataset.from_records(rows, rows, rows).splits == ("train", "validation", "test")


def test_a_split_that_is_not_there_is_refused() -> None:
    """The error names the splits that there are."""
    with pytest.raises(InvalidParameter) as caught:
        ChatDataset.from_records(many(1)).rows("validation")
    assert (caught.value.name, caught.value.value, caught.value.allowed) == ("split", "validation", "train")


def test_a_row_is_found_by_its_place(tmp_path: Path) -> None:
    """Places count from 0, and blank lines have none."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        f"\n{json.dumps(record('a', 'b'))}\n  \n{json.dumps(record('c', 'd'))}\n", encoding="utf-8"
    )
    assert ChatDataset.from_jsonl(path).row(1).answer == "d"


@pytest.mark.parametrize("index", [-1, 2])
def test_a_place_out_of_range_is_refused(index: int) -> None:
    """There is no counting from the end."""
    with pytest.raises(InvalidParameter) as caught:
        ChatDataset.from_records(many(2)).row(index)
    assert (caught.value.name, caught.value.value) == ("index", index)


def test_windows_line_ends_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    """Editors add them, and they change nothing."""
    plain = write_rows(tmp_path / "plain.jsonl", many(3))
    marked = tmp_path / "marked.jsonl"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    assert ChatDataset.from_jsonl(marked).digest == ChatDataset.from_jsonl(plain).digest


def test_a_last_line_without_an_end_is_a_row(tmp_path: Path) -> None:
    """A whole row needs no line feed after it."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record("a", "b")), encoding="utf-8")
    assert ChatDataset.from_jsonl(path).describe().rows == 1


def test_lines_are_canonical(tmp_path: Path) -> None:
    """A line is ASCII, has its keys in fixed order, and leaves out what the component doesn't read."""
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": 7,"messages":[ {"content":"caf\u00e9","role":"user","name":"Jo"},'
        '{"content":"\U0001f642","role":"assistant"}]}\n',
        encoding="utf-8",
    )
    assert list(ChatDataset.from_jsonl(path).lines()) == [
        b'{"messages": [{"role": "user", "content": "caf\\u00e9"}, '
        b'{"role": "assistant", "content": "\\ud83d\\ude42"}]}\n'
    ]


def test_a_split_is_described() -> None:
    """Rows, size and SHA-256 are those of the canonical lines."""
    data = ChatDataset.from_records(many(3), test=many(1))
    content = b"".join(data.lines())
    info = data.describe()
    assert (info.rows, info.size_bytes) == (3, len(content))
    assert info.sha256 == hashlib.sha256(content).hexdigest()
    assert data.describe("test").rows == 1


def test_a_file_that_changed_is_described_anew(tmp_path: Path) -> None:
    """The figures never belong to an older content of the file."""
    path = write_rows(tmp_path / "a.jsonl", many(2))
    data = ChatDataset.from_jsonl(path)
    before = data.digest
    write_rows(path, many(3))
    assert data.describe().rows == 3
    assert data.digest != before


def test_the_digest_has_a_form_that_stays() -> None:
    """The same data has this digest in every release; the digest names jobs, so a new one would pay twice."""
    data = ChatDataset.from_records([record("a", "b")])
    assert data.digest == "8522a902a279fd0fc6456064b5166eda904fb77a73bcfd9b8e1e890e52e0cab8"


def test_the_digest_tells_the_splits_apart() -> None:
    """The same rows in another split, or in another order, are other data."""
    one, two = many(2)
    digests = {
        ChatDataset.from_records([one], [two]).digest,
        ChatDataset.from_records([one], test=[two]).digest,
        ChatDataset.from_records([one, two]).digest,
        ChatDataset.from_records([two, one]).digest,
    }
    assert len(digests) == 4


def test_the_digest_does_not_know_the_name(tmp_path: Path) -> None:
    """Data under another name, from another kind of source, is the same data."""
    data = ChatDataset.from_jsonl(write_rows(tmp_path / "a.jsonl", many(3)), name="one")
    assert data.digest == ChatDataset.from_records(many(3), name="two").digest


@given(
    rows=st.lists(records(), min_size=1, max_size=4),
    indent=st.sampled_from([None, "\t"]),
    separators=st.sampled_from([(",", ":"), (" ,  ", " : ")]),
    ascii_only=st.booleans(),
    blank=st.sampled_from(["", "\n", " \t\r\n"]),
)
def test_the_digest_does_not_know_how_a_file_is_written(
    rows: list[Record],
    indent: str | None,
    separators: tuple[str, str],
    ascii_only: bool,
    blank: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """White space, escaping, order of keys, other keys and blank lines leave the digest as it is."""
    path = tmp_path_factory.mktemp("digest") / "a.jsonl"
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, row in enumerate(rows):
            messages = [dict(reversed(message.items())) for message in row["messages"]]
            text = json.dumps(
                {"prompt_id": number, "messages": messages},
                ensure_ascii=ascii_only,
                separators=separators,
                indent=indent,
            )
            file.write(f"{text.replace(chr(10), ' ')}\n{blank}")
    assert ChatDataset.from_jsonl(path).digest == ChatDataset.from_records(rows).digest


@given(st.lists(records(), max_size=5))
def test_lines_round_trip(rows: list[Record]) -> None:
    """Reading the lines gives the rows again, and they are their own canonical lines."""
    data = ChatDataset.from_records(rows)
    lines = list(data.lines())
    assert [json.loads(line) for line in lines] == rows
    assert list(ChatDataset.from_records(json.loads(line) for line in lines).lines()) == lines


def test_a_generator_can_be_read_again_and_again() -> None:
    """It is consumed once, and its rows stay."""
    asked = []

    def rows() -> Iterator[Record]:
        for row in many(3):
            asked.append(row)
            yield row

    data = ChatDataset.from_records(rows())
    assert asked == []
    assert [row.answer for row in data.rows()] == ["Answer 0.", "Answer 1.", "Answer 2."]
    assert data.describe().rows == 3
    assert len(list(data.rows())) == len(asked) == 3


def test_a_long_generator_goes_to_a_file() -> None:
    """Beyond 8 MiB the rows lie on disk, and two readers at once don't disturb each other."""
    text = "x" * 100_000
    data = ChatDataset.from_records(record(f"{number}", text) for number in range(100))
    one, two = data.rows(), data.rows()
    next(one)
    assert [row.messages[0].content for row in two] == [str(number) for number in range(100)]
    assert [row.messages[0].content for row in one] == [str(number) for number in range(1, 100)]
    del data, one, two
    gc.collect()  # a file left open would be an error here


def test_threads_read_a_generator_together() -> None:
    """All of them see all rows, though only one consumes it."""
    data = ChatDataset.from_records(row for row in many(200))
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(len(list(data.rows())))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [200] * 4


def test_a_list_changed_later_changes_nothing() -> None:
    """What was read at the first use stays."""
    rows = many(2)
    data = ChatDataset.from_records(rows)
    before = data.digest
    rows.append(record("late", "row"))
    rows[0]["messages"][0]["content"] = "changed"
    assert [data.digest, data.describe().rows] == [before, 2]


def test_an_iterable_that_raised_is_not_taken_for_short() -> None:
    """Its own error comes out; later uses say that the rows are not all there."""

    def rows() -> Iterator[Record]:
        yield record("a", "b")
        raise ConnectionError("the source went away")

    data = ChatDataset.from_records(rows())
    with pytest.raises(ConnectionError):
        data.check()
    with pytest.raises(InvalidData) as caught:
        data.check()
    assert caught.value.rule == "records-broke-off"


def test_a_frame_is_read_by_position() -> None:
    """Lists and arrays in the column will do, and the index plays no part."""
    rows = many(2)
    cells = [rows[0]["messages"], numpy.array(rows[1]["messages"], dtype=object)]
    frame = pandas.DataFrame({"messages": cells}, index=[9, 9])
    assert ChatDataset.from_pandas(frame).digest == ChatDataset.from_records(rows).digest


def test_a_frame_has_splits_too() -> None:
    """Each split may come from a frame of its own."""
    frame = pandas.DataFrame(many(1))
    assert ChatDataset.from_pandas(frame, frame, frame).splits == ("train", "validation", "test")
    assert ChatDataset.from_pandas(frame, test=frame).splits == ("train", "test")


def test_a_frame_of_no_known_form_is_refused() -> None:
    """The error names the split."""
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_pandas(pandas.DataFrame({"text": ["a"]})).check()
    assert (caught.value.rule, caught.value.file) == ("unknown-form", "frame (train)")


def test_a_preview_shows_the_text_in_full() -> None:
    """A long answer is in the frame to its last letter."""
    answer = "long " * 1_000 + "end"
    row: Record = {
        "messages": [{"role": "system", "content": "Be brief."}, *record("a", "b", "c", answer)["messages"]]
    }
    frame = ChatDataset.from_records([row, record("x", "y")]).preview()
    assert list(frame.columns) == ["messages", "prompt", "answer", "turns"]
    assert frame.iloc[0].tolist() == [row["messages"], "a", answer, 4]
    assert frame.iloc[1].tolist() == [record("x", "y")["messages"], "x", "y", 2]


def test_a_preview_of_prompts_has_no_answers() -> None:
    """A row of the test split that ends with the user's turn shows None."""
    data = ChatDataset.from_records(many(1), test=[record("a")])
    assert data.preview(split="test").iloc[0]["answer"] is None


def test_a_preview_reads_no_further_than_it_shows(tmp_path: Path) -> None:
    """A broken line below the rows shown does not matter to it."""
    path = write_rows(tmp_path / "a.jsonl", many(3))
    path.write_bytes(path.read_bytes() + b"broken\n")
    assert len(ChatDataset.from_jsonl(path).preview(2)) == 2


def test_a_preview_of_no_rows_is_refused() -> None:
    """At least one row is shown."""
    with pytest.raises(InvalidParameter) as caught:
        ChatDataset.from_records(many(1)).preview(0)
    assert caught.value.name == "n"


def test_writing_gives_a_file_for_each_split(tmp_path: Path) -> None:
    """The files hold the canonical lines, and nothing else is left in the folder."""
    data = ChatDataset.from_records(many(3), test=many(1))
    paths = data.write(tmp_path / "new" / "folder")
    assert paths == {
        "train": tmp_path / "new" / "folder" / "train.jsonl",
        "test": tmp_path / "new" / "folder" / "test.jsonl",
    }
    assert paths["train"].read_bytes() == b"".join(data.lines())
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == ["manifest.json", "test.jsonl", "train.jsonl"]
    assert ChatDataset.from_jsonl(paths["train"], test=paths["test"]).digest == data.digest


def test_a_bad_row_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    """Not even the good split is replaced when another one is bad."""
    kept = write_rows(tmp_path / "train.jsonl", many(1))
    before = kept.read_bytes()
    with pytest.raises(InvalidData):
        ChatDataset.from_records(many(5), test=[*many(5), {"messages": []}]).write(tmp_path)
    assert kept.read_bytes() == before
    assert os.listdir(tmp_path) == ["train.jsonl"]


def test_files_are_replaced(tmp_path: Path) -> None:
    """Writing again gives the newer rows."""
    ChatDataset.from_records(many(1)).write(tmp_path)
    paths = ChatDataset.from_records(many(2)).write(tmp_path)
    assert ChatDataset.from_jsonl(paths["train"]).describe().rows == 2


def test_the_source_is_not_written_over(tmp_path: Path) -> None:
    """A split drawn from train.jsonl would lose the rows that were drawn for validation."""
    path = write_rows(tmp_path / "train.jsonl", many(50))
    data = ChatDataset.from_jsonl(path).split(validation=0.2)
    with pytest.raises(InvalidParameter) as caught:
        data.write(tmp_path)
    assert caught.value.name == "folder"
    assert data.write(tmp_path / "drawn")["validation"].is_file()


def test_data_that_is_fit_passes_the_check() -> None:
    """Ten conversations are enough."""
    data = ChatDataset.from_records(many(10), many(1), [record("a")])
    data.check()
    assert data.describe("test").rows == 1


def test_too_few_training_rows_are_refused() -> None:
    """The service would refuse nine, on a node that was paid for."""
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_records(many(9)).check()
    assert (caught.value.rule, caught.value.file) == ("too-few-rows", "records (train)")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    """An empty file is named."""
    train = write_rows(tmp_path / "train.jsonl", many(10))
    empty = write_rows(tmp_path / "empty.jsonl", [])
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_jsonl(train, empty).check()
    assert (caught.value.rule, caught.value.file) == ("empty-split", str(empty))


def test_equal_files_make_equal_data_sets(tmp_path: Path) -> None:
    """Equality is of names and sources; what was measured plays no part."""
    path = write_rows(tmp_path / "a.jsonl", many(2))
    one, two = ChatDataset.from_jsonl(path), ChatDataset.from_jsonl(path)
    one.describe()
    assert one == two
    assert hash(one) == hash(two)
    assert one != ChatDataset.from_jsonl(path, name="other")


def test_the_text_is_not_in_the_repr() -> None:
    """A log line with the data set in it gives no conversation away."""
    data = ChatDataset.from_records([record("private question", "private answer")])
    data.describe()
    assert "private" not in repr(data)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_a_data_set_can_be_pickled(clone: Callable[[ChatDataset], ChatDataset], tmp_path: Path) -> None:
    """Paths stay paths; records travel with their rows, a generator's too."""
    path = write_rows(tmp_path / "a.jsonl", many(30))
    from_file = ChatDataset.from_jsonl(path).split(validation=0.3)
    from_records = ChatDataset.from_records(row for row in many(30)).split(validation=0.3)
    assert clone(from_file) == from_file
    assert clone(from_records).digest == from_records.digest == from_file.digest


def test_a_broken_row_is_still_broken_after_pickling() -> None:
    """The copy gives the rows before it and raises the same error."""
    data = ChatDataset.from_records([record("a", "b"), record("c")])
    rows = pickle.loads(pickle.dumps(data)).rows()
    assert next(rows).answer == "b"
    with pytest.raises(InvalidData) as caught:
        next(rows)
    assert (caught.value.rule, caught.value.row) == ("no-assistant-turn", 2)
