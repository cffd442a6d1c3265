"""Files that are no good, of more than sixty kinds: what the error says, and that nothing came of them."""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import lzma
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tuning import SIZE

import phi_finetune as pf
from phi_finetune.chat_dataset import ChatDataset
from phi_finetune.errors import InvalidData
from phi_finetune.testing import FakeAzure

SECRET = "my private words"
USER = {"role": "user", "content": SECRET}
BOT = {"role": "assistant", "content": SECRET}
SYSTEM = {"role": "system", "content": SECRET}
GOOD = json.dumps({"messages": [USER, BOT]}).encode()
BEFORE = (GOOD + b"\n") * 12
MARK = b"\xef\xbb\xbf"


def row(*messages: object) -> bytes:
    """A line of messages."""
    return json.dumps({"messages": list(messages)}).encode() + b"\n"


def said(content: object) -> bytes:
    """A line whose answer is something else."""
    return row(USER, {"role": "assistant", "content": content})


def by(role: object) -> bytes:
    """A line whose answer is by somebody else."""
    return row(USER, {"role": role, "content": SECRET})


LAST_LINES: dict[str, tuple[bytes, str, str | None]] = {
    # What cannot be read
    "latin-1": ('{"messages": "café"}\n'.encode("latin-1"), "not-utf-8", "byte 18"),
    "latin-1 in a key that is left out": (b'{"note": "\xe9", ' + GOOD[1:] + b"\n", "not-utf-8", "byte 11"),
    "a byte of 255": (b'{"messages": "\xff"}\n', "not-utf-8", "byte 15"),
    "a byte of 255 in a text": (GOOD.replace(SECRET.encode(), b"a\xff", 1) + b"\n", "not-utf-8", None),
    "overlong UTF-8": (b'{"messages": "\xc0\xaf"}\n', "not-utf-8", "byte 15"),
    "a surrogate in UTF-8": (b'{"messages": "\xed\xa0\x80"}\n', "not-utf-8", "byte 15"),
    "UTF-16": (GOOD.decode().encode("utf-16") + b"\n", "not-utf-8", "byte 1"),
    "NUL bytes": (b"\0\0\0\0\n", "not-json", "column 1"),
    "a mark within the file": (MARK + GOOD + b"\n", "not-json", "column 1"),
    "prose": (SECRET.encode() + b"\n", "not-json", "column 1"),
    "a comment": (b"// " + SECRET.encode() + b"\n", "not-json", "column 1"),
    "single quotes": (GOOD.replace(b'"', b"'") + b"\n", "not-json", "column 2"),
    "two objects": (GOOD + GOOD + b"\n", "not-json", f"column {len(GOOD) + 1}"),
    "a comma after": (GOOD + b",\n", "not-json", f"column {len(GOOD) + 1}"),
    "a bare tab in a text": (GOOD.replace(SECRET.encode(), b"a\tb", 1) + b"\n", "not-json", None),
    "a bad escape": (GOOD.replace(SECRET.encode(), b"a\\x41", 1) + b"\n", "not-json", None),
    "a short escape": (GOOD.replace(SECRET.encode(), b"a\\u12", 1) + b"\n", "not-json", None),
    "Python's None": (b'{"messages": None}\n', "not-json", "column 14"),
    "a number of 5000 digits": (b'{"n": ' + b"1" * 5_000 + b"}\n", "not-json", None),
    "a leading nought": (b'{"n": 01}\n', "not-json", "column 8"),
    "one brace": (b"{\n", "not-json", None),
    "cut off": (GOOD[:40], "truncated-line", "column 41"),
    "cut off within a character": (b'{"messages": "\xe2\x82', "truncated-line", "byte 15"),
    "NaN": (b'{"score": NaN, ' + GOOD[1:] + b"\n", "not-finite", None),
    "minus infinity": (b'{"score": -Infinity, ' + GOOD[1:] + b"\n", "not-finite", None),
    "NaN for a content": (GOOD.replace(f'"{SECRET}"'.encode(), b"NaN", 1) + b"\n", "not-finite", None),
    "messages twice": (b'{"messages": [], ' + GOOD[1:] + b"\n", "duplicate-key", None),
    "a role twice": (GOOD.replace(b'"role"', b'"role": "user", "role"', 1) + b"\n", "duplicate-key", None),
    "a content twice": (
        GOOD.replace(b'"role"', b'"content": "x", "role"', 1) + b"\n",
        "duplicate-key",
        None,
    ),
    "a content twice, at the end": (GOOD[:-3] + b', "content": "x"}]}\n', "duplicate-key", None),
    "nested 100,000 deep": (b"[" * 100_000 + b"\n", "too-nested", None),
    "nested 100,000 deep, and closed": (b"[" * 100_000 + b"]" * 100_000 + b"\n", "too-nested", None),
    # What is of another form
    "a list": (b"[" + GOOD + b"]\n", "not-an-object", None),
    "a text": (json.dumps(SECRET).encode() + b"\n", "not-an-object", None),
    "null": (b"null\n", "not-an-object", None),
    "a number": (b"7\n", "not-an-object", None),
    "an empty object": (b"{}\n", "no-messages", None),
    "another form": (
        json.dumps({"prompt": SECRET, "completion": SECRET}).encode() + b"\n",
        "no-messages",
        None,
    ),
    "Messages": (GOOD.replace(b"messages", b"Messages") + b"\n", "no-messages", None),
    "messages is a text": (
        json.dumps({"messages": SECRET}).encode() + b"\n",
        "messages-not-a-list",
        "messages",
    ),
    "messages is null": (b'{"messages": null}\n', "no-messages", None),
    "messages is an object": (
        json.dumps({"messages": USER}).encode() + b"\n",
        "messages-not-a-list",
        "messages",
    ),
    "no message": (row(), "empty-messages", "messages"),
    "a message is a text": (row(USER, SECRET), "message-not-an-object", "messages[1]"),
    "a message is null": (row(None, BOT), "message-not-an-object", "messages[0]"),
    "a message is a list": (row(["user", SECRET], BOT), "message-not-an-object", "messages[0]"),
    "no role": (row(USER, {"content": SECRET}), "missing-role", "messages[1].role"),
    "the role is null": (by(None), "missing-role", "messages[1].role"),
    "the role is ShareGPT's": (by("gpt"), "unknown-role", "messages[1].role"),
    "the role is a tool": (by("tool"), "tools", "messages[1].role"),
    "the role has a capital": (by("Assistant"), "unknown-role", "messages[1].role"),
    "the role has a space": (by("assistant "), "unknown-role", "messages[1].role"),
    "the role is empty": (by(""), "unknown-role", "messages[1].role"),
    "the role is a list": (by(["assistant"]), "unknown-role", "messages[1].role"),
    "no content": (row(USER, {"role": "assistant"}), "missing-content", "messages[1].content"),
    "the content is null": (said(None), "missing-content", "messages[1].content"),
    "the content is a number": (said(7), "content-not-text", "messages[1].content"),
    "the content is true": (said(True), "content-not-text", "messages[1].content"),
    "the content is of parts": (
        said([{"type": "image_url", "image_url": SECRET}]),
        "content-part-not-text",
        "messages[1].content[0]",
    ),
    "the content is an object": (said({"text": SECRET}), "content-not-text", "messages[1].content"),
    "the content is empty": (said(""), "blank-content", "messages[1].content"),
    "the content is white": (said(" \t\n\r"), "blank-content", "messages[1].content"),
    "the content is white in Unicode": (said("\u3000\u2028\x85"), "blank-content", "messages[1].content"),
    "half a surrogate pair": (said("a\ud83d"), "lone-surrogate", "messages[1].content"),
    # What is out of order
    "system in the middle": (row(USER, SYSTEM, BOT), "system-not-first", "messages[1].role"),
    "two systems": (row(SYSTEM, SYSTEM, USER, BOT), "second-system", "messages[1].role"),
    "the assistant first": (row(BOT, USER, BOT), "user-not-first", "messages[0].role"),
    "the user twice": (row(USER, USER, BOT), "roles-not-alternating", "messages[1].role"),
    "the assistant twice": (row(USER, BOT, BOT), "roles-not-alternating", "messages[2].role"),
    "only a system": (row(SYSTEM), "no-user-turn", "messages"),
    "only a question": (row(USER), "no-assistant-turn", "messages"),
    "a question last": (row(USER, BOT, USER), "last-not-assistant", "messages[2].role"),
    "ten megabytes, then blank": (
        row({"role": "user", "content": "x" * 10_000_000}, {"role": "assistant", "content": ""}),
        "blank-content",
        "messages[1].content",
    ),
    "ten megabytes of one letter": (b"x" * 10_000_000 + b"\n", "not-json", "column 1"),
}
"""The thirteenth line of a file whose others are good, the rule it breaks, and where."""

