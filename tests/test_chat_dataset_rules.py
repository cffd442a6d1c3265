"""What ChatDataset refuses, and what its errors say."""

from __future__ import annotations

import errno
import gzip
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, Conversation, Message
from phi_finetune.errors import InvalidData

SECRET = "my private words"
GOOD = json.dumps(
    {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}
).encode()

USER = {"role": "user", "content": SECRET}
BOT = {"role": "assistant", "content": SECRET}
SYSTEM = {"role": "system", "content": SECRET}

BAD_ROWS: list[tuple[str, object, str | None]] = [
    ("not-an-object", [USER, BOT], None),
    ("not-an-object", SECRET, None),
    ("not-an-object", None, None),
    ("no-messages", {"text": SECRET}, None),
    ("no-messages", {}, None),
    ("messages-not-a-list", {"messages": SECRET}, "messages"),
    ("no-messages", {"messages": None}, None),
    ("messages-not-a-list", {"messages": USER}, "messages"),
    ("empty-messages", {"messages": []}, "messages"),
    ("message-not-an-object", {"messages": [USER, SECRET]}, "messages[1]"),
    ("message-not-an-object", {"messages": [None, BOT]}, "messages[0]"),
    ("missing-role", {"messages": [{"content": SECRET}, BOT]}, "messages[0].role"),
    ("missing-role", {"messages": [USER, {"role": None, "content": SECRET}]}, "messages[1].role"),
    ("unknown-role", {"messages": [{"role": "human", "content": SECRET}, BOT]}, "messages[0].role"),
    ("unknown-role", {"messages": [{"role": "User", "content": SECRET}, BOT]}, "messages[0].role"),
    ("unknown-role", {"messages": [{"role": ["user"], "content": SECRET}, BOT]}, "messages[0].role"),
    ("missing-content", {"messages": [USER, {"role": "assistant"}]}, "messages[1].content"),
    ("missing-content", {"messages": [USER, {"role": "assistant", "content": None}]}, "messages[1].content"),
    ("content-not-text", {"messages": [{"role": "user", "content": 7}, BOT]}, "messages[0].content"),
    (
        "content-part-not-text",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": SECRET}]}, BOT]},
        "messages[0].content[0]",
    ),
    ("blank-content", {"messages": [{"role": "user", "content": ""}, BOT]}, "messages[0].content"),
    (
        "blank-content",
        {"messages": [USER, {"role": "assistant", "content": " \n\u3000"}]},
        "messages[1].content",
    ),
    ("lone-surrogate", {"messages": [{"role": "user", "content": "a\ud800"}, BOT]}, "messages[0].content"),
    ("system-not-first", {"messages": [USER, SYSTEM, BOT]}, "messages[1].role"),
    ("second-system", {"messages": [SYSTEM, SYSTEM, USER, BOT]}, "messages[1].role"),
    ("second-system", {"messages": [SYSTEM, USER, BOT, SYSTEM]}, "messages[3].role"),
    ("user-not-first", {"messages": [BOT, USER]}, "messages[0].role"),
    ("user-not-first", {"messages": [SYSTEM, BOT]}, "messages[1].role"),
    ("roles-not-alternating", {"messages": [USER, USER, BOT]}, "messages[1].role"),
    ("roles-not-alternating", {"messages": [SYSTEM, USER, BOT, BOT]}, "messages[3].role"),
    ("no-user-turn", {"messages": [SYSTEM]}, "messages"),
    ("no-assistant-turn", {"messages": [USER]}, "messages"),
    ("no-assistant-turn", {"messages": [SYSTEM, USER]}, "messages"),
    ("last-not-assistant", {"messages": [USER, BOT, USER]}, "messages[2].role"),
]

