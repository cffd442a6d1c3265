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
from functools import cache, lru_cache
from struct import Struct, error
from typing import Final, TypeAlias

import attrs
import msgspec

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
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@attrs.frozen
class _Frame:
    """What stands around the texts of a line.

    Attributes:
        pieces: All of it, each second piece being one that a text takes the place of.
        contents: Where the turns' contents go.
        prompt: Where the prompt goes; None without one.
        prompt_id: Where the prompt's id goes.
    """

    pieces: list[bytes]
    contents: slice
    prompt: int | None
    prompt_id: int | None


@cache
def _decoder() -> msgspec.json.Decoder[_Line]:
    return msgspec.json.Decoder(_Line)


def plain_lines(block: bytes, *, must_end_answered: bool) -> int:
    """How many lines there are, if all of them surely keep all rules and are nothing out of the ordinary; else 0.

    0 says nothing: there may be nothing wrong with them. Where the last turn may be the user's, it is 0 for several.

    Args:
        block: A line or several, each with its line feed.
        must_end_answered: Whether the last turn must be the assistant's.
    """
    # The decoder does not look whether a text that it passes over is UTF-8; ASCII is.
    if not block.isascii() or len(block) > HUGE_CHARACTERS:
        return 0
    at = block.find(_MESSAGES)
    layout = _LAYOUTS.get(block[at + 10 : at + 16])
    if layout is None:
        return 0
    try:
        rows = _decoder().decode_lines(block)
    except (msgspec.DecodeError, RecursionError):
        return 0
    if must_end_answered:
        has_system = None
    elif len(rows) == 1:
        has_system = b'"role"%b"system"' % layout[0].encode() in block
    else:
        return 0
    return len(rows) if _are_plain(rows, block, layout, first=at == 1, has_system=has_system) else 0


def _are_plain(
    rows: Sequence[_Line], block: bytes, layout: _Layout, *, first: bool, has_system: bool | None
) -> bool:
    """Whether the rows, put together in this layout, are the block, and all their texts begin well.

    Args:
        rows: What was found.
        block: Where it was found.
        layout: How the rows may be laid out.
        first: Whether the messages stand first in a line, before the prompt and its id.
        has_system: Whether the first turn is the system's; None where the last is the assistant's, so that turns come
            in pairs and an odd one is the system's.
    """
    whole: list[bytes | msgspec.Raw] = []
    texts: list[msgspec.Raw] = []
    for row in rows:
        turns, prompt, prompt_id = len(row.messages), row.prompt, row.prompt_id
        system = turns % 2 == 1 if has_system is None else has_system
        if turns - system < 2:
            return False
        named = isinstance(prompt, msgspec.Raw), isinstance(prompt_id, msgspec.Raw)
        frame = _frame(layout, turns, system, first, named)
        contents = [turn.content for turn in row.messages]
        pieces: list[bytes | msgspec.Raw] = [*frame.pieces]
        pieces[frame.contents] = contents
        if frame.prompt is not None and isinstance(prompt, msgspec.Raw):
            # The prompt must be what the user says first.
            if bytes(prompt) != bytes(contents[system]):
                return False
            pieces[frame.prompt] = prompt
        if frame.prompt_id is not None and isinstance(prompt_id, msgspec.Raw):
            pieces[frame.prompt_id] = prompt_id
        whole += pieces
        texts += contents
    return b"".join(whole) == block and _begin_well(texts)


def _begin_well(texts: Sequence[msgspec.Raw]) -> bool:
    try:
        return _WELL_BEGUN.issuperset(map(_first_two, texts))
    except error:  # a digit
        return False


@lru_cache(maxsize=1024)
def _frame(layout: _Layout, turns: int, has_system: bool, first: bool, named: tuple[bool, bool]) -> _Frame:
    """The frame of a line with so many turns, and with a prompt and its id or without."""
    pieces = re.split(f"([{_GAPS}])", _line(layout, turns, has_system, first, named))
    begin = pieces.index(_CONTENT)
    return _Frame(
        [piece.encode() for piece in pieces],
        slice(begin, begin + 2 * turns, 2),
        pieces.index(_PROMPT) if named[0] else None,
        pieces.index(_PROMPT_ID) if named[1] else None,
    )


def _line(layout: _Layout, turns: int, has_system: bool, first: bool, named: tuple[bool, bool]) -> str:
    colon, comma, content_first = layout
    roles = ["assistant" if (turn - has_system) % 2 else "user" for turn in range(turns)]
    if has_system:
        roles[0] = "system"
    content = f'"content"{colon}{_CONTENT}'
    pairs = ((content, f'"role"{colon}"{role}"')[:: 1 if content_first else -1] for role in roles)
    messages = f'"messages"{colon}[{comma.join(f"{{{comma.join(pair)}}}" for pair in pairs)}]'
    prompts = [f'"prompt"{colon}{_PROMPT}', f'"prompt_id"{colon}{_PROMPT_ID}']
    others = [pair for pair, is_there in zip(prompts, named, strict=True) if is_there]
    return f"{{{comma.join([messages, *others] if first else [*others, messages])}}}\n"
