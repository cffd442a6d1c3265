"""Parse and answer the calls to the hosts of serverless endpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.scoring import serverless

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["chat", "info"]


def chat(cloud: Cloud, request: Request) -> Response:
    """Go on with a conversation, with the endpoint's model."""
    reply = serverless.answer(cloud, serverless.admit(cloud, request), _content(request))
    return json_answer(reply.status, reply.body)


def info(cloud: Cloud, request: Request) -> Response:
    """Which model answers here (reference of the Azure AI Model Inference API)."""
    model = serverless.admit(cloud, request).model
    return json_answer(
        200,
        {"model_name": model.name, "model_type": "chat-completion", "model_provider_name": model.provider},
    )


def _content(request: Request) -> Any:
    """The body; None where it is no JSON."""
    try:
        return json.loads(request.body)
    except ValueError:
        return None