BAD_LINES: list[tuple[str, bytes, str | None]] = [
    ("not-utf-8", b'{"messages": "\xff"}\n', "byte 15"),
    ("not-utf-8", GOOD.decode().encode("utf-16") + b"\n", "byte 1"),
    ("not-json", SECRET.encode() + b"\n", "column 1"),
    ("not-json", GOOD + GOOD + b"\n", f"column {len(GOOD) + 1}"),
    ("not-json", GOOD.replace(b'"', b"'") + b"\n", "column 2"),
    ("not-json", b'{"n": ' + b"1" * 5_000 + b"}\n", None),
    ("truncated-line", GOOD[:40], "column 41"),
    ("truncated-line", b'{"messages": "\xe2\x82', "byte 15"),
    ("not-finite", b'{"score": NaN, ' + GOOD[1:] + b"\n", None),
    ("not-finite", b'{"score": -Infinity, ' + GOOD[1:] + b"\n", None),
    ("duplicate-key", b'{"messages": [], ' + GOOD[1:] + b"\n", None),
    ("duplicate-key", GOOD.replace(b'"role"', b'"content": "x", "role"') + b"\n", None),
    ("too-nested", b"[" * 200_000 + b"\n", None),
    ("not-an-object", b"[" + GOOD + b"]\n", None),
]


def check_error(error: InvalidData, rule: str, row: int | None, path: str | None) -> None:
    """The error says where and what to do, and holds nothing of the row."""
    assert (error.rule, error.row, error.path) == (rule, row, path)
    assert error.next_call
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    told = f"{error} {error.__context__!r} {pickle.loads(pickle.dumps(error)).__dict__}"
    assert SECRET not in told
    assert rule in str(error)


@pytest.mark.parametrize(("rule", "row", "path"), BAD_ROWS)
def test_a_bad_row_of_a_file_is_named(rule: str, row: object, path: str | None, tmp_path: Path) -> None:
    """The error gives the line's number, blank lines counted, and the place in the row."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD + b"\n\n" + json.dumps(row).encode() + b"\n" + GOOD + b"\n")
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_jsonl(file).describe()
    check_error(caught.value, rule, 3, path)
    assert caught.value.file == str(file)
    assert f"Row 3 of {file}" in str(caught.value)


@pytest.mark.parametrize(("rule", "row", "path"), BAD_ROWS)
def test_a_bad_record_is_named(rule: str, row: object, path: str | None) -> None:
    """The error gives the record's number, on every pass, after the good rows before it."""
    records: Iterable[object] = (record for record in [json.loads(GOOD), row, json.loads(GOOD)])
    data = ChatDataset.from_records(records)  # type: ignore[arg-type]
    for _ in range(2):
        rows = data.rows()
        assert next(rows).answer == "Hi"
        with pytest.raises(InvalidData) as caught:
            next(rows)
        check_error(caught.value, rule, 2, path)
        assert caught.value.file == "records (train)"


@pytest.mark.parametrize(("rule", "line", "path"), BAD_LINES)
def test_a_bad_line_is_named(rule: str, line: bytes, path: str | None, tmp_path: Path) -> None:
    """What can't be parsed gives the line's number too."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD + b"\n" + line)
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_jsonl(file).check()
    check_error(caught.value, rule, 2, path)


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("gzip", gzip.compress(GOOD, mtime=0)[:-9], "truncated-archive"),
        ("zip", b"PK\x03\x04rest", "compressed"),
        ("bzip2", b"BZh91AY", "truncated-archive"),
        ("xz", b"\xfd7zXZ\x00rest", "truncated-archive"),
        pytest.param(
            "zstandard",
            b"\x28\xb5\x2f\xfdrest",
            "zstandard",
            marks=pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python 3.14 can read it"),
        ),
        ("parquet", b"PAR1rest", "compressed"),
    ],
)
def test_a_compressed_file_is_told_from_a_broken_one(
    name: str, content: bytes, rule: str, tmp_path: Path
) -> None:
    """A wrong ending does not hide what the file is."""
    file = tmp_path / f"{name}.jsonl"
    file.write_bytes(content)
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_jsonl(file).describe()
    check_error(caught.value, rule, None, None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The error comes with the first use and gives the path."""
    data = ChatDataset.from_jsonl(tmp_path / "absent.jsonl")
    for use in (data.describe, data.preview, data.check, lambda: next(data.lines())):
        with pytest.raises(InvalidData) as caught:
            use()
        assert (caught.value.rule, caught.value.file) == ("missing-file", str(tmp_path / "absent.jsonl"))


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    """A folder stands for the files of its kind in it."""
    (tmp_path / "a.csv").write_text("messages")
    with pytest.raises(InvalidData) as caught:
        ChatDataset.from_jsonl(tmp_path).describe()
    assert caught.value.rule == "empty-folder"


