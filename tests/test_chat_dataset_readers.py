"""Readers of other kinds of files: JSON arrays, tables as text, compressed files, and patterns of paths."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset.readers import Csv, JsonArray, found_files
from phi_finetune.chat_dataset.readers.compressed import opened, uncompressed_name
from phi_finetune.chat_dataset.rules import RULES, Fault
from phi_finetune.errors import InvalidData, InvalidParameter

SECRET = "Zanzibar"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def written(folder: Path, name: str, content: bytes | str) -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def array(folder: Path, content: bytes | str) -> list[tuple[int, object]]:
    """What the reader makes of a JSON file."""
    return list(JsonArray(written(folder, "a.json", content)).records())


def table(folder: Path, content: bytes | str, name: str = "a.csv") -> list[tuple[int, object]]:
    """What the reader makes of a table."""
    return list(Csv(written(folder, name, content)).records())


# JSON arrays


@given(rows=st.lists(JSON, max_size=6), indent=st.sampled_from([None, 0, 2]), is_ascii=st.booleans())
def test_an_array_gives_its_rows(rows: list[object], indent: int | None, is_ascii: bool) -> None:
    """However it is laid out, the rows are those that were written, counted from 1."""
    with tempfile.TemporaryDirectory() as folder:
        content = json.dumps(rows, indent=indent, ensure_ascii=is_ascii)
        assert array(Path(folder), content) == list(enumerate(rows, start=1))
        assert array(Path(folder), f'{{"data": {content}}}') == list(enumerate(rows, start=1))


def test_blocks_may_end_anywhere(tmp_path: Path) -> None:
    """A block's end in a string, after a backslash or inside of a letter changes nothing."""
    rows = [{"a": 'qu"ote\\ \\" {[', "b": ["é\U0001f642", "]}"]}, [[]], "a\\", -1.5, None, {}]
    content = json.dumps(rows, ensure_ascii=False).encode()
    for before in range(len(content)):
        space = b" " * (256 * 1024 - before)
        assert array(tmp_path, b"[" + space + content[1:]) == list(enumerate(rows, start=1))


def test_a_byte_order_mark_before_an_array_is_passed_over(tmp_path: Path) -> None:
    """Editors add it."""
    assert array(tmp_path, b"\xef\xbb\xbf\r\n[1,\r\n2]\r\n") == [(1, 1), (2, 2)]


