"""An iterator whose next items are fetched while the caller is at work on one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")

_AHEAD: Final = 2


def read_ahead(items: Iterator[T]) -> Iterator[T]:
    """Give an iterator's items, while a thread fetches the next two; it begins once the first item was used.

    It pays where fetching is done outside Python, as parquet is decoded. The thread ends with the iterator, and when
    this is closed or dropped.

    Raises:
        Exception: Whatever fetching an item raises, at its place.
    """
    yield from _next(items)
    with ThreadPoolExecutor(1, "phi-finetune-read-ahead") as pool:
        fetched: deque[Future[list[T]]] = deque()
        for _ in range(_AHEAD):
            fetched.append(pool.submit(_next, items))
        while found := fetched.popleft().result():
            fetched.append(pool.submit(_next, items))
            yield found[0]


def _next(items: Iterator[T]) -> list[T]:
    """The next item, alone in a list; an empty list at the end."""
    for item in items:
        return [item]
    return []
