"""What a split comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import attrs

__all__ = ["SplitInfo", "measure"]


@attrs.frozen
class SplitInfo:
    """What one split comes to, as canonical lines.

    Attributes:
        rows: How many conversations.
        size_bytes: The lines together, in bytes.
        sha256: Their SHA-256, in hexadecimal.
    """

    rows: int
    size_bytes: int
    sha256: str


def measure(lines: Iterable[bytes]) -> SplitInfo:
    """Count and hash lines in one pass."""
    rows = size_bytes = 0
    digest = hashlib.sha256()
    for line in lines:
        rows += 1
        size_bytes += len(line)
        digest.update(line)
    return SplitInfo(rows=rows, size_bytes=size_bytes, sha256=digest.hexdigest())
