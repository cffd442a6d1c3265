"""Tags of a catalogue model, which hold lists and dictionaries as text: Python literals, or JSON.

The text comes from outside, so the parser is bounded in size, depth and number of tokens, and evaluates
nothing.
"""

from __future__ import annotations

import math
import re
from typing import Final, TypeAlias

__all__ = ["MAX_CHARACTERS", "MAX_DEPTH", "MAX_TOKENS", "TagValue", "parse_literal", "parse_names"]

TagValue: TypeAlias = "bool | int | float | str | list[TagValue] | dict[str, TagValue] | None"
"""What a tag may hold."""

MAX_CHARACTERS: Final = 64 * 1024
"""The longest text that is parsed, in characters."""

MAX_DEPTH: Final = 20
"""How many lists and dictionaries may stand inside each other."""

MAX_TOKENS: Final = 5_000
"""How many brackets, commas, colons and values a text may hold; the largest real tag has about a hundred."""

_TOKEN: Final = re.compile(
    r"""[ \t\r\n]*(?:
        (?P<mark>[\[\]{},:])
      | (?P<text>"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+')
      | (?P<number>-?(?:0|[1-9][0-9]*+)(?P<real>(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?))
      | (?P<word>[A-Za-z]++)
      | (?P<end>\Z)
    )""",
    re.VERBOSE,
)
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_ESCAPED: Final = {**{mark: mark for mark in "\\'\"/"}, **dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))}
_WORDS: Final[dict[str, TagValue]] = {
    "True": True,
    "False": False,
    "None": None,
    "true": True,
    "false": False,
    "null": None,
}


def parse_literal(text: str) -> TagValue:
    """The value that a tag's text stands for.

    Args:
        text: A Python literal or JSON: lists, dictionaries with texts as keys, texts, finite numbers,
            ``True``, ``False``, ``None``, ``true``, ``false``, ``null``, and commas before a closing bracket.

    Raises:
        ValueError: The text is anything else, or exceeds a bound of this module. The message does not quote
            it.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a tag of {len(text)} characters exceeds the limit of {MAX_CHARACTERS}")
    parser = _Parser(text)
    value = parser.value(depth=0)
    parser.expect_end()
    return value


def parse_names(text: str) -> tuple[str, ...]:
    """The names in a tag's text: ``"a, b, c"``, or a list of texts in a form that :func:`parse_literal`
    takes.

    Args:
        text: The tag's text; empty for no names.

    Raises:
        ValueError: The text is too long, or is a list that holds something other than texts.
    """
    if not text.lstrip().startswith("["):
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"a tag of {len(text)} characters exceeds the limit of {MAX_CHARACTERS}")
        return tuple(name for part in text.split(",") if (name := part.strip()))
    names = parse_literal(text)
    if isinstance(names, list):
        texts = tuple(name for name in names if isinstance(name, str))
        if len(texts) == len(names):
            return texts
    raise ValueError("a list of names holds something other than texts")


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = 0
        self._kind = ""
        self._token = ""
        self._real = False
        self._position = 0
        self._advance()

    def value(self, depth: int) -> TagValue:
        kind, token, real = self._kind, self._token, self._real
        self._advance()
        if token == "[" and kind == "mark":
            return self._list(depth + 1)
        if token == "{" and kind == "mark":
            return self._dictionary(depth + 1)
        if kind == "text":
            return _unescape(token[1:-1])
        if kind == "number":
            return _finite(token) if real else int(token)
        if kind == "word" and token in _WORDS:
            return _WORDS[token]
        raise self._unexpected()

    def expect_end(self) -> None:
        if self._kind != "end":
            raise self._unexpected()

    def _list(self, depth: int) -> list[TagValue]:
        self._check_depth(depth)
        values: list[TagValue] = []
        while not self._take("]"):
            values.append(self.value(depth))
            self._expect_separator("]")
        return values

    def _dictionary(self, depth: int) -> dict[str, TagValue]:
        self._check_depth(depth)
        values: dict[str, TagValue] = {}
        while not self._take("}"):
            key = self.value(depth)
            if not isinstance(key, str) or not self._take(":"):
                raise self._unexpected()
            values[key] = self.value(depth)
            self._expect_separator("}")
        return values

    def _expect_separator(self, closing: str) -> None:
        if not self._take(",") and not (self._kind == "mark" and self._token == closing):
            raise self._unexpected()

    def _take(self, mark: str) -> bool:
        if self._kind != "mark" or self._token != mark:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._position)
        self._tokens += 1
        if match is None or match.lastgroup is None:
            raise self._unexpected()
        if self._tokens > MAX_TOKENS:
            raise ValueError(f"a tag holds more than {MAX_TOKENS} brackets, commas and values")
        self._kind = match.lastgroup
        self._token = match[self._kind]
        self._real = bool(match["real"])
        self._position = match.end()

    def _check_depth(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"a tag nests more than {MAX_DEPTH} lists and dictionaries")

    def _unexpected(self) -> ValueError:
        return ValueError(f"neither a Python literal nor JSON, at character {self._position}")


def _finite(token: str) -> float:
    number = float(token)
    if not math.isfinite(number):
        raise ValueError("a number in a tag is too large")
    return number


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(_replacement, text)
    # JSON writes a character outside the basic plane as two surrogates; this joins them, and refuses half a
    # pair.
    try:
        return plain.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("half a surrogate pair in a tag") from None


def _replacement(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is not None:
        return chr(int(code, 16))
    if match[4] not in _ESCAPED:
        raise ValueError("an escape in a tag that neither Python nor JSON has")
    return _ESCAPED[match[4]]