def test_only_a_row_is_held(tmp_path: Path) -> None:
    """An array of 32 MB takes a few."""
    path = tmp_path / "a.json"
    row = json.dumps({"text": "x" * 5_000}).encode()
    path.write_bytes(b"[" + b",".join([row] * 6_400) + b"]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in JsonArray(path).records()) == 6_400
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_a_broken_row_does_not_end_the_reading(tmp_path: Path) -> None:
    """What is wrong stands in its place, with the line and byte at which it begins."""
    content = f'[{{"a": 1}},\n {{"a": {SECRET}}},\n{{"a": 2}}]'
    assert array(tmp_path, content) == [
        (1, {"a": 1}),
        (2, Fault("not-json-row", "line 2 (byte 13)")),
        (3, {"a": 2}),
    ]


def test_places_are_those_in_the_file(tmp_path: Path) -> None:
    """Far from its start too, where many blocks were read and let go."""
    row = json.dumps({"text": "x" * 5_000})
    content = "[\n" + f"{row},\n" * 300 + "nothing,\n1]"
    assert array(tmp_path, content)[300] == (
        301,
        Fault("not-json-row", f"line 302 (byte {content.index('nothing') + 1})"),
    )


def test_a_row_that_never_ends_is_not_held(tmp_path: Path) -> None:
    """Of a file with an unclosed quote, no more than the longest row is read."""
    content = gzip.compress(b'["') + gzip.compress(b"x" * 10_000_000) * 6
    reader = JsonArray(written(tmp_path, "a.json.gz", content))
    tracemalloc.start()
    try:
        with pytest.raises(InvalidData) as caught:
            list(reader.records())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (caught.value.rule, caught.value.row, caught.value.path) == ("row-too-long", 1, "line 1 (byte 2)")
    assert peak < 50_000_000


BROKEN_ARRAYS: list[tuple[bytes | str, int, str]] = [
    # content, the row that is told of, the rule
    (f'[1, {{"a": "{SECRET}"', 2, "truncated-array"),
    (f'[1, "{SECRET}', 2, "truncated-array"),
    (f'["{SECRET}", 1', 2, "truncated-array"),
    (f'["{SECRET}"', 2, "truncated-array"),
    (f'["{SECRET}",', 2, "truncated-array"),
    (f'["{SECRET}\\', 1, "truncated-array"),
    ("[", 1, "truncated-array"),
    ('{"data": [1', 1, "truncated-array"),
    ('{"data": [1]', 2, "truncated-array"),
    (f'["{SECRET}" 1]', 2, "array-comma"),
    (f'["{SECRET}",, 1]', 2, "array-comma"),
    (f'["{SECRET}",]', 2, "array-comma"),
    (f'[,"{SECRET}"]', 1, "array-comma"),
    (f'["a"] "{SECRET}"', 2, "after-the-array"),
    (f'["a"]}}{SECRET}', 2, "after-the-array"),
    (f'{{"rows": ["a"], "{SECRET}": 1}}', 2, "after-the-array"),
    (f"[{SECRET}]", 1, "not-json-row"),
    (f"['{SECRET}']", 1, "not-json-row"),
    (f'[{{"{SECRET}": 1]]', 1, "not-json-row"),
    (f'[{{"a": "{SECRET}\n"}}]', 1, "not-json-row"),
    (f'["{SECRET}", }}]', 2, "not-json-row"),
    (f'[{{"a": NaN, "b": "{SECRET}"}}]', 1, "not-finite"),
    (f'[{{"{SECRET}": 1, "{SECRET}": 2}}]', 1, "duplicate-key"),
    (b'["' + SECRET.encode() + b'\xff"]', 1, "not-utf-8"),
    ("[" * 100_000 + "]" * 100_000, 1, "too-nested"),
    (f"[{'9' * 5_000}]", 1, "not-json-row"),
]


@pytest.mark.parametrize(("content", "number", "rule"), BROKEN_ARRAYS)
def test_a_broken_array_has_a_clear_fault(
    tmp_path: Path, content: bytes | str, number: int, rule: str
) -> None:
    """It names the row and the rule, and nothing of what is in it."""
    found = [(row, value) for row, value in array(tmp_path, content) if isinstance(value, Fault)]
    assert [(row, fault.rule) for row, fault in found][:1] == [(number, rule)]
    for row, fault in found:
        assert fault.rule in RULES
        assert fault.path is not None
        assert fault.path.startswith("line ")
        assert SECRET not in str(fault.error("a.json", row))


UNREADABLE_ARRAYS: list[tuple[bytes | str, str]] = [
    ("", "empty-file"),
    (" \n", "empty-file"),
    (f'{{"{SECRET}": 1}}\n{{"{SECRET}": 2}}\n', "not-an-array"),
    (f'{{"version": 1, "data": ["{SECRET}"]}}', "not-an-array"),
    (f'"{SECRET}"', "not-an-array"),
    (SECRET, "not-an-array"),
    (json.dumps([SECRET]).encode("utf-16"), "not-utf-8"),
    (b'["' + b"x" * (17 * 1024 * 1024), "row-too-long"),
    (b'[{"a": [' + b"1, " * (6 * 1024 * 1024), "row-too-long"),
]


@pytest.mark.parametrize(("content", "rule"), UNREADABLE_ARRAYS)
def test_a_file_that_is_no_array_is_refused(tmp_path: Path, content: bytes | str, rule: str) -> None:
    """As a whole, by its name."""
    with pytest.raises(InvalidData) as caught:
        array(tmp_path, content)
    assert caught.value.rule == rule
    assert caught.value.file == str(tmp_path / "a.json")
    assert SECRET not in str(caught.value)


@given(st.binary(max_size=40) | st.text('[]{}",:\\ \n1a', max_size=40))
def test_any_bytes_are_an_array_or_refused(content: bytes | str) -> None:
    """Nothing else is raised, and the reading ends."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = array(Path(folder), content)
        except InvalidData as error:
            rows = []
            rule = error.rule
        else:
            rule = None
        assert rule is None or rule in RULES
        assert [number for number, _ in rows] == list(range(1, len(rows) + 1))


@given(st.text('[]{}",:\\ \n1', max_size=30).map(lambda text: f"[{text}"))
def test_an_array_is_whole_where_python_says_so(content: str) -> None:
    """Python's own parser, which holds everything, is the measure."""
    with tempfile.TemporaryDirectory() as folder:
        rows = array(Path(folder), content)
    try:
        expected = json.loads(content)
    except ValueError:
        assert any(isinstance(value, Fault) for _, value in rows)
        return
    faults = [value for _, value in rows if isinstance(value, Fault)]
    if faults:  # Python keeps the last of two values under one key
        assert {fault.rule for fault in faults} == {"duplicate-key"}
    else:
        assert [value for _, value in rows] == expected


# Tables as text


@given(
    rows=st.lists(st.tuples(TEXT, TEXT), max_size=5),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_table_gives_its_rows(rows: list[tuple[str, str]], delimiter: str, end: str) -> None:
    """Cells come back as they were written, line ends and quotes in them too."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("instruction", "output"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a.csv", "\ufeff" + buffer.getvalue())
        found = list(Csv(path, delimiter).records())
    assert found == [
        (number, {"instruction": first, "output": second})
        for number, (first, second) in enumerate(rows, start=1)
    ]


def test_tabs_separate_by_the_files_name(tmp_path: Path) -> None:
    """``.tsv`` and ``.tab``, compressed ones too."""
    for name in ("a.tsv", "A.TSV", "a.tab"):
        assert table(tmp_path, "a\tb\n1,2\t3\n", name) == [(1, {"a": "1,2", "b": "3"})]
    assert table(tmp_path, gzip.compress(b"a\tb\n1\t2\n"), "a.tsv.gz") == [(1, {"a": "1", "b": "2"})]


def test_list_columns_hold_json(tmp_path: Path) -> None:
    """An empty cell is no list; other columns stay text."""
    turns = [{"role": "user", "content": 'Hi,\n"you"'}]
    cell = json.dumps(turns).replace('"', '""')
    content = f'messages,id\n"{cell}",[1]\n,2\n'
    assert table(tmp_path, content) == [
        (1, {"messages": turns, "id": "[1]"}),
        (2, {"messages": None, "id": "2"}),
    ]


def test_a_prompt_may_be_a_text_or_messages(tmp_path: Path) -> None:
    """A text that begins like a list stays a text."""
    turns = [{"role": "user", "content": "Hi"}]
    cell = json.dumps(turns).replace('"', '""')
    content = f'prompt\n"{cell}"\n[a list]\n"[1, 2]"\n[]\n'
    found = [row["prompt"] for _, row in table(tmp_path, content) if isinstance(row, dict)]
    assert found == [turns, "[a list]", "[1, 2]", "[]"]


def test_other_columns_can_be_read_as_json(tmp_path: Path) -> None:
    """Those that a form finds under another name."""
    path = written(tmp_path, "a.csv", 'dialog\n"[{""a"": 1}]"\n[\n')
    found = list(Csv(path, list_columns=frozenset({"dialog"})).records())
    assert found == [(1, {"dialog": [{"a": 1}]}), (2, Fault("cell-not-json", "line 3"))]


def test_long_cells_are_read_and_the_limit_of_the_program_stays(tmp_path: Path) -> None:
    """Python's limit is for the whole program, and too small for conversations."""
    before = csv.field_size_limit()
    assert table(tmp_path, f"a\n{'x' * 1_000_000}\n") == [(1, {"a": "x" * 1_000_000})]
    assert csv.field_size_limit() == before


def test_blank_lines_of_a_table_are_passed_over(tmp_path: Path) -> None:
    """They are no rows, and rows tell of the line that they begin at."""
    content = '\na,b\n\n"1\n2",3\n4\n'
    assert table(tmp_path, content) == [(1, {"a": "1\n2", "b": "3"}), (2, Fault("cell-count", "line 6"))]


BROKEN_TABLES: list[tuple[bytes | str, int, str]] = [
    (f"a,b\n{SECRET}\n", 1, "cell-count"),
    (f"a,b\n1,2\n{SECRET},2,3\n", 2, "cell-count"),
    (f'a,b\n"{SECRET}"x,2\n', 1, "broken-quotes"),
    (f"a,b\n{SECRET}\rx,2\n", 1, "broken-quotes"),
    (f'a,b\n1,"{SECRET}\n', 1, "unclosed-quote"),
    (b"a,b\n" + SECRET.encode() + b"\xff,2\n", 1, "not-utf-8"),
    (f"messages\n{SECRET}\n", 1, "cell-not-json"),
    (f"messages\n\"[{{'role': '{SECRET}'}}]\"\n", 1, "cell-not-json"),
    (f'messages\n"[{{""{SECRET}"": NaN}}]"\n', 1, "not-finite"),
    (f'conversations\n"[{{""{SECRET}"": 1, ""{SECRET}"": 2}}]"\n', 1, "duplicate-key"),
    (f"history\n{'[' * 100_000}{SECRET}\n", 1, "too-nested"),
    (b'a\n"' + (b"x" * 1023 + b"\n") * (17 * 1024), 1, "row-too-long"),
]


@pytest.mark.parametrize(("content", "number", "rule"), BROKEN_TABLES)
def test_a_broken_row_of_a_table_has_a_clear_fault(
    tmp_path: Path, content: bytes | str, number: int, rule: str
) -> None:
    """It names the row, the line and the rule; rows after it are read."""
    rows = dict(table(tmp_path, content))
    fault = rows[number]
    assert isinstance(fault, Fault)
    assert (fault.rule, fault.rule in RULES) == (rule, True)
    assert (fault.path or "").startswith("line ")
    assert SECRET not in str(fault.error("a.csv", number))


def test_rows_after_a_broken_one_are_read(tmp_path: Path) -> None:
    """One bad cell does not hide the next."""
    rows = table(tmp_path, 'a,b\n"x"y,2\n3,4\n')
    assert rows == [(1, Fault("broken-quotes", "line 2")), (2, {"a": "3", "b": "4"})]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty-file"),
        (b"\n\n", "empty-file"),
        (b"a,,b\n1,2,3\n", "no-header"),
        (b"a,a\n1,2\n", "duplicate-column"),
        (b'"a\n', "unclosed-quote"),
        (b"\xff\n1\n", "not-utf-8"),
        ("a,b\n1,2\n".encode("utf-16"), "not-utf-8"),
        (b"a\n" + b"x" * (17 * 1024 * 1024), "row-too-long"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes, rule: str) -> None:
    """As a whole, by its name."""
    with pytest.raises(InvalidData) as caught:
        table(tmp_path, content)
    assert (caught.value.rule, caught.value.file) == (rule, str(tmp_path / "a.csv"))


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n"])
def test_a_delimiter_is_one_character(delimiter: str) -> None:
    """Before any file is opened."""
    with pytest.raises(InvalidParameter) as caught:
        Csv(Path("a.csv"), delimiter)
    assert caught.value.name == "delimiter"


@given(st.binary(max_size=60) | st.text('ab,"\n\r\0[]', max_size=60))
def test_any_bytes_are_a_table_or_refused(content: bytes | str) -> None:
    """Nothing else is raised, and the reading ends."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = table(Path(folder), content)
        except InvalidData as error:
            rows = []
            rule = error.rule
        else:
            rule = None
        assert rule is None or rule in RULES
        assert [number for number, _ in rows] == list(range(1, len(rows) + 1))


# Compressed files


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_compressed_file_is_known_by_its_content(tmp_path: Path, ending: str) -> None:
    """Its name may say something else, and it may be of several parts."""
    compress = COMPRESSORS[ending]
    assert array(tmp_path, compress(b"[1,") + compress(b" 2]")) == [(1, 1), (2, 2)]
    assert table(tmp_path, compress(b"a\n1\n"), f"a.csv{ending}") == [(1, {"a": "1"})]


@pytest.mark.parametrize("ending", COMPRESSORS)
@given(content=st.binary(max_size=200))
def test_what_was_compressed_is_read(ending: str, content: bytes) -> None:
    """Byte for byte, unless it is itself no text."""
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), "a", COMPRESSORS[ending](b"." + content))
        with opened(path) as file:
            assert file.read() == b"." + content


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_compressed_file_that_breaks_off_is_told_of(tmp_path: Path, ending: str) -> None:
    """The rows before its end are read."""
    whole = COMPRESSORS[ending](json.dumps([os.urandom(16).hex() for _ in range(20_000)]).encode())
    reader = JsonArray(written(tmp_path, "a.json", whole[: len(whole) // 2]))
    rows = reader.records()
    with pytest.raises(InvalidData) as caught:
        for _ in rows:
            pass
    assert caught.value.rule == "truncated-archive"


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_damaged_file_is_told_of(tmp_path: Path, ending: str) -> None:
    """As damaged, and not as a fault of its rows."""
    whole = bytearray(COMPRESSORS[ending](json.dumps([os.urandom(16).hex() for _ in range(2_000)]).encode()))
    whole[len(whole) // 2 : len(whole) // 2 + 200] = bytes(200)
    with pytest.raises(InvalidData) as caught:
        list(JsonArray(written(tmp_path, "a.json", bytes(whole))).records())
    assert caught.value.rule == "broken-archive"


def test_rubbish_after_a_gzip_beginning_is_told_of(tmp_path: Path) -> None:
    """Two bytes do not make it a whole file."""
    with pytest.raises(InvalidData) as caught:
        array(tmp_path, b"\x1f\x8b" + SECRET.encode())
    assert caught.value.rule == "broken-archive"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_file_that_expands_too_far_is_refused(tmp_path: Path, ending: str) -> None:
    """A few kilobytes that stand for 200 MB are read to a third, and never held."""
    part = COMPRESSORS[ending](b" " * 8_000_000)
    path = written(tmp_path, "a.json", COMPRESSORS[ending](b"[") + part * 25)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidData) as caught:
            for _ in JsonArray(path).records():
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.rule == "expands-too-far"
    assert peak < 20_000_000


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    """Archives, tables of other kinds, and what was compressed twice."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.json", "[]")
    for content in (
        archive.getvalue(),
        b"PAR1....",
        b"ARROW1\0\0",
        gzip.compress(gzip.compress(b"[]")),
        lzma.compress(archive.getvalue()),
    ):
        with pytest.raises(InvalidData) as caught:
            array(tmp_path, content)
        assert caught.value.rule == "compressed"


def test_zstandard_is_read_or_refused_with_the_reason(tmp_path: Path) -> None:
    """Python reads it from 3.14 on."""
    path = written(tmp_path, "a.json", bytes.fromhex("28b52ffd2003190000") + b"[1]")  # one raw block
    reader = JsonArray(path)
    if find_spec("compression"):
        assert list(reader.records()) == [(1, 1)]
        return
    with pytest.raises(InvalidData, match=r"3\.14") as caught:
        list(reader.records())
    assert caught.value.rule == "zstandard"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv.gz", "a.csv"), ("a.json.XZ", "a.json"), ("a.json", "a.json"), ("gz", "gz")],
)
def test_a_name_without_its_compression(name: str, expected: str) -> None:
    """What a file is called inside."""
    assert uncompressed_name(Path(name)) == expected


