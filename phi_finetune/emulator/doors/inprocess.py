"""The door in this process: requests that Python's ``requests`` would send to Azure go to a cloud instead.

A request belongs to the cloud whose token, SAS, key or host name it carries, never to a thread. Requests to
other hosts go on to the original function.

Name resolution is guarded too, so that no other client (urllib, httpx, aiohttp) reaches Azure by mistake. A
client that uses neither ``requests`` nor name resolution of Python's ``socket`` is out of this door's sight.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from requests.exceptions import ConnectionError as RequestsConnectionError
from requests.models import Response as RequestsResponse

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import AnswerNeverCame, NobodyListens
from phi_finetune.emulator.core.hosts import INSTANCE_METADATA, LOGIN
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.doors.failures import failure, limit_s
from phi_finetune.emulator.doors.sending import Onward, Place, Sending, layered
from phi_finetune.emulator.doors.shared import SharedContext
from phi_finetune.emulator.doors.shut import AZURE_IS_SHUT, AzureAddressRefused

__all__ = ["AzureAddressRefused", "AzureRequestRefused", "InProcessDoor", "owned"]


class AzureRequestRefused(RequestsConnectionError):
    """A request to one of Azure's hosts that no open cloud owns; it was not sent."""


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


def owned(request: Request) -> bool:
    """Whether an open cloud owns the request, by what it carries."""
    return any(cloud.owns(request) for cloud in tuple(_OPEN))


def _answer(sending: Sending, onward: Onward) -> RequestsResponse:
    clouds = tuple(_OPEN)
    if not clouds:
        return onward()
    asked = sending.asked
    cloud = _owner(clouds, asked)
    try:
        answer = cloud.handle(asked)
    except (AnswerNeverCame, NobodyListens) as lost:
        limit = limit_s(lost, sending.timeout)
        cloud.clock.sleep(limit or 0)
        raise failure(lost, asked, sending.request, limit) from lost
    return sending.response(answer, sleep=cloud.clock.sleep)


@contextmanager
def _interception() -> Iterator[None]:
    with AZURE_IS_SHUT, layered(Place.CLOUDS, _answer):
        yield


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
