"""What a split comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import attrs

__all__ = ["KEPT_BYTES", "Measuring", "SplitInfo"]


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


class Measuring:
    """Lines on their way to somewhere else, counted and hashed as they pass.

    Attributes:
        rows: How many have passed.
        size_bytes: How much they come to.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.rows = 0
        self.size_bytes = 0
        self._blocks = blocks
        self._digest = hashlib.sha256()
        self._kept: list[bytes] = []

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.rows += block.count(b"\n")
            self.size_bytes += len(block)
            self._digest.update(block)
            if self.size_bytes <= KEPT_BYTES:
                self._kept.append(block)
            else:
                self._kept.clear()
            yield block

    @property
    def info(self) -> SplitInfo:
        """What has passed."""
        return SplitInfo(self.rows, self.size_bytes, self._digest.hexdigest())

    @property
    def content(self) -> bytes | None:
        """All that has passed, if that is :data:`KEPT_BYTES` at most."""
        return b"".join(self._kept) if self.size_bytes <= KEPT_BYTES else None