# Finding files


@pytest.mark.parametrize("kind", [JsonArray, Csv])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, kind: type[JsonArray] | type[Csv]) -> None:
    """So is a folder in its place."""
    for path, rule in ((tmp_path / "none", "missing-file"), (tmp_path, "not-a-file")):
        reader = kind(path)
        for read in (reader.stamp, lambda reader=reader: list(reader.records())):
            with pytest.raises(InvalidData) as caught:
                read()
            assert (caught.value.rule, caught.value.file) == (rule, str(path))


@pytest.mark.parametrize("kind", [JsonArray, Csv])
def test_a_reader_knows_its_file(tmp_path: Path, kind: type[JsonArray] | type[Csv]) -> None:
    """Its stamp changes with the file."""
    path = written(tmp_path, "a", "[1]")
    reader = kind(path)
    assert (reader.label, reader.files) == (str(path), (path,))
    before = reader.stamp()
    path.write_text("[1, 2]", encoding="utf-8")
    assert reader.stamp() != before
    assert kind(path) == reader


def folder_of(tmp_path: Path, *names: str) -> Path:
    """A folder with such files, each with other content."""
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path


def test_a_folder_stands_for_its_data_files(tmp_path: Path) -> None:
    """Sorted, and without what is hidden, of other kinds, or further down."""
    names = ("b.jsonl", "a.csv.gz", "c.txt", ".d.jsonl", "_e.json", "README.md", "f/g.jsonl")
    folder = folder_of(tmp_path, *names)
    assert found_files(folder) == (folder / "a.csv.gz", folder / "b.jsonl")
    assert found_files(folder, endings=[".csv"]) == (folder / "a.csv.gz",)


