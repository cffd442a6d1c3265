"""Parse and answer the calls to scoring hosts."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.http import Forwarded, Request, Response, json_answer
from phi_finetune.emulator.scoring import state

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["score"]

_DEPLOYMENT = "azureml-model-deployment"


def score(cloud: Cloud, request: Request) -> Response:
    """Answer with a deployment's model: 200, or 424 with its own status in the headers (pain.md, Q5)."""
    endpoint = state.admit(cloud, request)
    deployment = state.choose(endpoint, request.headers.get(_DEPLOYMENT))
    headers = {_DEPLOYMENT: deployment.name}
    if deployment.server_id is not None:
        return Forwarded(200, headers, server=deployment.server_id)
    reply = state.answer(cloud, deployment, request.path, _content(request))
    if reply.status == HTTPStatus.OK:
        return json_answer(200, reply.body, headers)
    headers["ms-azureml-model-error-statuscode"] = str(reply.status)
    headers["ms-azureml-model-error-reason"] = HTTPStatus(reply.status).phrase
    return json_answer(424, reply.body, headers)


def _content(request: Request) -> Any:
    """The body, or its text where it is no JSON: what to make of that is the container's to say."""
    try:
        return json.loads(request.body)
    except ValueError:
        return request.body.decode(errors="replace")
