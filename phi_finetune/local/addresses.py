"""Where a deployment's server can be reached without this library: with curl, or a client of OpenAI's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    ScoringFailed,
)
from phi_finetune.local.door import Servers, folder_of, servers_of
from phi_finetune.local.servers import NoServer, NotYet

if TYPE_CHECKING:
    from phi_finetune.endpoints import Endpoint
    from phi_finetune.local.folder import Folder

__all__ = ["Address", "address"]


@attrs.frozen
class Address:
    """Where a deployment's server is reached from this machine; its key is not shown by repr.

    It is good until the server ends: at its next start it listens on another port, with the same key.

    Attributes:
        url: The server, such as ``"http://127.0.0.1:53127"``.
        key: What each request must carry, as ``Authorization: Bearer KEY``.
    """

    url: str
    key: str = attrs.field(repr=False)

    @property
    def score_url(self) -> str:
        """Where requests of Azure's form go: the whole URL."""
        return f"{self.url}/score"

    @property
    def openai_url(self) -> str:
        """What clients of OpenAI's take as ``base_url``; ``/chat/completions`` is below it."""
        return f"{self.url}/v1"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("keys are not pickled; ask again: pf.local.address(endpoint)")


def address(
    endpoint: Endpoint, deployment: str | None = None, *, timeout: timedelta = timedelta(minutes=15)
) -> Address:
    """Where the server of a deployment is reached, and with which key. It is up by then.

    A server that had ended for want of requests is started again; requests that reach it directly keep it from ending.

    Args:
        endpoint: An endpoint of a local workspace.
        deployment: The deployment; None takes the one that has all of the traffic.
        timeout: How long its server may take to come up.

    Raises:
        ConfigurationError: The workspace is one of Azure's, or one whose answers are made up.
        InvalidParameter: No deployment is named, and none has all of the traffic.
        NotFound: There is no such endpoint or deployment.
        ScoringFailed: The deployment failed, its server does not come up, or its lease has run out.
        DeadlineExceeded: The server is still coming up.
    """
    folder, servers = _local(endpoint)
    traffic = {one.name: one.traffic for one in endpoint.deployments()}
    chosen = _with_all_traffic(endpoint, traffic) if deployment is None else deployment
    if chosen not in traffic:
        raise NotFound(
            "There is no such deployment",
            resource=f"deployment {chosen} of {endpoint.resource}",
            why=_there_are(traffic),
        )
    folder.look_after()
    server = folder.server_of(endpoint.name, chosen)
    if server is None:
        raise _unavailable(endpoint, chosen, "it failed, or is being deleted")
    return _reach(endpoint, chosen, servers, server, timeout)


def _local(endpoint: Endpoint) -> tuple[Folder, Servers]:
    """The folder of an endpoint, and what reaches its servers."""
    session = endpoint._handle().session
    folder, servers = folder_of(session), servers_of(session)
    if folder is None or servers is None:
        raise ConfigurationError(
            "Only a deployment of a local workspace has a server on this machine",
            resource=endpoint.resource,
            why="the workspace is one of Azure's" if folder is None else "its answers are made up",
            next_call="endpoint.scoring_uri and endpoint.keys()" if folder is None else "endpoint.chat(...)",
        )
    return folder, servers


def _with_all_traffic(endpoint: Endpoint, traffic: dict[str, int]) -> str:
    found = [name for name, share in traffic.items() if share == 100]
    if found:
        return found[0]
    raise InvalidParameter(
        "No deployment has all of the traffic, so one has to be named",
        resource=endpoint.resource,
        why=_there_are(traffic),
        name="deployment",
        allowed=", ".join(traffic) or None,
        next_call="pf.local.address(endpoint, deployment)",
    )


def _there_are(traffic: dict[str, int]) -> str:
    shares = ", ".join(f"{name} with {share} %" for name, share in traffic.items())
    return f"there are {shares} of the traffic" if shares else "there are none"


def _reach(endpoint: Endpoint, deployment: str, servers: Servers, server: str, timeout: timedelta) -> Address:
    limit_s = timeout.total_seconds()
    try:
        return Address(*servers.reach(server, limit_s))
    except NotYet as none:
        raise DeadlineExceeded(
            str(none),
            resource=f"deployment {deployment} of {endpoint.resource}",
            limit_s=limit_s,
            next_call=f"pf.local.address(endpoint, {deployment!r}, timeout=...), or endpoint.logs({deployment!r})",
        ) from none
    except NoServer as none:
        raise _unavailable(endpoint, deployment, str(none)) from none


def _unavailable(endpoint: Endpoint, deployment: str, why: str) -> ScoringFailed:
    return ScoringFailed(
        "The deployment has no server that answers",
        resource=f"deployment {deployment} of {endpoint.resource}",
        why=why,
        next_call=f"endpoint.logs({deployment!r}), or deploy again",
    )
