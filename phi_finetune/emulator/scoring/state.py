"""Which deployment answers a request, and what the endpoint makes of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.identity.state import ML_AUDIENCE
from phi_finetune.emulator.online_endpoints.deployment import Deployment
from phi_finetune.emulator.online_endpoints.endpoint import Endpoint
from phi_finetune.emulator.runners.runner import Reply

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["admit", "answer", "choose"]


def admit(cloud: Cloud, request: Request) -> Endpoint:
    """The endpoint that a request is for, if its caller may use it.

    Raises:
        ServiceError: 404 where no endpoint answers on this host; 401 where the key or token is not good for
            it.
    """
    endpoint = cloud.endpoints.on_host(request.host)
    if endpoint is None:
        raise ServiceError(404, "not_found", "There is no endpoint on this host.")
    if endpoint.spec.auth_mode == "AADToken":
        # Only this audience (Azure's page on authenticating to online endpoints).
        cloud.identity.check(request, (ML_AUDIENCE,))
    else:
        cloud.endpoints.keys.admit(endpoint, request.bearer)
    return endpoint


def choose(endpoint: Endpoint, pinned: str | None) -> Deployment:
    """The deployment that answers: the pinned one, also without traffic; else the one whose turn it is.

    Raises:
        ServiceError: 404 where there is none (Azure's page on troubleshooting online endpoints).
    """
    deployment = endpoint.deployment(pinned) if pinned else endpoint.turn()
    if deployment is None or not deployment.ready or deployment.gone:
        raise ServiceError(
            404,
            "not_found",
            "No valid deployment to route to. Please check that the endpoint has at least one deployment "
            "with positive weight values or use a deployment specific header to route.",
        )
    return deployment


def answer(cloud: Cloud, deployment: Deployment, path: str, body: Any) -> Reply:
    """What the deployment's container answers, after the time that it takes.

    Raises:
        ServiceError: 408 where it takes longer than the deployment's request timeout; the container, which
            knows nothing of that, still logs success (pain.md, Q4).
    """
    reply = cloud.runner.reply(deployment.files, body)
    timeout = deployment.spec.request_timeout
    cloud.clock.take(min(reply.lasts, timeout))
    took_ms = reply.lasts.total_seconds() * 1000
    deployment.write(f'{reply.log}\n"POST {path} HTTP/1.1" {reply.status} {took_ms:.0f} ms'.lstrip())
    if reply.lasts > timeout:
        raise ServiceError(408, "RequestTimeout", "The container took longer than the request timeout.")
    return reply
