"""The one JSON line that stands for a conversation, and back.

It is ASCII, its keys are in fixed order, and a line feed ends it: what the ``json`` module writes of
:meth:`Conversation.as_dict`. ASCII because pandas takes twice the memory and more for a file of raw UTF-8 (data.md
2.4). Lines are made many at a time: msgspec quotes a batch's texts in one call, and only texts that are not ASCII
are quoted one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Final

import msgspec

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.errors import InvalidData

__all__ = [
    "BLOCK_BYTES",
    "assembled",
    "block_of",
    "blocks_of",
    "line_of",
    "read_line",
    "spoken",
    "utf8_block",
]

BLOCK_BYTES: Final = 1 << 20
"""A block of lines comes to about so many bytes; one row may be longer."""
BLOCK_ROWS: Final = 1000
_DELETE: Final = b"\x7f"
"""The one ASCII character that the json module escapes and msgspec does not."""
_OPEN: Final = b'{"messages": ['
_ID: Final = b', "prompt_id": '


@cache
def _encoder() -> msgspec.json.Encoder:
    return msgspec.json.Encoder()


@cache
def _decoder() -> msgspec.json.Decoder[Conversation]:
    return msgspec.json.Decoder(Conversation)


def read_line(line: bytes) -> Conversation:
    """Read a line's messages and ``prompt_id``, in whatever order and escaping; it does not check the rules.

    Raises:
        msgspec.DecodeError: It is not JSON, or what it holds is not of these kinds.
        UnicodeDecodeError: It is not UTF-8.
        RecursionError: It is nested too deeply.
    """
    return _decoder().decode(line)


def line_of(row: Conversation) -> bytes:
    """One row's line."""
    return block_of([row])


def block_of(rows: Sequence[Conversation]) -> bytes:
    """The lines of some rows, joined."""
    turns = [turn for row in rows for turn in row.messages]
    return assembled(
        [turn.role for turn in turns],
        [turn.content for turn in turns],
        [len(row.messages) for row in rows],
        [row.prompt_id for row in rows],
    )


def blocks_of(rows: Iterable[Conversation]) -> Iterator[bytes]:
    """The lines of rows in blocks, so that few calls are made and little is held.

    Raises:
        InvalidData: A row breaks a rule; those before it have been given.
    """
    batch: list[Conversation] = []
    size = 0
    try:
        for row in rows:
            batch.append(row)
            size += sum([len(turn.content) for turn in row.messages])
            if size >= BLOCK_BYTES or len(batch) >= BLOCK_ROWS:
                yield block_of(batch)
                batch.clear()
                size = 0
    except InvalidData:
        if batch:
            yield block_of(batch)
        raise
    if batch:
        yield block_of(batch)


def assembled(
    roles: Sequence[str], contents: Sequence[str], turns: Sequence[int], prompt_ids: Sequence[str | None]
) -> bytes:
    """The lines of rows that are given in columns.

    Args:
        roles: Who speaks, of all rows' turns one after the other.
        contents: What is said, likewise.
        turns: How many turns each row has, at least one.
        prompt_ids: Each row's.
    """
    heads = [_NEXT[role] for role in roles]
    start, end = 0, b""
    for count, prompt_id in zip(turns, prompt_ids, strict=True):
        heads[start] = end + _FIRST[roles[start]]
        end = b"}]}\n" if prompt_id is None else b"}]" + _ID + _quoted_one(prompt_id) + b"}\n"
        start += count
    pieces = [b""] * (2 * len(heads) + 1)
    pieces[0:-1:2] = heads
    pieces[1::2] = _quoted(contents)
    pieces[-1] = end
    return b"".join(pieces)


def _quoted(texts: Sequence[str]) -> list[bytes]:
    """Each text as a JSON string in ASCII."""
    lines = _encoder().encode_lines(texts)
    # A quoted text holds no line feed, so each line is one text.
    quoted = lines.split(b"\n")
    quoted.pop()
    if _DELETE in lines:
        return [_quoted_one(text) for text in texts]
    if lines.isascii():
        return quoted
    return [
        text if text.isascii() else _quoted_one(original)
        for text, original in zip(quoted, texts, strict=True)
    ]


def _quoted_one(text: str) -> bytes:
    return encode_basestring_ascii(text).encode("ascii")


def utf8_block(block: bytes) -> bytes:
    """The same lines with all characters as they are, in UTF-8; only what JSON must escape is escaped."""
    return b"".join(map(_utf8_line, block.splitlines(keepends=True)))


def _utf8_line(line: bytes) -> bytes:
    if b"\\u" not in line:
        return line
    row = read_line(line)
    messages = b"}, ".join(
        b'{"role": "%b", "content": %b' % (turn.role.encode(), encode_basestring(turn.content).encode())
        for turn in row.messages
    )
    end = b"" if row.prompt_id is None else _ID + encode_basestring(row.prompt_id).encode()
    return _OPEN + messages + b"}]" + end + b"}\n"


def spoken(line: bytes) -> bytes:
    """A line without its ``prompt_id``: rows that say the same are the same, whatever they are called."""
    # In a text this cannot stand: a quotation mark there has a backslash before it.
    said, found, _prompt_id = line.partition(b"}]" + _ID)
    return said + b"}]}\n" if found else line


def _head(role: str) -> bytes:
    return b'{"role": "%b", "content": ' % role.encode()


_FIRST: Final = {role: _OPEN + _head(role) for role in ("system", "user", "assistant")}
_NEXT: Final = {role: b"}, " + _head(role) for role in ("system", "user", "assistant")}
