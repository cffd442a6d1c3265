"""Lines of JSON that are seen to keep the rules without reading their texts.

Nearly all lines of a file were written by one program, with the same white space and keys in the same order. Such a
line is what stands between its texts, known beforehand from the number of turns, with the texts put in. The decoder
finds where the texts begin and end and sees that they are well escaped; if the line put together again of these is the
line itself, then all roles, their order and all keys are as they must be, and no key stands twice. That takes half
the time of reading the texts, and of counting keys.
"""

from __future__ import annotations

from functools import cache, lru_cache
from operator import itemgetter
from typing import Final, TypeAlias

import msgspec

__all__ = ["HUGE_CHARACTERS", "is_plain"]

HUGE_CHARACTERS: Final = 1_000_000
"""A longer row is worth a look."""
_MESSAGES: Final = b'"messages"'
_Layout: TypeAlias = tuple[str, str, bool]
_LAYOUTS: Final[dict[bytes, _Layout]] = {
    b': [{"c': (": ", ", ", True),
    b': [{"r': (": ", ", ", False),
    b':[{"co': (":", ",", True),
    b':[{"ro': (":", ",", False),
}
"""What comes after ``"messages"``, the two separators, and whether the content stands before the role."""
_WELL_BEGUN: Final = frozenset((ord('"'), code) for code in range(0x21, 0x7F) if code not in b'"\\')
"""How a text begins whose first character is no white space, and not escaped."""
_first_two: Final = itemgetter(0, 1)


class _Turn(msgspec.Struct, gc=False):
    content: msgspec.Raw


class _Line(msgspec.Struct, gc=False):
    messages: list[_Turn]
    prompt: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    prompt_id: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@cache
def _decoder() -> msgspec.json.Decoder[_Line]:
    return msgspec.json.Decoder(_Line)


def is_plain(line: bytes, *, must_end_answered: bool) -> bool:
    """Whether a line surely keeps all rules, and is nothing out of the ordinary; False says nothing.

    Args:
        line: With its line feed.
        must_end_answered: Whether the last turn must be the assistant's.
    """
    # The decoder does not look whether a text that it passes over is UTF-8; ASCII is.
    if not line.isascii() or len(line) > HUGE_CHARACTERS:
        return False
    at = line.find(_MESSAGES)
    layout = _LAYOUTS.get(line[at + 10 : at + 16])
    if layout is None:
        return False
    try:
        row = _decoder().decode(line)
    except (msgspec.DecodeError, RecursionError):
        return False
    turns = len(row.messages)
    # Turns that end answered come in pairs, so an odd one is the system's.
    has_system = turns % 2 == 1 and (must_end_answered or b'"role"%b"system"' % layout[0].encode() in line)
    if turns - has_system < 2:
        return False
    before, after = _around(row, layout, first=at == 1)
    whole = _frame(layout, turns, has_system).copy()
    contents = [turn.content for turn in row.messages]
    whole[1::2] = contents
    whole[0] = before + whole[0]
    whole[-1] += after
    if b"".join(whole) != line or not _begins_with_prompt(row, contents[has_system]):
        return False
    try:
        return _WELL_BEGUN.issuperset([_first_two(memoryview(content)) for content in contents])
    except IndexError:  # a digit
        return False


def _begins_with_prompt(row: _Line, first: msgspec.Raw) -> bool:
    """Whether the prompt, if there is one, is what the user says first."""
    return isinstance(row.prompt, msgspec.UnsetType) or bytes(row.prompt) == bytes(first)


@lru_cache(maxsize=512)
def _frame(layout: _Layout, turns: int, has_system: bool) -> list[bytes]:
    """What stands around the contents of so many turns, from ``"messages"`` to the end of the list.

    Every other piece is empty, for a content.
    """
    colon, comma, content_first = layout
    roles = ["assistant" if (turn - has_system) % 2 else "user" for turn in range(turns)]
    if has_system:
        roles[0] = "system"
    heads = ["" if content_first else f'"role"{colon}"{role}"{comma}' for role in roles]
    tails = [f'{comma}"role"{colon}"{role}"' if content_first else "" for role in roles]
    pieces = [b""] * (2 * turns + 1)
    for turn in range(turns):
        opening = f"{tails[turn - 1]}}}{comma}" if turn else f'"messages"{colon}['
        pieces[2 * turn] = f'{opening}{{{heads[turn]}"content"{colon}'.encode()
    pieces[-1] = f"{tails[-1]}}}]".encode()
    return pieces


def _around(row: _Line, layout: _Layout, *, first: bool) -> tuple[bytes, bytes]:
    """What comes before the messages, and after the list of them."""
    if isinstance(row.prompt, msgspec.UnsetType) and isinstance(row.prompt_id, msgspec.UnsetType):
        return b"{", b"}\n"
    colon, comma = layout[0].encode(), layout[1].encode()
    named = ((b'"prompt"', row.prompt), (b'"prompt_id"', row.prompt_id))
    pairs = [b"".join([name, colon, raw]) for name, raw in named if isinstance(raw, msgspec.Raw)]
    if first:
        return b"{", b"".join([comma, comma.join(pairs), b"}\n"])
    return b"".join([b"{", comma.join(pairs), comma]), b"}\n"
