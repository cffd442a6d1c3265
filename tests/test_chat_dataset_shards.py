"""The rows of parquet files, counted and read by row groups."""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import shards
from phi_finetune.chat_dataset.rules import RULES
from phi_finetune.errors import InvalidData, InvalidParameter

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])


def write(path: Path, numbers: range, *, group: int = 10) -> Path:
    """A file of numbered rows."""
    table = pa.table({"number": list(numbers), "text": [str(number) for number in numbers]}, schema=SCHEMA)
    pq.write_table(table, path, row_group_size=group)
    return path


def numbers(plan: shards.Plan) -> list[int]:
    """The rows of a plan."""
    return [number for batch in shards.batches(plan, ["number"]) for number in batch.column(0).to_pylist()]


def refusal(path: Path, first: int | None = None) -> InvalidData:
    """The error that a file causes, whichever call is the first to see it; it names the file."""
    with pytest.raises(InvalidData) as caught:
        numbers(shards.plan([path], first))
    error = caught.value
    assert error.rule in RULES
    assert error.file == str(path)
    assert error.__suppress_context__
    return error


@given(
    sizes=st.lists(st.integers(0, 35) | st.sampled_from([49, 50, 51, 120]), min_size=1, max_size=5),
    group=st.integers(1, 12),
    data=st.data(),
)
def test_the_first_rows_are_read_from_the_row_groups_that_hold_them(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], group: int, data: st.DataObject
) -> None:
    """Exactly as many, in their order, and no row group more than needed."""
    folder, total = tmp_path_factory.mktemp("shards"), sum(sizes)
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    paths = [
        write(folder / f"{index}.parquet", range(end - size, end), group=group)
        for index, (size, end) in enumerate(zip(sizes, ends, strict=True))
    ]
    first = data.draw(st.none() | st.integers(0, total + 5))
    plan = shards.plan(paths, first)
    expected = list(range(total if first is None else min(first, total)))
    assert numbers(plan) == expected
    assert plan.rows == len(expected)
    assert shards.row_count(paths) == total
    for piece in plan.pieces:
        before = (len(piece.row_groups) - 1) * group
        assert 0 < piece.rows - before <= group


def test_other_row_groups_are_not_read(tmp_path: Path) -> None:
    """What stands after them may be anything."""
    path = write(tmp_path / "a.parquet", range(1000), group=100)
    second = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = second.dictionary_page_offset or second.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)
    assert numbers(shards.plan([path], 100)) == list(range(100))
    assert refusal(path, 101).rule == "broken-parquet"


def test_files_after_the_last_row_are_not_opened(tmp_path: Path) -> None:
    """Only the first shard of a split may have been fetched."""
    path = write(tmp_path / "a.parquet", range(10))
    assert numbers(shards.plan([path, tmp_path / "not there"], 10)) == list(range(10))


def test_batches_are_of_a_thousand_rows_and_of_the_columns_in_their_order(tmp_path: Path) -> None:
    """Across row groups of any size; but for the first few, which are there soon."""
    path = write(tmp_path / "a.parquet", range(2500), group=2500)
    batches = list(shards.batches(shards.plan([path], 2200), ["text", "number"]))
    assert [batch.num_rows for batch in batches] == [50, 950, 1000, 200]
    assert {tuple(batch.schema.names) for batch in batches} == {("text", "number")}
    assert next(shards.batches(shards.plan([path]))).schema.names == ["number", "text"]


@given(rows=st.integers(0, 2300), group=st.integers(1, 900), first=st.none() | st.integers(0, 2300))
def test_the_first_few_rows_come_once(
    tmp_path_factory: pytest.TempPathFactory, rows: int, group: int, first: int | None
) -> None:
    """Though decoding begins anew after them; and all rows come in their order."""
    path = write(tmp_path_factory.mktemp("few") / "a.parquet", range(rows), group=group)
    batches = list(shards.batches(shards.plan([path], first), ["number"]))
    expected = list(range(rows if first is None else min(first, rows)))
    assert [number for batch in batches for number in batch.column(0).to_pylist()] == expected
    assert [batch.num_rows for batch in batches[:1]] == [min(50, len(expected))][: len(expected)]


def test_a_file_is_closed_when_the_reading_ends(tmp_path: Path) -> None:
    """At the end, and where the caller stops early; Windows would not let it be deleted."""
    path = write(tmp_path / "a.parquet", range(3000))
    before = open_files()
    list(shards.batches(shards.plan([path])))
    reading = shards.batches(shards.plan([path]))
    next(reading)
    assert open_files() == before + 1
    reading.close()
    gc.collect()
    assert open_files() == before