WHOLE_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty-split"),
    "a mark only": (MARK, "empty-split"),
    "blank lines only": (b"\n  \n\t\r\n\n", "empty-split"),
    "nine rows": ((GOOD + b"\n") * 9, "too-few-rows"),
    "gzip": (gzip.compress(BEFORE, mtime=0)[:-4], "truncated-archive"),
    "bzip2": (bz2.compress(BEFORE)[:-4], "truncated-archive"),
    "xz": (lzma.compress(BEFORE)[:40] + b"x" + lzma.compress(BEFORE)[41:], "broken-archive"),
    "zip": (b"PK\x03\x04rest", "compressed"),
    "zstandard": (b"\x28\xb5\x2f\xfdrest", "zstandard" if sys.version_info < (3, 14) else "broken-archive"),
    "parquet": (b"PAR1rest", "compressed"),
}
"""Files that are no good as a whole."""


def missing(path: Path) -> None:
    """Nothing at all."""


def loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path)


def dangling(path: Path) -> None:
    """A link to nothing."""
    path.symlink_to(path.with_name("gone"))


NO_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (missing, "missing-file"),
    "a folder": (Path.mkdir, "empty-folder"),
    "a link to itself": (loop, "unreadable"),
    "a link to nothing": (dangling, "missing-file"),
}