def test_a_pattern_stands_for_the_files_that_it_matches(tmp_path: Path) -> None:
    """Sorted; two stars go into folders."""
    folder = folder_of(tmp_path, "b.jsonl", "a.jsonl", "c/d.jsonl", "e.csv")
    assert found_files(str(folder / "*.jsonl")) == (folder / "a.jsonl", folder / "b.jsonl")
    assert found_files(folder / "**" / "*.jsonl")[-1] == folder / "c" / "d.jsonl"
    assert found_files([folder / "e.csv", folder / "[a]*"]) == (folder / "e.csv", folder / "a.jsonl")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    """Somebody called it so."""
    folder = folder_of(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert found_files(folder / "a[1].jsonl") == (folder / "a[1].jsonl",)


def test_files_that_are_not_found_are_told_of(tmp_path: Path) -> None:
    """Each in its own words."""
    folder = folder_of(tmp_path, "a.txt")
    (folder / "gone.jsonl").symlink_to(folder / "nowhere")
    for path, rule in (
        (folder / "b.jsonl", "missing-file"),
        (folder / "*.csv", "no-match"),
        (folder, "missing-file"),  # a shard that is not there is not passed over
        ([], "no-match"),
    ):
        with pytest.raises(InvalidData) as caught:
            found_files(path)
        assert caught.value.rule == rule
    (folder / "gone.jsonl").unlink()
    with pytest.raises(InvalidData) as caught:
        found_files(folder)
    assert caught.value.rule == "empty-folder"


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    """Under another name too: its rows would count twice."""
    folder = folder_of(tmp_path, "a.jsonl")
    (folder / "b.jsonl").symlink_to(folder / "a.jsonl")
    for paths in (
        [folder / "a.jsonl", folder / "." / "a.jsonl"],
        folder,
        [folder / "*a.jsonl", folder / "b.jsonl"],
    ):
        with pytest.raises(InvalidData) as caught:
            found_files(paths)
        assert caught.value.rule == "duplicate-file"
