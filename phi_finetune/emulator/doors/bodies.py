"""Bodies of answers that do not simply come: one that breaks off, and one that trickles."""

from __future__ import annotations

import io
from collections.abc import Callable

__all__ = ["CutOff", "Trickling"]


class CutOff(io.BytesIO):
    """A body after which comes an error and no end.

    Args:
        content: What comes of it.
        error: What is raised then.
    """

    def __init__(self, content: bytes, error: Exception) -> None:
        super().__init__(content)
        self._error = error

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, and the error when there are none left or all are wanted."""
        piece = super().read(size)
        if size is None or size < 0 or (size and not piece):
            raise self._error
        return piece

    def read1(self, size: int | None = -1, /) -> bytes:
        """What is there, up to so many bytes, and the error when there are none left."""
        piece = super().read(size)
        if size != 0 and not piece:
            raise self._error
        return piece


class Trickling(io.BytesIO):
    """A body that comes byte by byte.

    Args:
        content: The body.
        pause_s: How long each byte keeps its reader waiting, in seconds.
        limit_s: How long the reader waits for one; None is for ever.
        sleep: Lets such time pass.
    """

    def __init__(
        self, content: bytes, pause_s: float, limit_s: float | None, sleep: Callable[[float], None]
    ) -> None:
        super().__init__(content)
        self._pause_s = pause_s
        self._limit_s = limit_s
        self._sleep = sleep

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, each after its pause.

        Raises:
            TimeoutError: The pause is longer than the reader waits.
        """
        piece = super().read(size)
        for _ in piece:
            self._pause()
        return piece

    def read1(self, size: int | None = -1, /) -> bytes:
        """The next byte, after its pause.

        Raises:
            TimeoutError: The pause is longer than the reader waits.
        """
        return self.read(0 if size == 0 else 1)

    def _pause(self) -> None:
        if self._limit_s is not None and self._pause_s > self._limit_s:
            self._sleep(self._limit_s)
            raise TimeoutError("The read operation timed out")
        self._sleep(self._pause_s)