@pytest.fixture(scope="module")
def azure() -> Iterator[FakeAzure]:
    """One for all: none of these may reach it."""
    with FakeAzure() as started:
        yield started


@pytest.fixture
def refused(azure: FakeAzure, tmp_path: Path) -> Callable[[Path], InvalidData]:
    """Tries to submit and to write a file; gives the error, after a look that nothing came of it."""
    model = azure.workspace().foundation_model("Phi-4")

    def refusal(path: Path) -> InvalidData:
        data = ChatDataset.from_jsonl(path)
        before = sorted(tmp_path.rglob("*"))
        asked = len(azure.journal)
        with pytest.raises(InvalidData) as caught:
            model.finetune(data).on(pf.GpuCompute.serverless(SIZE)).submit()
        assert len(azure.journal) == asked
        if caught.value.rule not in {"empty-split", "too-few-rows"}:
            with pytest.raises(InvalidData):
                data.write(tmp_path / "out")
            assert list((tmp_path / "out").glob("*")) == []
            if (tmp_path / "out").exists():
                (tmp_path / "out").rmdir()
        assert sorted(tmp_path.rglob("*")) == before
        told = f"{caught.value} {caught.value!r} {pickle.loads(pickle.dumps(caught.value)).__dict__}"
        assert SECRET not in told
        assert len(told) < 10_000
        assert str(path) in str(caught.value)
        assert caught.value.next_call
        return caught.value

    return refusal


def test_there_are_enough() -> None:
    """The table is as long as was asked for."""
    assert len(LAST_LINES) + len(WHOLE_FILES) + len(NO_FILES) >= 60


@pytest.mark.parametrize("kind", LAST_LINES)
def test_a_bad_line_is_named(kind: str, refused: Callable[[Path], InvalidData], tmp_path: Path) -> None:
    """With its file, its number and the place in it, whatever stands before; nothing is sent or written."""
    line, rule, path = LAST_LINES[kind]
    file = tmp_path / "a.jsonl"
    file.write_bytes(BEFORE + line)
    error = refused(file)
    assert (error.file, error.row, error.rule) == (str(file), 13, rule)
    assert path is None or error.path == path


@pytest.mark.parametrize("kind", LAST_LINES)
def test_a_bad_line_is_told_with_others(kind: str, tmp_path: Path) -> None:
    """The report goes on after it, and comes to the next one; carriage returns are no fault."""
    line, rule, path = LAST_LINES[kind]
    file = tmp_path / "a.jsonl"
    file.write_bytes(MARK + GOOD + b"\r\n" + line.rstrip(b"\n") + b"\n" + BEFORE + b"[]\n" + GOOD)
    report = ChatDataset.from_jsonl(file).validate()
    rule = "not-json" if rule == "truncated-line" and (path or "").startswith("column") else rule
    rule = "not-utf-8" if rule == "truncated-line" else rule
    first, last = report.problems[0], report.problems[-2]
    assert (first.row, first.rule) == (2, rule)
    assert (last.row, last.rule) == (15, "not-an-object")
    assert report.problems[-1].rule == "byte-order-mark"
    assert report.rows == {"train": 16}
    assert SECRET not in f"{report} {report!r} {report._repr_html_()} {report.to_frame().to_csv()}"


