"""What was asked, and what was answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload

__all__ = ["Entry", "Journal"]

_SIGNATURE = re.compile(r"(sig=)[^&]+")


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


class Journal(Sequence[Entry]):
    """The requests that one cloud saw, in order."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Write an entry; for the cloud."""
        self._entries.append(entry)

    def clear(self) -> None:
        """Forget all entries, so that a test counts from here."""
        self._entries.clear()

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

    def __repr__(self) -> str:
        lines = (f"{entry.status or '---'} {entry.method} {entry.url}" for entry in self._entries)
        return "\n".join(lines) or "no requests"


def without_signature(url: str) -> str:
    """The URL as the journal shows it."""
    return _SIGNATURE.sub(r"\1REDACTED", url)
