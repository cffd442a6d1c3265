"""What serverless endpoints answer on their hosts (reference of the Azure AI Model Inference API)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.runners.runner import Reply
from phi_finetune.emulator.serverless_endpoints.endpoint import ServerlessEndpoint

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["admit", "answer"]


def admit(cloud: Cloud, request: Request) -> ServerlessEndpoint:
    """The endpoint that a request is for, if its caller may use it and it is online.

    Raises:
        ServiceError: 404 where no endpoint answers on this host; 400 or 401 where the key or token is not
            good for it; 403 where it lacks its marketplace subscription. Of the last two, status and wording
            are assumed.
    """
    endpoint = cloud.serverless_endpoints.on_host(request.host)
    if endpoint is None or endpoint.endpoint_state not in ("Online", "Suspended"):
        raise ServiceError(404, "not_found", "There is no endpoint on this host.")
    cloud.serverless_endpoints.keys.admit(endpoint, request)
    if endpoint.endpoint_state == "Suspended":
        message = f"Serverless endpoint {endpoint.name} is suspended: there is no subscription to its model."
        raise ServiceError(403, "Forbidden", message)
    return endpoint


def answer(cloud: Cloud, endpoint: ServerlessEndpoint, body: Any) -> Reply:
    """What the endpoint's model answers, after the time that it takes.

    Raises:
        ServiceError: 400 for a body that is no chat request.
    """
    if not isinstance(body, dict) or "messages" not in body:
        raise ServiceError(400, "BadRequest", "The request must be a JSON object with messages.")
    # Only one model is there, whatever the request calls it.
    reply = cloud.runner.reply(endpoint.model.files, {**body, "model": endpoint.model.name})
    cloud.clock.take(reply.lasts)
    return reply
