"""Names that a client makes up anew each time, and which stand for each other in a replay."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

__all__ = ["Renamed", "made_up"]

_AZURE_AI_ML = re.compile(r"[a-z]+_[a-z]+_[a-z0-9]{10}")
"""How azure-ai-ml 1.35.2 names a job that got no name."""

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MADE_UP = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)[A-Za-z0-9]{4,39}(?![A-Za-z0-9])")
"""A time, a number drawn at random, part of a digest: letters and digits, too long for a version. A digest of a
file's content is longer."""


def made_up(name: str) -> str | None:
    """A name without what was made up in it; None where nothing was."""
    if _AZURE_AI_ML.fullmatch(name) or _GUID.fullmatch(name):
        return "*"
    form = _MADE_UP.sub("*", name)
    return form if form != name else None


class Renamed:
    """Which name of the replay stands for which of the recording."""

    def __init__(self) -> None:
        self._recorded: dict[str, str] = {}

    def to_recorded(self, text: str) -> str:
        """The text with the recording's names."""
        return _replaced(text, self._recorded)

    def to_asked(self, text: str) -> str:
        """The text with the replay's names."""
        return _replaced(text, {recorded: asked for asked, recorded in self._recorded.items()})

    def match(self, asked: str, recorded: str) -> bool:
        """Whether two URLs are one but for names that are made up; such names then stand for each other."""
        pairs = _pairs(asked, recorded)
        if pairs is None:
            return False
        taken = self._recorded.values()
        for ours, theirs in pairs:
            if ours in self._recorded or theirs in taken or made_up(ours) is None:
                return False
            if made_up(ours) != made_up(theirs):
                return False
        self._recorded.update(pairs)
        return True


def _pairs(asked: str, recorded: str) -> list[tuple[str, str]] | None:
    """The segments in which two URLs differ; None where they differ in more than that."""
    ours, theirs = urlsplit(asked), urlsplit(recorded)
    segments, others = ours.path.split("/"), theirs.path.split("/")
    if (ours.netloc, ours.query) != (theirs.netloc, theirs.query) or len(segments) != len(others):
        return None
    return [(one, other) for one, other in zip(segments, others, strict=True) if one != other]


def _replaced(text: str, names: dict[str, str]) -> str:
    if not names:
        return text
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(map(re.escape, longest_first))
    return re.sub(
        rf"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-F]{{2}}))(?:{pattern})(?![A-Za-z0-9])",
        lambda found: names[found[0]],
        text,
    )
