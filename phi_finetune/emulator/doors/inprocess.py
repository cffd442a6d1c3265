"""The door in this process: requests that Python's ``requests`` would send to Azure go to a cloud instead.

Every client of Azure's that uses ``requests`` (azure-core's default transport, the blob client, MLflow)
passes through ``HTTPAdapter.send`` (wire.md 1), so one patch there is enough. It is there while at least
one cloud is entered. A request belongs to the cloud whose token, SAS, key or host name it carries, never to
a thread. Requests to other hosts go on to the original function.

Name resolution is guarded too, so that no other client (urllib, httpx, aiohttp) reaches Azure by mistake. A
client that uses neither ``requests`` nor name resolution of Python's ``socket`` is out of this door's sight.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import responses as reasons
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.models import PreparedRequest
from requests.models import Response as RequestsResponse
from urllib3 import HTTPHeaderDict, HTTPResponse

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import AnswerNeverCame, NobodyListens
from phi_finetune.emulator.core.hosts import AZURE_DOMAINS, INSTANCE_METADATA, LOGIN, is_azure
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.doors.environment import environment
from phi_finetune.emulator.doors.failures import failure, limit_s
from phi_finetune.emulator.doors.shared import SharedContext

__all__ = ["AzureAddressRefused", "AzureRequestRefused", "InProcessDoor"]


class AzureRequestRefused(RequestsConnectionError):
    """A request to one of Azure's hosts that no open cloud owns; it was not sent."""


class AzureAddressRefused(socket.gaierror):
    """The address of one of Azure's hosts was asked for while a cloud is open; it was not looked up."""


class InProcessDoor:
    """A context in which this process's requests for a cloud reach it.

    Several doors may be open at once and may close in any order.

    Args:
        cloud: Where the requests go.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def __enter__(self) -> Cloud:
        _INTERCEPTION.__enter__()
        _OPEN.append(self._cloud)
        return self._cloud

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _OPEN.remove(self._cloud)
        _INTERCEPTION.__exit__(kind, error, trace)


def _intercept(original: Callable[..., RequestsResponse]) -> Callable[..., RequestsResponse]:
    def send(adapter: HTTPAdapter, request: PreparedRequest, *args: Any, **options: Any) -> RequestsResponse:
        clouds = tuple(_OPEN)
        # A patch of somebody else's may have kept this function and put it back after the last cloud closed.
        if not clouds or not is_azure(urlsplit(request.url or "").hostname or ""):
            return original(adapter, request, *args, **options)
        asked = _asked(request)
        cloud = _owner(clouds, asked)
        try:
            answer = cloud.handle(asked)
        except (AnswerNeverCame, NobodyListens) as lost:
            limit = limit_s(lost, _timeout(*args, **options))
            cloud.clock.sleep(limit or 0)
            raise failure(lost, asked, request, limit) from lost
        return adapter.build_response(request, _raw(asked.method, answer))

    return send


def _guard(original: Callable[..., Any]) -> Callable[..., Any]:
    def look_up(host: str | bytes | None, *args: Any, **options: Any) -> Any:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
        if _OPEN and is_azure(name):
            raise AzureAddressRefused(
                socket.EAI_FAIL,
                f"{name} is one of Azure's hosts, and a client that does not use Python's requests asked for "
                f"its address. {_open_clouds(tuple(_OPEN))} They answer clients that use requests only.",
            )
        return original(host, *args, **options)

    return look_up


_LOOK_UPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex")


@contextmanager
def _interception() -> Iterator[None]:
    send = HTTPAdapter.send
    look_ups = [(name, getattr(socket, name)) for name in _LOOK_UPS]
    places: list[tuple[object, str, Any, Any]] = [
        (HTTPAdapter, "send", send, _intercept(send)),
        *((socket, name, original, _guard(original)) for name, original in look_ups),
    ]
    for owner, name, _, ours in places:
        setattr(owner, name, ours)
    try:
        with environment(_past_proxies()):
            yield
    finally:
        for owner, name, original, ours in places:
            # Where somebody patched over ours since, theirs stays; ours passes everything on.
            if getattr(owner, name) is ours:
                setattr(owner, name, original)


def _past_proxies() -> dict[str, str]:
    """What makes other clients go to Azure's hosts directly, into the guard, where a proxy is configured."""
    proxies = getproxies_environment()
    exempt = proxies.pop("no", "")
    if not proxies or exempt == "*":
        return {}
    hosts = ",".join([exempt, *(f".{domain}" for domain in AZURE_DOMAINS), INSTANCE_METADATA]).lstrip(",")
    return {"no_proxy": hosts, "NO_PROXY": hosts}


_INTERCEPTION = SharedContext(_interception)
_OPEN: list[Cloud] = []


def _owner(clouds: tuple[Cloud, ...], request: Request) -> Cloud:
    owners = [cloud for cloud in clouds if cloud.owns(request)]
    if owners:
        # Fakes may have endpoints of one name, and so of one host: then the key tells them apart.
        return next((cloud for cloud in owners if cloud.knows_key(request)), owners[0])
    # These two are asked with nothing that tells who asks; the first answers the same for every tenant.
    if (request.host, request.path) == (LOGIN, "/common/discovery/instance"):
        return clouds[0]
    if request.host == INSTANCE_METADATA and len(clouds) == 1:
        return clouds[0]
    raise AzureRequestRefused(
        f"{request.method} to {request.host} was not sent: it is one of Azure's hosts, and the request "
        f"carries no token, SAS, endpoint key or host name of an open fake. {_open_clouds(clouds)}"
    )


def _open_clouds(clouds: tuple[Cloud, ...]) -> str:
    names = (
        f"workspace {cloud.workspace.name!r} in subscription {cloud.subscription_id}" for cloud in clouds
    )
    return f"Open fakes: {'; '.join(names)}."


def _timeout(stream: bool = False, timeout: Any = None, *_: Any, **__: Any) -> Any:
    """The timeout among the arguments of ``HTTPAdapter.send``, which may come by place or by name."""
    return timeout


def _asked(request: PreparedRequest) -> Request:
    headers = {name.lower(): _text(value) for name, value in request.headers.items()}
    return Request((request.method or "GET").upper(), request.url or "", headers, _content(request.body))


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


def _raw(method: str, answer: Response) -> HTTPResponse:
    # wire.md 10: an answer to HEAD has no body and the Content-Length of the body that GET would have.
    body = b"" if method == "HEAD" else answer.body
    headers = HTTPHeaderDict(answer.headers)
    headers.setdefault("Content-Length", str(len(answer.body)))
    return HTTPResponse(
        body=io.BytesIO(body),
        headers=headers,
        status=answer.status,
        version=11,
        reason=reasons.get(answer.status),
        preload_content=False,
        decode_content=False,
        request_method=method,
    )
