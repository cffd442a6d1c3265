"""A change to the process that several users share: made for the first, undone after the last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

__all__ = ["SharedContext"]


class SharedContext:
    """A context that any number of users are in at once; it is entered for the first and left after the last.

    Users may leave in any order, from any thread.

    Args:
        make: Makes the context, anew for each time that it is entered.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._open: AbstractContextManager[None] | None = None
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._open is None:
                context = self._make()
                context.__enter__()
                self._open = context
            self._users += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._open is not None:
                context, self._open = self._open, None
                context.__exit__(None, None, None)
