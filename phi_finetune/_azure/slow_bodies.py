"""Bodies that trickle: the read timeout of ``requests`` limits the pause between two bytes, and this limits all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from requests.exceptions import ReadTimeout
from urllib3.exceptions import ReadTimeoutError

from phi_finetune.protocols import Clock

if TYPE_CHECKING:
    from requests import Response
    from urllib3 import BaseHTTPResponse

__all__ = ["BODY_TIMEOUT_S", "whole_by"]

BODY_TIMEOUT_S = 600.0
"""The most that the body of an answer may take, in seconds; 8 MiB, the largest that is asked for, need 14 kB/s."""


def whole_by(until_s: float | None, clock: Clock) -> Callable[..., None]:
    """A hook of ``requests``, called with each answer before its body is read.

    A body of which something is still to come at that time raises ``requests.ReadTimeout`` where it is read. So does
    one that stops for longer than the read timeout: ``requests`` itself raises a ``ConnectionError`` there, which
    azure-core takes for a request that was never sent (azure-core 1.41).

    Args:
        until_s: A time on the clock; None sets no other limit than :data:`BODY_TIMEOUT_S`.
        clock: Measures it.
    """

    def limit(answer: Response, **_: Any) -> None:
        last_s = clock.monotonic() + BODY_TIMEOUT_S
        raw, end_s = answer.raw, last_s if until_s is None else min(last_s, until_s)
        raw.stream = lambda amt=None, decode_content=None: _pieces(raw, amt, decode_content, end_s, clock)

    return limit


def _pieces(
    raw: BaseHTTPResponse, size: int | None, decode: bool | None, end_s: float, clock: Clock
) -> Iterator[bytes]:
    try:
        # What read() takes for a piece may be hours in coming; read1() gives what is there.
        while piece := raw.read1(size, decode_content=decode):
            yield piece
            if raw.length_remaining != 0 and clock.monotonic() > end_s:
                raise ReadTimeout("the body came too slowly")
    except ReadTimeoutError as error:
        raise ReadTimeout(error) from error
    finally:
        if raw.length_remaining != 0:
            raw.close()
