"""What Python's ``requests`` raises where no answer comes."""

from __future__ import annotations

import errno
from typing import Any

from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.exceptions import ConnectTimeout, ReadTimeout, RequestException
from requests.models import PreparedRequest
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from phi_finetune.emulator.core.faults import (
    AnswerNeverCame,
    NoAnswerInTime,
    NobodyListens,
    NoConnectionInTime,
)
from phi_finetune.emulator.core.http import Request

__all__ = ["WaitsForEver", "failure", "limit_s", "part"]


class WaitsForEver(RequestsConnectionError):
    """A request met a silent service and has no timeout: it would wait for ever."""


def limit_s(lost: AnswerNeverCame | NobodyListens, timeout: Any) -> float | None:
    """How long a client waits in vain, in seconds; None where it waits for ever.

    Args:
        lost: What its request met.
        timeout: What ``requests`` was given: seconds, ``(connect, read)``, urllib3's ``Timeout``, or None.
    """
    if isinstance(lost, NoConnectionInTime):
        return part(timeout, 0, "connect_timeout")
    return part(timeout, 1, "read_timeout") if isinstance(lost, NoAnswerInTime) else 0.0


def failure(
    lost: AnswerNeverCame | NobodyListens, asked: Request, sent: PreparedRequest, limit: float | None
) -> RequestException:
    """What to raise for a request that got no answer after ``limit`` seconds."""
    if limit is None:
        where = f"{asked.method} to {asked.host}"
        return WaitsForEver(f"{where} has no timeout, and the service is silent.", request=sent)
    if isinstance(lost, NoAnswerInTime):
        pool = HTTPSConnectionPool(asked.host)
        message = f"Read timed out. (read timeout={limit:g})"
        return ReadTimeout(ReadTimeoutError(pool, asked.path, message), request=sent)
    if isinstance(lost, AnswerNeverCame):
        return RequestsConnectionError(_reset(), request=sent)
    if isinstance(lost, NoConnectionInTime):
        message = f"Connection to {asked.host} timed out. (connect timeout={limit:g})"
        return ConnectTimeout(_in_vain(asked, ConnectTimeoutError(message)), request=sent)
    return RequestsConnectionError(_in_vain(asked, _refused(asked)), request=sent)


def part(timeout: Any, place: int, name: str) -> float | None:
    """One of the two limits in a timeout of ``requests``: 0 is the one for connecting, 1 the one for reading."""
    seconds = timeout[place] if isinstance(timeout, tuple) else getattr(timeout, name, timeout)
    return float(seconds) if isinstance(seconds, int | float) else None


def _reset() -> ProtocolError:
    """What urllib3 gives where a connection is reset before the answer (urllib3 2)."""
    return ProtocolError(
        "Connection aborted.", ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    )


def _refused(asked: Request) -> NewConnectionError:
    """What urllib3 gives where nobody listens; nothing is connected here."""
    message = f"Failed to establish a new connection: [Errno {errno.ECONNREFUSED}] Connection refused"
    return NewConnectionError(HTTPSConnection(asked.host), message)


def _in_vain(asked: Request, reason: Exception) -> MaxRetryError:
    return MaxRetryError(HTTPSConnectionPool(asked.host), asked.path, reason)
