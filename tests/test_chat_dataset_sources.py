"""The same conversations from every kind of source, and what is told where one of them is broken."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset
from phi_finetune.errors import InvalidData

SECRET = "my private words"
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"caf\u00e9 {number}\n\x7f"},
            {"role": "assistant", "content": f"{SECRET}, \u201c{number}\u201d"},
        ],
        "prompt_id": f"{number:064x}",
    }
    for number in range(25)
]
BROKEN = {"messages": [{"role": "user", "content": SECRET}, {"role": "user", "content": SECRET}]}


def jsonl(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From JSON lines."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ChatDataset.from_jsonl(path)


def compressed(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From JSON lines that were compressed, by a pattern."""
    with gzip.open(folder / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return ChatDataset.from_jsonl(str(folder / "*.jsonl.gz"))


def array(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From one JSON array."""
    (folder / "rows.json").write_text(json.dumps(rows))
    return ChatDataset.from_json(folder / "rows.json")


def table(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From a table as text, with other names of its columns."""
    with (folder / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["dialog", "prompt_id"])
        writer.writerows([json.dumps(row["messages"]), row.get("prompt_id", "")] for row in rows)
    return ChatDataset.from_csv(folder / "rows.csv", delimiter=";", columns={"messages": "dialog"})


def parquet(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From parquet, ten rows a group."""
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(list(rows)), folder / "rows.parquet", row_group_size=10
    )
    return ChatDataset.from_parquet(folder)


def arrow(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From a file of Arrow's own."""
    written = pyarrow.Table.from_pylist(list(rows))
    with (
        pyarrow.OSFile(str(folder / "rows.arrow"), "wb") as file,
        pyarrow.ipc.new_file(file, written.schema) as to,
    ):
        to.write_table(written, max_chunksize=10)
    return ChatDataset.from_arrow(folder / "rows.arrow")


def in_memory(_folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From a table in memory."""
    return ChatDataset.from_arrow(pyarrow.Table.from_pylist(list(rows)), name="rows")


def frame(_folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From a frame."""
    return ChatDataset.from_pandas(pandas.DataFrame(list(rows)), name="rows")


def generator(_folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From what can be read once."""
    return ChatDataset.from_records(iter(rows), name="rows")


def hub(folder: Path, rows: Sequence[Any]) -> ChatDataset:
    """From a folder laid out as on the hub, in two shards."""
    (folder / "data").mkdir()
    for shard, part in enumerate((rows[:13], rows[13:])):
        path = folder / "data" / f"train_sft-0000{shard}-of-00002-0123456789abcdef.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(part)), path)
    return ChatDataset.from_hub(folder)


Make = Callable[[Path, Sequence[Any]], ChatDataset]
EVERY: list[Make] = [jsonl, compressed, array, table, parquet, arrow, in_memory, frame, generator, hub]
every_kind = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)


@every_kind
def test_the_same_rows_come_from_every_kind_of_source(make: Make, tmp_path: Path) -> None:
    """In the same order and the same bytes, on each pass, and out of a pickle."""
    data = make(tmp_path, ROWS)
    expected = [json.dumps(row).encode() + b"\n" for row in ROWS]
    assert list(data.lines()) == expected
    assert [row.as_dict() for row in data.rows()] == ROWS
    again = pickle.loads(pickle.dumps(data))
    assert list(again.lines()) == expected
    assert again.digest == data.digest == generator(tmp_path, ROWS).digest


@every_kind
def test_a_broken_row_is_named(make: Make, tmp_path: Path) -> None:
    """With its file and its number there, and nothing of its text; the rows before it were given."""
    data = make(tmp_path, [*ROWS[:19], BROKEN, *ROWS[20:]])
    given: list[str | None] = []
    with pytest.raises(InvalidData) as caught:
        given.extend(row.prompt_id for row in data.rows())
    assert given == [row["prompt_id"] for row in ROWS[:19]]
    error = caught.value
    assert (error.rule, error.row) == ("roles-not-alternating", 7 if make is hub else 20)
    assert error.path is not None
    assert error.path.endswith("[1].role")
    assert "rows" in str(error.file) or "train_sft-00001" in str(error.file)
    assert SECRET not in str(error)


@every_kind
def test_a_look_at_the_first_rows_reads_no_further(make: Make, tmp_path: Path) -> None:
    """A broken row far behind does not keep anybody from looking."""
    data = make(tmp_path, [*ROWS, *[row for row in ROWS for _ in range(100)], BROKEN])
    assert len(data.preview(5)) == 5


def texts() -> st.SearchStrategy[str]:
    """Texts of all kinds, now and then a blank one."""
    return st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["", " ", "a\x7f", "\u2028"])


def conversations() -> st.SearchStrategy[dict[str, Any]]:
    """Rows that may break any rule of roles, order and texts."""
    message = st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "human"]), "content": st.none() | texts()}
    )
    good = st.lists(st.tuples(texts(), texts()), min_size=1, max_size=3).map(
        lambda pairs: [
            {"role": role, "content": content}
            for pair in pairs
            for role, content in zip(("user", "assistant"), pair, strict=True)
        ]
    )
    return st.fixed_dictionaries(
        {"messages": good | st.lists(message, max_size=4), "prompt_id": st.none() | texts()}
    )


@given(st.lists(conversations(), min_size=1, max_size=6))
def test_columns_are_read_as_records_are(rows: list[dict[str, Any]]) -> None:
    """The quick way and the slow one tell the same rows, or the same fault of the same row."""
    schema = pyarrow.schema(
        [
            (
                "messages",
                pyarrow.list_(pyarrow.struct([("content", pyarrow.string()), ("role", pyarrow.string())])),
            ),
            ("prompt_id", pyarrow.string()),
        ]
    )
    columns = ChatDataset.from_arrow(pyarrow.Table.from_pylist(rows, schema), name="rows", form="messages")
    records = ChatDataset.from_records(rows, name="rows", form="messages")
    assert told(columns) == told(records)


def told(data: ChatDataset) -> tuple[list[bytes], tuple[object, ...]]:
    """The lines up to the first fault, and that."""
    lines: list[bytes] = []
    try:
        lines.extend(data.lines())
    except InvalidData as error:
        return lines, (error.rule, error.row, error.path)
    return lines, ()


def test_a_share_of_a_file_of_the_hub_is_read(tmp_path: Path) -> None:
    """Rounded as the hub's own slicing does, also where only reading tells how many rows there are."""
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (tmp_path / "parquet").mkdir()
    hub(tmp_path / "parquet", ROWS)
    for folder in (tmp_path, tmp_path / "parquet"):
        assert ChatDataset.from_hub(folder, percent=50).describe().rows == 12
        first = ChatDataset.from_hub(folder, rows=14)
        assert [row.prompt_id for row in first.rows()] == [row["prompt_id"] for row in ROWS[:14]]


def test_where_it_came_from_is_kept(tmp_path: Path) -> None:
    """The folder, or the files; records are the caller's own."""
    origin = hub(tmp_path, ROWS).split(test=0.2).origin
    assert origin is not None
    assert origin.source == str(tmp_path)
    assert generator(tmp_path, ROWS).origin is None


def test_several_files_are_one_after_the_other(tmp_path: Path) -> None:
    """As they were given, or by name where a folder stands for them."""
    for name, rows in (("b", ROWS[:10]), ("a", ROWS[10:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ChatDataset.from_jsonl([tmp_path / "b.jsonl", tmp_path / "a.jsonl"])
    assert given.digest == generator(tmp_path, ROWS).digest
    assert given.name == "b"
    folder = ChatDataset.from_jsonl(tmp_path)
    assert folder.digest == generator(tmp_path, [*ROWS[10:], *ROWS[:10]]).digest
    (tmp_path / "c.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    assert folder.describe().rows == len(ROWS) + 1


def test_only_the_rows_that_are_wanted_are_asked_for() -> None:
    """An iterable is asked for no more than the form and the look take."""
    asked: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(ROWS):
            asked.append(number)
            yield row

    ChatDataset.from_records(rows(), form="messages").preview(3)
    assert len(asked) <= 4


def test_rows_that_are_not_wanted_are_not_judged(tmp_path: Path) -> None:
    """A broken row behind those that were asked for is nobody's problem; one among them is."""
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*ROWS[:20], BROKEN]))
    data = ChatDataset.from_hub(tmp_path, rows=20)
    data.check()
    assert data.validate().rows == {"train": 20}
    assert {each.row for each in ChatDataset.from_hub(tmp_path, rows=21).validate().problems} == {21}


@every_kind
def test_the_same_is_remarked_of_every_kind_of_source(make: Make, tmp_path: Path) -> None:
    """What is worth a look in a good row does not depend on where it came from."""
    huge = {"messages": [{**ROWS[0]["messages"][0], "content": "x" * 1_100_000}, ROWS[0]["messages"][1]]}
    assert make(tmp_path, [*ROWS, huge]).validate().counts == {"huge-row": 1}
