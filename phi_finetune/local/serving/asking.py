"""A request on its way: between the loop that serves callers and the thread that answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, TypeAlias

from phi_finetune.local.serving.requests import Asked
from phi_finetune.local.serving.worker import Ask, Event

__all__ = ["Asking", "TimedOut", "WentAway"]

_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


class TimedOut(Exception):
    """The answer took too long."""


class WentAway(Exception):
    """The caller hung up."""


class Asking:
    """A request on its way.

    Args:
        loop: The loop of its caller.
        until: When its time is up, by ``time.monotonic()``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, until: float) -> None:
        self._loop = loop
        self._until = until
        self._told: asyncio.Queue[Event] = asyncio.Queue()
        self._ask: Ask | None = None
        self._gone: asyncio.Task[None] | None = None

    def begin(self, asked: Asked) -> Ask:
        """What to give to the thread that answers."""
        self._ask = Ask(asked.conversations, asked.sampling, asked.stream, self._tell)
        return self._ask

    def watch(self, receive: _Receive) -> None:
        """Notice when the caller hangs up.

        Args:
            receive: Gives the caller's next message; its request was read.
        """
        self._gone = asyncio.create_task(_hangs_up(receive))

    def tell(self, event: Event) -> None:
        """Tell it something, in its own loop."""
        self._told.put_nowait(event)

    async def next(self) -> Event:
        """What it is told next.

        Raises:
            TimedOut: Its time is up.
            WentAway: Its caller hung up.
        """
        assert self._gone is not None
        if self._gone.done():
            raise WentAway
        return await self._wait(self._gone) if self._told.empty() else self._told.get_nowait()

    async def _wait(self, gone: asyncio.Task[None]) -> Event:
        coming = asyncio.create_task(self._told.get())
        left_s = max(0.0, self._until - time.monotonic())
        await asyncio.wait({coming, gone}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if coming.done():
            return coming.result()
        coming.cancel()
        raise WentAway if gone.done() else TimedOut

    def end(self) -> None:
        """Wait for nothing more."""
        if self._ask is not None:
            self._ask.given_up = True
        if self._gone is not None:
            self._gone.cancel()

    def _tell(self, event: Event) -> None:
        with suppress(RuntimeError):  # The loop is closed: the server has ended.
            self._loop.call_soon_threadsafe(self._told.put_nowait, event)


async def _hangs_up(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
