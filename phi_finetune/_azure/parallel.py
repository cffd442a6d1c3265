"""A few requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["AT_ONCE", "in_parallel"]

AT_ONCE = 4

T = TypeVar("T")


def in_parallel(tasks: Iterable[Callable[[], T]], done: Callable[[T], None]) -> None:
    """Carry tasks out, :data:`AT_ONCE` at a time; the next is taken from the iterable once there is room for it.

    Args:
        tasks: What is to be done, each on a thread of its own.
        done: Takes each result, on the calling thread, in the order in which they come.

    Raises:
        Exception: The first that a task, the iterable or ``done`` raises, after the tasks in hand have ended. A
            Ctrl-C does not wait for them.
    """
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="phi-finetune")
    running: set[Future[T]] = set()
    try:
        for task in tasks:
            running.add(pool.submit(task))
            if len(running) == AT_ONCE:
                running = _collect(running, done)
        while running:
            running = _collect(running, done)
    except BaseException as error:
        pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
        raise
    pool.shutdown()


def _collect(running: set[Future[T]], done: Callable[[T], None]) -> set[Future[T]]:
    ended, rest = wait(running, return_when=FIRST_COMPLETED)
    for one in ended:
        done(one.result())
    return rest
