"""What a split comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import attrs

__all__ = ["KEPT_BYTES", "SplitInfo", "measure"]


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


KEPT_BYTES = 4 * 1024 * 1024
"""Lines that come to no more than this are kept, so that a small split is parsed once and not at each use."""


def measure(lines: Iterable[bytes]) -> tuple[SplitInfo, bytes | None]:
    """Count and hash lines in one pass; give them too, joined, where they come to :data:`KEPT_BYTES` at most."""
    rows = size_bytes = 0
    digest = hashlib.sha256()
    kept: list[bytes] = []
    for line in lines:
        rows += 1
        size_bytes += len(line)
        digest.update(line)
        if size_bytes <= KEPT_BYTES:
            kept.append(line)
        else:
            kept.clear()
    info = SplitInfo(rows=rows, size_bytes=size_bytes, sha256=digest.hexdigest())
    return info, b"".join(kept) if size_bytes <= KEPT_BYTES else None
