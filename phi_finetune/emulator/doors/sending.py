"""The one place where Python's ``requests`` is taken over, for all who look at its requests or answer them.

Every client of Azure's that uses ``requests`` (azure-core's default transport, the blob client, MLflow)
passes through ``HTTPAdapter.send`` (wire.md 1), so one patch there is enough. It is there while at least one
layer is. Layers lie over each other by their place, whoever came first: a watcher sees a request before any that
answers it. Requests to hosts that are not Azure's go to the original function.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property, partial
from http.client import responses as reasons
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from requests.models import Response as RequestsResponse
from urllib3 import HTTPHeaderDict, HTTPResponse

from phi_finetune.emulator.core.hosts import is_azure
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.doors.bodies import CutOff, Trickling
from phi_finetune.emulator.doors.failures import part
from phi_finetune.emulator.doors.shared import SharedContext

__all__ = ["Layer", "Onward", "Place", "Sending", "layered"]


@dataclass(frozen=True)
class Sending:
    """One call of ``HTTPAdapter.send`` for a host of Azure's.

    Attributes:
        adapter: The adapter that was to send.
        request: What it was to send.
        timeout: What ``requests`` was given: seconds, ``(connect, read)``, urllib3's ``Timeout``, or None.
    """

    adapter: HTTPAdapter
    request: PreparedRequest
    timeout: Any

    @cached_property
    def asked(self) -> Request:
        """The request as the emulator has it. A body that is a stream is read, and another put in its place."""
        request = self.request
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        content = _content(request.body)
        if request.body is not None and not isinstance(request.body, str | bytes):
            request.body = io.BytesIO(content)
        return Request((request.method or "GET").upper(), request.url or "", headers, content)

    def response(
        self, answer: Response, *, broken: bool = False, sleep: Callable[[float], None] = time.sleep
    ) -> RequestsResponse:
        """The answer as ``requests`` has it.

        Args:
            answer: The answer.
            broken: Whether the connection is lost after the body.
            sleep: Lets the pauses between the bytes of a slow body pass.
        """
        asked = self.asked.method
        # wire.md 10: an answer to HEAD has no body and the Content-Length of the body that GET would have.
        content = b"" if asked == "HEAD" else answer.body
        headers = HTTPHeaderDict(answer.headers)
        body = io.BytesIO(content)
        if broken:
            body = CutOff(content, ConnectionResetError("Connection reset by peer"))
        else:
            headers.setdefault("Content-Length", str(len(answer.body)))
        if answer.pause_s:
            body = Trickling(content, answer.pause_s, part(self.timeout, 1, "read_timeout"), sleep)
        raw = _raw(asked, answer.status, headers, body)
        return self.adapter.build_response(self.request, raw)


Onward = Callable[[], RequestsResponse]
Layer = Callable[[Sending, Onward], RequestsResponse]
"""Takes a request, and what goes on with it below; answers, or goes on."""


class Place(IntEnum):
    """Where a layer lies: the lower the number, the sooner it sees a request."""

    WATCHING = 0
    REPLAYING = 1
    CLOUDS = 2


@contextmanager
def layered(place: Place, layer: Layer) -> Iterator[None]:
    """A context in which requests to Azure's hosts pass through this layer."""
    entry = (place, layer)
    with _TAKEN_OVER:
        _LAYERS.append(entry)
        try:
            yield
        finally:
            _LAYERS.remove(entry)


_LAYERS: list[tuple[Place, Layer]] = []


@contextmanager
def _taken_over() -> Iterator[None]:
    original, taken = HTTPAdapter.send, [True]

    def send(adapter: HTTPAdapter, request: PreparedRequest, *args: Any, **options: Any) -> RequestsResponse:
        onward: Onward = partial(original, adapter, request, *args, **options)
        # A patch of somebody else's may have kept this function and put it back after the last layer was gone.
        if not taken or not is_azure(urlsplit(request.url or "").hostname or ""):
            return onward()
        sending = Sending(adapter, request, _timeout(*args, **options))
        for _, layer in sorted(_LAYERS, key=lambda entry: entry[0], reverse=True):
            onward = partial(layer, sending, onward)
        return onward()

    HTTPAdapter.send = send  # type: ignore[method-assign,assignment] # this is the patch
    try:
        yield
    finally:
        taken.clear()
        # Where somebody patched over ours since, theirs stays; ours passes everything on.
        if HTTPAdapter.send is send:
            HTTPAdapter.send = original  # type: ignore[method-assign]


_TAKEN_OVER = SharedContext(_taken_over)


def _timeout(stream: bool = False, timeout: Any = None, *_: Any, **__: Any) -> Any:
    """The timeout among the arguments of ``HTTPAdapter.send``, which may come by place or by name."""
    return timeout


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _content(body: Any) -> bytes:
    """The whole body, of every kind that requests can send."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    if hasattr(body, "read"):
        return _content(body.read())
    return b"".join(_content(chunk) for chunk in body)


def _raw(method: str, status: int, headers: HTTPHeaderDict, body: io.BytesIO) -> HTTPResponse:
    return HTTPResponse(
        body=body,
        headers=headers,
        status=status,
        version=11,
        reason=reasons.get(status),
        preload_content=False,
        decode_content=False,
        request_method=method,
    )
