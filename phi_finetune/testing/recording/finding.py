"""Finds any of many texts in one, without regard to case, in a time that does not grow with their number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, takewhile

__all__ = ["Finder", "lower"]

_LOWER = {ord(letter): letter.lower() for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def lower(text: str) -> str:
    """The text with its Latin letters in lower case; it stays as long as it is."""
    return text.translate(_LOWER)


class Finder:
    """Finds the longest of some texts at each place.

    Args:
        texts: What is looked for, in lower case.
        before: A pattern, without width, of what must stand before.
        after: The same of what must follow.
    """

    def __init__(self, texts: Iterable[str], before: str = "", after: str = "") -> None:
        known = sorted(set(texts))
        self._pattern = re.compile(f"{before}(?:{_tree(known)}){after}" if known else "(?!)")

    def is_in(self, text: str) -> bool:
        """Whether one of them is in the text."""
        return self._pattern.search(lower(text)) is not None

    def replaced(self, text: str, by: Callable[[str], str]) -> str:
        """The text with something else in the place of each; ``by`` gets what was found, in lower case."""
        return "".join(self._parts(text, by))

    def _parts(self, text: str, by: Callable[[str], str]) -> Iterator[str]:
        end = 0
        for found in self._pattern.finditer(lower(text)):
            yield text[end : found.start()]
            yield by(found[0])
            end = found.end()
        yield text[end:]


def _tree(texts: list[str]) -> str:
    """A pattern of texts in their order in which no character is tried for more than one of them."""
    branches: list[str] = []
    for _, group in groupby((text for text in texts if text), key=lambda text: text[0]):
        same = list(group)
        stem = _common(same[0], same[-1])
        ends = [text[len(stem) :] for text in same]
        branches.append(re.escape(stem) + (_tree(ends) if any(ends) else ""))
    pattern = f"(?:{'|'.join(branches)})"
    return f"{pattern}?" if "" in texts else pattern


def _common(first: str, last: str) -> str:
    """What two texts begin with, and so do all that stand between them in their order."""
    return "".join(
        one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    )