def open_files() -> int:
    """How many parquet files this process has open."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux lists a process's files there")
    return sum(each.resolve().suffix == ".parquet" for each in Path("/proc/self/fd").iterdir())


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    """Each in its own words."""
    whole = write(tmp_path / "whole.parquet", range(100)).read_bytes()
    contents = {
        b"": "not-parquet",
        b'{"messages": []}\n': "not-parquet",
        b"PAR1": "truncated-parquet",
        b"PAR1PAR1": "truncated-parquet",
        whole[:-1]: "truncated-parquet",
        whole[: len(whole) // 2]: "truncated-parquet",
        whole[:-8] + b"\xff\xff\xff\x7fPAR1": "broken-parquet",
        whole[:-8] + b"\x00\x00\x00\x00PAR1": "broken-parquet",
        whole[:4] + b"PAR1" * 5: "broken-parquet",
    }
    for content, rule in contents.items():
        path = tmp_path / "a.parquet"
        path.write_bytes(content)
        assert refusal(path).rule == rule, content[:20]
        with pytest.raises(InvalidData):
            shards.row_count([path])


@given(cut=st.integers(0, 2000))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Never a part of the rows as if that were all."""
    folder = tmp_path_factory.mktemp("cut")
    whole = write(folder / "whole.parquet", range(100)).read_bytes()
    path = folder / "a.parquet"
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    refusal(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    """A folder too."""
    assert refusal(tmp_path / "none.parquet").rule == "missing-file"
    assert refusal(tmp_path).rule == "not-a-file"


def test_a_file_that_vanished_is_told(tmp_path: Path) -> None:
    """Between the plan and the reading."""
    path = write(tmp_path / "a.parquet", range(10))
    plan = shards.plan([path])
    path.unlink()
    with pytest.raises(InvalidData, match="missing-file"):
        numbers(plan)


@pytest.mark.parametrize("rows", [0, 5, 15])
def test_a_file_that_changed_is_told(tmp_path: Path, rows: int) -> None:
    """It has fewer rows than were planned."""
    path = write(tmp_path / "a.parquet", range(25))
    plan = shards.plan([path])
    write(path, range(rows))
    with pytest.raises(InvalidData, match="broken-parquet"):
        numbers(plan)


def test_shards_of_other_columns_are_refused(tmp_path: Path) -> None:
    """The first that differs is named; their order does not matter."""
    first = write(tmp_path / "0.parquet", range(3))
    table = pq.read_table(first)
    swapped, other, fewer = (tmp_path / f"{number}.parquet" for number in (1, 2, 3))
    pq.write_table(table.select(["text", "number"]), swapped)
    pq.write_table(table.set_column(0, "number", table["number"].cast(pa.string())), other)
    pq.write_table(table.select(["number"]), fewer)
    assert numbers(shards.plan([first, swapped])) == [0, 1, 2, 0, 1, 2]
    assert shards.schema([first, swapped]).names == ["number", "text"]
    for path, column in ((other, "number"), (fewer, "text")):
        for call in (shards.plan, shards.schema):
            with pytest.raises(InvalidData, match="shards-differ") as caught:
                call([first, path])
            assert (caught.value.file, caught.value.path) == (str(path), column)


def test_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Before a row is read."""
    path = write(tmp_path / "a.parquet", range(10))
    with pytest.raises(InvalidData, match="no-such-column") as caught:
        next(shards.batches(shards.plan([path]), ["messages"]))
    assert (caught.value.file, caught.value.path) == (str(path), "messages")


def test_a_number_of_rows_below_zero_is_refused(tmp_path: Path) -> None:
    """As it would be by islice."""
    with pytest.raises(InvalidParameter, match="-1 rows"):
        shards.plan([write(tmp_path / "a.parquet", range(1))], -1)


def test_a_footer_is_counted_by_the_files_end(tmp_path: Path) -> None:
    """The hub gives the last bytes of a file."""
    content = write(tmp_path / "a.parquet", range(1234)).read_bytes()
    length = int.from_bytes(content[-8:-4], "little") + 8
    assert shards.footer_rows(content[-length:], "a") == 1234
    assert shards.footer_rows(content, "a") == 1234
    for tail, rule in (
        (content[-length + 1 :], "broken-parquet"),
        (b"", "not-parquet"),
        (b"x" * 99, "not-parquet"),
    ):
        with pytest.raises(InvalidData, match=rule):
            shards.footer_rows(tail, "a")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the highest memory so")
def test_one_big_row_group_is_read_in_flat_memory(tmp_path: Path) -> None:
    """A column is read a megabyte at a time: 120 MB of text in one row group take about 55 MB, as 480 MB do."""
    path, letters = tmp_path / "a.parquet", random.Random(1).randbytes(60_000_000).hex()
    # Random letters, so that pages are as large on disk as in memory.
    table = pa.table({"text": [letters[at : at + 4000] for at in range(0, len(letters), 4000)]})
    pq.write_table(table, path, row_group_size=table.num_rows, use_dictionary=False, compression="none")
    read = f"""
from pathlib import Path
from phi_finetune.chat_dataset import shards
def highest():  # VmHWM starts anew with each program, and ru_maxrss with its parent's
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
plan = shards.plan([Path({str(path)!r})])
assert [len(piece.row_groups) for piece in plan.pieces] == [1]
before = highest()
assert sum(batch.num_rows for batch in shards.batches(plan)) == {table.num_rows}
print(highest() - before)
"""
    done = subprocess.run([sys.executable, "-c", read], check=True, capture_output=True, text=True)
    assert int(done.stdout) / 1024 < 90
