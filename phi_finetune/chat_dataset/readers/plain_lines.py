"""Lines of JSON that are seen to keep the rules without reading their texts.

Nearly all lines of a file were written by one program, with the same white space and keys in the same order. Such a
line is what stands between its texts, known beforehand from the number of turns, with the texts put in. The decoder
finds where the texts begin and end and sees that they are well escaped; if the line put together again of these is the
line itself, then all roles, their order and all keys are as they must be, and no key stands twice. That takes half
the time of reading the texts, and of counting keys. Several lines at once take less time than one after another.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from struct import Struct, error
from typing import Final, TypeAlias

import attrs
import msgspec
from msgspec import UNSET, UnsetType

__all__ = ["HUGE_CHARACTERS", "plain_lines"]

HUGE_CHARACTERS: Final = 1_000_000
"""A longer row is worth a look."""
_MESSAGES: Final = b'"messages"'
_CONTENT, _PROMPT, _PROMPT_ID = _GAPS = "\0\1\2"
"""Where a text goes in a line."""
_Layout: TypeAlias = tuple[str, str, bool]
_LAYOUTS: Final[dict[bytes, _Layout]] = {
    b': [{"c': (": ", ", ", True),
    b': [{"r': (": ", ", ", False),
    b':[{"co': (":", ",", True),
    b':[{"ro': (":", ",", False),
}
"""What comes after ``"messages"``, the two separators, and whether the content stands before the role."""
_Parts: TypeAlias = tuple[int, bool, bool]
"""How many turns a line has, whether it has a prompt, and whether the prompt has an id."""
_KEPT_TURNS: Final = 256
"""Frames of longer lines are made anew."""
_first_two: Final = Struct("=H").unpack_from
_WELL_BEGUN: Final = frozenset(
    (int.from_bytes(bytes((ord('"'), code)), sys.byteorder),)
    for code in range(0x21, 0x7F)
    if code not in b'"\\'
)
"""How a text begins whose first character is no white space, and not escaped."""


class _Turn(msgspec.Struct, gc=False):
    content: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    messages: list[_Turn]
    prompt: msgspec.Raw | UnsetType = UNSET
    prompt_id: msgspec.Raw | UnsetType = UNSET


@attrs.frozen
class _Frame:
    """What stands around the texts of a line.

    Attributes:
        pieces: All of it, each second piece being one that a text takes the place of.
        contents: Where the turns' contents go.
        prompt: Where the prompt goes; None without one.
        prompt_id: Where the prompt's id goes.
        asked: Which of the contents is what the user says first.
    """

    pieces: list[bytes | msgspec.Raw]
    contents: slice
    prompt: int | None
    prompt_id: int | None
    asked: int


@attrs.frozen
class _Shape:
    """What the lines of a block have in common.

    Attributes:
        layout: How they are written.
        first: Whether the messages stand first in a line, before the prompt and its id.
        has_system: Whether the first turn is the system's; None where the last is the assistant's, so that turns come
            in pairs and an odd one is the system's.
    """

    layout: _Layout
    first: bool
    has_system: bool | None


class _Frames(dict[_Parts, _Frame | None]):
    """The frames of a shape by the parts of a line; None where there are too few turns."""

    def __init__(self, shape: _Shape) -> None:
        super().__init__()
        self._shape = shape

    def __missing__(self, parts: _Parts) -> _Frame | None:
        turns, has_system = parts[0], self._shape.has_system
        system = turns % 2 == 1 if has_system is None else has_system
        frame = _frame(self._shape, parts, system) if turns - system >= 2 else None
        if turns < _KEPT_TURNS:
            self[parts] = frame
        return frame


@cache
def _decoder() -> msgspec.json.Decoder[_Line]:
    return msgspec.json.Decoder(_Line)


@cache
def _text_decoder() -> msgspec.json.Decoder[str]:
    return msgspec.json.Decoder(str)


def plain_lines(data: bytes, start: int = 0, end: int | None = None, *, must_end_answered: bool) -> int:
    """How many lines there are, if all of them surely keep all rules and are nothing out of the ordinary; else 0.

    0 says nothing: there may be nothing wrong with them. Where the last turn may be the user's, it is 0 for several.

    Args:
        data: What has a line or several, each with its line feed.
        start: Where in it the first begins.
        end: Where the last ends; None at the end.
        must_end_answered: Whether the last turn must be the assistant's.
    """
    lines = memoryview(data)[start:end]
    # The decoder does not look whether a text that it passes over is UTF-8.
    if len(lines) > HUGE_CHARACTERS or not (data.isascii() or _is_utf_8(lines)):
        return 0
    at = data.find(_MESSAGES, start, end)
    layout = _LAYOUTS.get(data[at + 10 : at + 16])
    if layout is None:
        return 0
    try:
        rows = _decoder().decode_lines(lines)
    except (msgspec.DecodeError, RecursionError):
        return 0
    if must_end_answered:
        has_system = None
    elif len(rows) == 1:
        has_system = data.find(b'"role"%b"system"' % layout[0].encode(), start, end) >= 0
    else:
        return 0
    made = _made_again(rows, _frames(layout, at == start + 1, has_system))
    return len(rows) if len(made) == len(lines) and data.startswith(made, start) else 0


def _is_utf_8(lines: memoryview) -> bool:
    try:
        str(lines, "utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _made_again(rows: Sequence[_Line], frames: _Frames) -> bytes:
    """The rows put into their frames; nothing where one has none, or a content is blank."""
    whole: list[bytes | msgspec.Raw] = []
    texts: list[msgspec.Raw] = []
    for row in rows:
        contents = [turn.content for turn in row.messages]
        prompt_id = row.prompt_id
        frame = frames[len(contents), row.prompt is not UNSET, prompt_id is not UNSET]
        if frame is None:
            return b""
        pieces = frame.pieces.copy()
        pieces[frame.contents] = contents
        if frame.prompt is not None:
            pieces[frame.prompt] = contents[frame.asked]
        if frame.prompt_id is not None and prompt_id is not UNSET:
            pieces[frame.prompt_id] = prompt_id
        whole += pieces
        texts += contents
    return b"".join(whole) if _say_something(texts) else b""


def _say_something(texts: Sequence[msgspec.Raw]) -> bool:
    """Whether they are texts, and none is blank. Nearly all are seen by how they begin, and the rest is read."""
    try:
        if _WELL_BEGUN.issuperset(map(_first_two, texts)):
            return True
        rest = [_text_decoder().decode(text) for text in texts if _first_two(text) not in _WELL_BEGUN]
    except (error, msgspec.ValidationError):  # a number, or something else that is no text
        return False
    return all(rest) and not any(map(str.isspace, rest))


@cache
def _frames(layout: _Layout, first: bool, has_system: bool | None) -> _Frames:
    return _Frames(_Shape(layout, first, has_system))


def _frame(shape: _Shape, parts: _Parts, system: bool) -> _Frame:
    """The frame of a line of these parts."""
    turns, has_prompt, has_prompt_id = parts
    pieces = re.split(f"([{_GAPS}])", _line(shape, parts, system))
    begin = pieces.index(_CONTENT)
    return _Frame(
        [piece.encode() for piece in pieces],
        slice(begin, begin + 2 * turns, 2),
        pieces.index(_PROMPT) if has_prompt else None,
        pieces.index(_PROMPT_ID) if has_prompt_id else None,
        int(system),
    )


def _line(shape: _Shape, parts: _Parts, system: bool) -> str:
    turns, *named = parts
    colon, comma, content_first = shape.layout
    roles = ["assistant" if (turn - system) % 2 else "user" for turn in range(turns)]
    if system:
        roles[0] = "system"
    content = f'"content"{colon}{_CONTENT}'
    pairs = ((content, f'"role"{colon}"{role}"')[:: 1 if content_first else -1] for role in roles)
    messages = f'"messages"{colon}[{comma.join(f"{{{comma.join(pair)}}}" for pair in pairs)}]'
    prompts = [f'"prompt"{colon}{_PROMPT}', f'"prompt_id"{colon}{_PROMPT_ID}']
    others = [pair for pair, is_there in zip(prompts, named, strict=True) if is_there]
    return f"{{{comma.join([messages, *others] if shape.first else [*others, messages])}}}\n"