@pytest.mark.parametrize("kind", WHOLE_FILES)
def test_a_bad_file_is_named(kind: str, refused: Callable[[Path], InvalidData], tmp_path: Path) -> None:
    """It has no row to name."""
    content, rule = WHOLE_FILES[kind]
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    error = refused(file)
    assert (error.file, error.row, error.rule) == (str(file), None, rule)


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_named(kind: str, refused: Callable[[Path], InvalidData], tmp_path: Path) -> None:
    """And not a word of the system's alone."""
    make, rule = NO_FILES[kind]
    file = tmp_path / "a.jsonl"
    make(file)
    error = refused(file)
    assert (error.file, error.row, error.rule) == (str(file), None, rule)


@pytest.mark.parametrize(("number", "rule"), [(errno.EACCES, "no-permission"), (errno.EIO, "unreadable")])
def test_a_file_that_the_system_refuses_is_named(
    number: int,
    rule: str,
    refused: Callable[[Path], InvalidData],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Root may read everything, so the refusal is made."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(BEFORE)
    opened = Path.open

    def refuse(self: Path, *args: Any, **named: Any) -> Any:
        if self == file:
            raise OSError(number, os.strerror(number))
        return opened(self, *args, **named)

    monkeypatch.setattr(Path, "open", refuse)
    error = refused(file)
    assert (error.file, error.row, error.rule) == (str(file), None, rule)


def test_up_to_twenty_faults_are_told(refused: Callable[[Path], InvalidData], tmp_path: Path) -> None:
    """The first is the error's own, and the rest is counted."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(BEFORE + b"[]\n" * 30 + row(USER, {"role": "gpt", "content": 7}))
    error = refused(file)
    assert [fault.row for fault in error.faults] == list(range(13, 33))
    assert error.fault_count == 32
    assert (error.row, error.rule) == (13, "not-an-object")
    assert str(error).count("Also: ") == 19
    assert "and 12 more" in str(error)


def test_a_plan_of_bad_data_asks_nothing(azure: FakeAzure, tmp_path: Path) -> None:
    """No more than submitting does; all faults are told."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(BEFORE + b"[]\n" * 2)
    model = azure.workspace().foundation_model("Phi-4")
    asked = len(azure.journal)
    with pytest.raises(InvalidData) as caught:
        model.finetune(ChatDataset.from_jsonl(file)).on(pf.GpuCompute.serverless(SIZE)).plan()
    assert len(azure.journal) == asked
    assert len(caught.value.faults) == 2


def test_each_fault_of_a_row_is_told(refused: Callable[[Path], InvalidData], tmp_path: Path) -> None:
    """Not only the first."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(BEFORE + row({"role": "gpt", "content": 7}, USER, {"content": " "}))
    assert [(fault.path, fault.rule) for fault in refused(file).faults] == [
        ("messages[0].role", "unknown-role"),
        ("messages[0].content", "content-not-text"),
        ("messages[2].role", "missing-role"),
        ("messages[2].content", "blank-content"),
    ]


def test_a_file_is_read_once_to_check_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good or bad; and not again when it was measured."""
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_bytes(BEFORE)
    bad.write_bytes(BEFORE + b"[]\n")
    opened: list[str] = []
    before = Path.open

    def counted(self: Path, *args: Any, **named: Any) -> Any:
        opened.append(self.name)
        return before(self, *args, **named)

    monkeypatch.setattr(Path, "open", counted)
    with pytest.raises(InvalidData):
        ChatDataset.from_jsonl(bad).check()
    # The first rows, for their form; the first three bytes, for a mark; and all.
    assert opened == ["bad.jsonl"] * 3
    opened.clear()
    data = ChatDataset.from_jsonl(good)
    data.describe()
    data.check()
    assert opened == ["good.jsonl"] * 2
