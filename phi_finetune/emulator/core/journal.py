"""What was asked, and what was answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import groupby
from typing import overload
from urllib.parse import urlsplit

from phi_finetune.emulator.core.forms import fits

__all__ = ["Entry", "Journal"]

_SIGNATURE = re.compile(r"(sig=)[^&]+")
_WORKSPACE = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.machinelearningservices"
    r"/workspaces/[^/]+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Entry:
    """One request.

    Attributes:
        method: The HTTP method.
        url: The URL; a signature in it is left out.
        status: The status answered; None where the answer was lost on its way.
        when: The emulator's time.
        route: The route that answered, such as ``"GET management.azure.com/..."``; None for an unknown one.
        body: What was sent.
    """

    method: str
    url: str
    status: int | None
    when: datetime
    route: str | None = None
    body: bytes = field(default=b"", repr=False)

    @property
    def host(self) -> str:
        """The host, in lower case."""
        return urlsplit(self.url).hostname or ""

    @property
    def path(self) -> str:
        """The path as sent, without the query."""
        return urlsplit(self.url).path

    def __str__(self) -> str:
        # What is left out stands as *, so that the line can be copied into an expectation.
        return f"{self.method} {self.host}{_WORKSPACE.sub('/*', self.path)}"


class Journal(Sequence[Entry]):
    """The requests that one cloud saw, in order."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = list(entries)

    def add(self, entry: Entry) -> None:
        """Write an entry; for the cloud."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget all entries, so that a test counts from here."""
        self._entries.clear()

    def filter(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        host: str | None = None,
        status: int | None = None,
        route: str | None = None,
    ) -> Journal:
        """The entries that are as described, as a journal of their own.

        Args:
            method: The method; None is any, here and below.
            path: A pattern over the path, with ``*`` for anything (``"*/jobs/*"``). The case does not matter.
            host: A pattern over the host.
            status: The status answered.
            route: A pattern over the name of the route.
        """
        return Journal(
            entry
            for entry in self._entries
            if method in (None, entry.method)
            and status in (None, entry.status)
            and _like(entry.path, path)
            and _like(entry.host, host)
            and _like(entry.route or "", route)
        )

    def expect(self, *forms: str) -> None:
        """Assert that requests of these forms came, in this order; others may have come in between.

        Args:
            forms: ``"METHOD pattern"`` over host and path, as a fault's ``on``: ``"PUT */jobs/*"``.

        Raises:
            AssertionError: They did not. Its message sets what was expected against what came.
        """
        lines, missing, place = [], 0, 0
        for form in forms:
            found = self._next(form, place)
            if found is None:
                missing += 1
                lines.append(f"- {form}")
                continue
            lines += [f"+ {line}" for line in _lines(self._entries[place:found])]
            lines += [f"  {form}", f"    {_lines(self._entries[found : found + 1])[0]}"]
            place = found + 1
        if missing:
            lines += [f"+ {line}" for line in _lines(self._entries[place:])]
            head = f"{missing} of {len(forms)} expected requests did not come in this order"
            raise AssertionError("\n".join([f"{head} (- expected, + came besides):", *lines]))

    def _next(self, form: str, start: int) -> int | None:
        later = range(start, len(self._entries))
        entries = self._entries
        return next(
            (n for n in later if fits(form, entries[n].method, entries[n].host + entries[n].path)), None
        )

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Entry]: ...
    def __getitem__(self, index: int | slice) -> Entry | Sequence[Entry]:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __str__(self) -> str:
        return "\n".join(_lines(self._entries)) or "no requests"

    def __repr__(self) -> str:
        lines = (f"{entry.status or '---'} {entry.method} {entry.url}" for entry in self._entries)
        return "\n".join(lines) or "no requests"


def without_signature(url: str) -> str:
    """The URL as the journal shows it."""
    return _SIGNATURE.sub(r"\1REDACTED", url)


def _like(text: str, pattern: str | None) -> bool:
    return pattern is None or fnmatchcase(text.lower(), pattern.lower())


def _lines(entries: Iterable[Entry]) -> list[str]:
    """A line an entry; the same line in a row, as polls make it, stands once with how often it came."""
    counted = groupby(f"{entry.status or '---'} {entry}" for entry in entries)
    lines = ((line, sum(1 for _ in same)) for line, same in counted)
    return [line if count == 1 else f"{line}  ({count} times)" for line, count in lines]
