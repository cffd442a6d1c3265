"""Values whose repr shows nothing of them, so that no traceback with the variables of each function does."""

from __future__ import annotations

from typing import Any

__all__ = ["SignedUrl", "Unshown", "UnshownBytes"]


class Unshown(dict[str, Any]):
    """A dictionary that shows its keys only."""

    def __repr__(self) -> str:
        return f"<not shown: {', '.join(self)}>"


class UnshownBytes(bytes):
    """Bytes that show their number only."""

    def __repr__(self) -> str:
        return f"<not shown: {len(self)} bytes>"


class SignedUrl(str):
    """A URL that shows everything but its query, which may carry a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self.partition("?")[0])