@pytest.mark.parametrize(
    ("number", "rule"),
    [(errno.EACCES, "no-permission"), (errno.EIO, "unreadable"), (errno.ENOENT, "missing-file")],
)
def test_a_file_that_cannot_be_opened_is_named(
    number: int, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reason of the system's has its own rule (tests may run as root, who may read everything)."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    file = tmp_path / "a.jsonl"
    file.write_bytes(GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InvalidData) as caught:
        next(ChatDataset.from_jsonl(file).rows())
    assert (caught.value.rule, caught.value.file) == (rule, str(file))


def test_a_test_split_may_end_with_a_question() -> None:
    """Only what is trained or measured on must end with an answer."""
    prompts = [{"messages": [USER]}, {"messages": [USER, BOT, USER]}]
    good = [json.loads(GOOD)]
    assert ChatDataset.from_records(good, test=prompts).describe("test").rows == 2
    with pytest.raises(InvalidData):
        ChatDataset.from_records(good, validation=prompts).describe("validation")


def refusal(use: Callable[[], object]) -> InvalidData | None:
    """The error that refuses something; None if it is taken."""
    try:
        use()
    except InvalidData as error:
        return error
    return None


@given(content=st.binary(max_size=60))
def test_no_file_raises_anything_else(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever bytes a file holds, it is refused with one error that names it, or holds no row."""
    file = tmp_path_factory.mktemp("bytes") / "a.jsonl"
    file.write_bytes(content)
    error = refusal(ChatDataset.from_jsonl(file).check)
    assert error is not None
    assert error.file == str(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_no_record_raises_anything_else(messages: object) -> None:
    """Whatever stands for the messages, it is a conversation or one error that names the rule."""
    error = refusal(lambda: Conversation.from_record({"messages": messages}))
    assert error is None or error.rule


def test_a_conversation_is_read_from_a_record() -> None:
    """Other keys are left out, and as_dict gives the record's form."""
    turns = [{"role": "user", "content": "a", "weight": 0}, {"role": "assistant", "content": "b"}]
    row = Conversation.from_record({"id": 1, "messages": turns})
    assert row.messages == (Message("user", "a"), Message("assistant", "b"))
    assert row.as_dict() == {
        "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    }


def test_the_prompt_is_all_but_the_last_answer() -> None:
    """An endpoint is sent the turns before the assistant's last, earlier answers included."""
    turns = [SYSTEM, USER, BOT, USER, {"role": "assistant", "content": "last"}]
    row = Conversation.from_record({"messages": turns})
    assert [message.role for message in row.prompt] == ["system", "user", "assistant", "user"]
    assert row.answer == "last"


def test_a_question_is_its_own_prompt() -> None:
    """Where the user speaks last, everything is sent, and there is no answer yet."""
    row = Conversation.from_record({"messages": [USER, BOT, USER]})
    assert row.prompt == row.messages
    assert row.answer is None


def test_a_bad_conversation_is_refused() -> None:
    """Without a file there is no row to name."""
    with pytest.raises(InvalidData) as caught:
        Conversation.from_record({"messages": [BOT]})
    assert (caught.value.rule, caught.value.file, caught.value.row) == ("user-not-first", None, None)
    assert str(caught.value).startswith("The conversation, messages[0].role, is refused (user-not-first)")
