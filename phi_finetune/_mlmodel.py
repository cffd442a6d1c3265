"""The file ``MLmodel``: the part of YAML that MLflow writes it in, read with bounds; anything else is not understood.

MLflow writes mappings and lists by indentation, with plain and quoted values (``yaml.safe_dump``). Aliases, tags,
braces and quoted keys are never in it, so that nothing can be named here in a way that this reader does not see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import attrs

__all__ = ["NotUnderstood", "Setting", "read_mlmodel"]

MOST_CHARACTERS = 1024 * 1024
_DEEPEST = 20
_KEY = re.compile(r"([A-Za-z0-9_](?:[A-Za-z0-9_./|()+ -]{0,200}[A-Za-z0-9_./|()+-])?) {0,3}:(?: +(.*))?")
_BLOCK = re.compile(r"[|>][0-9+-]{0,2}")
_SPECIAL = tuple("!&*{[|>%@`#?,]}\"'")
_QUOTES = {"'": re.compile("''|'"), '"': re.compile(r'\\.|"')}
"""What may end a value in quotes; what has two characters is a quote, or another character, within it."""
_OTHER_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ufeff\t]")


class NotUnderstood(ValueError):
    """It is not written as MLflow writes it."""


@attrs.frozen
class Setting:
    """A value in the file.

    Attributes:
        path: The keys that lead to it, from the outermost.
        value: Its text, with its quotes; the first line, where there are more.
    """

    path: tuple[str, ...]
    value: str


def read_mlmodel(text: str) -> list[Setting]:
    """Every value of the file that stands behind a key, in order.

    Raises:
        NotUnderstood: It is too long, or not written as MLflow writes it.
    """
    text = text.replace("\r\n", "\n")
    if len(text) > MOST_CHARACTERS or _OTHER_BREAKS.search(text):
        raise NotUnderstood("it is too long, or has characters that MLflow does not write")
    return list(_settings(text.split("\n")))


def _settings(lines: Sequence[str]) -> Iterator[Setting]:
    above: list[tuple[int, str]] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        indent, rest = _without_dashes(line)
        found = _KEY.fullmatch(rest)
        if not rest or rest.startswith("#"):
            number += 1
            continue
        if found is None:
            number = _after(lines, number, len(line) - len(line.lstrip()), rest, item=indent)
            continue
        above = [pair for pair in above if pair[0] < indent]
        above.append((indent, found[1]))
        if len(above) > _DEEPEST:
            raise NotUnderstood("it goes too deep")
        value = (found[2] or "").strip()
        if value:
            yield Setting(tuple(key for _, key in above), value)
            number = _after(lines, number, indent, value, item=None)
        else:
            number += 1


def _without_dashes(line: str) -> tuple[int, str]:
    """How far a line's content is indented, and the content, without the dashes of a list."""
    rest = line.lstrip(" ")
    while rest.startswith("- "):
        rest = rest[2:].lstrip(" ")
    rest = "" if rest == "-" else rest
    return len(line) - len(rest), rest.rstrip()


def _after(lines: Sequence[str], number: int, indent: int, value: str, *, item: int | None) -> int:
    """The line after a value, which goes on in the lines that are indented further, or to the end of its quotes.

    Args:
        lines: All lines.
        number: The line with the value.
        indent: How far that is indented.
        value: How it begins.
        item: For the value of a list, how far it is indented itself.
    """
    if item is not None and item == indent:
        raise NotUnderstood(f"line {number + 1} is neither a key nor an item of a list")
    if value[0] in _QUOTES:
        return _after_quotes(lines, number, value)
    if value.startswith(_SPECIAL) and value not in ("{}", "[]") and not _BLOCK.fullmatch(value):
        raise NotUnderstood(f"line {number + 1} has a value that MLflow does not write")
    number += 1
    while number < len(lines) and _goes_on(lines[number], indent):
        number += 1
    return number


def _goes_on(line: str, indent: int) -> bool:
    content = line.lstrip(" ")
    return not content or len(line) - len(content) > indent


def _after_quotes(lines: Sequence[str], number: int, value: str) -> int:
    """The line after a value in quotes."""
    quote, rest = value[0], value[1:]
    while True:
        end = next((m.end() for m in _QUOTES[quote].finditer(rest) if m[0] == quote), None)
        if end is not None and rest[end:].strip():
            raise NotUnderstood(f"line {number + 1} goes on after its quotes")
        number += 1
        if end is not None:
            return number
        if number == len(lines):
            raise NotUnderstood("its quotes do not end")
        rest = lines[number]
