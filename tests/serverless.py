"""Serverless endpoints and marketplace subscriptions of an emulated cloud, asked for as a client would."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pipelines
from asking import Answer, ask

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request

__all__ = [
    "MISTRAL",
    "PHI",
    "PROMPT",
    "REPLY",
    "S",
    "keys",
    "made",
    "properties",
    "put_serverless",
    "score",
    "subscribe",
    "tuned",
]

PHI = "azureml://registries/azureml/models/Phi-4"
MISTRAL = "azureml://registries/azureml-mistral/models/Mistral-large-2407"
"""A model of a third party."""
S = "serverlessEndpoints/phi-test"
"""The path of the endpoint that most tests have."""
PROMPT = "Tell me of river number 0 in Europe."
REPLY = "The river 0 of Europe is known to all who live there."
"""The answer to :data:`PROMPT` of a model made by :func:`tuned`."""


def put_serverless(
    cloud: Cloud, model: str = PHI, name: str = "phi-test", tags: dict[str, str] | None = None, **more: Any
) -> Answer:
    """Ask for an endpoint, in the words of the real client (wire.md 11)."""
    settings = {"modelSettings": {"modelId": model}, **more}
    body = {
        "location": "eastus",
        "sku": {"name": "Consumption"},
        "tags": tags or {},
        "properties": settings,
    }
    return ask(cloud, "PUT", f"serverlessEndpoints/{name}", body)


def made(cloud: Cloud, model: str = PHI, name: str = "phi-test", **more: Any) -> None:
    """Make an endpoint and let the time pass that it takes."""
    assert put_serverless(cloud, model, name, **more).status == 201
    cloud.clock.advance(timedelta(hours=1))


def subscribe(cloud: Cloud, model: str = MISTRAL, name: str = "mistral") -> Answer:
    """Subscribe to a model."""
    return ask(cloud, "PUT", f"marketplaceSubscriptions/{name}", {"properties": {"modelId": model}})


def properties(cloud: Cloud, path: str = S) -> dict[str, Any]:
    """What an endpoint or a subscription is like."""
    found: dict[str, Any] = ask(cloud, "GET", path).body["properties"]
    return found


def keys(cloud: Cloud, path: str = S) -> tuple[str, str]:
    """The two keys of an endpoint."""
    found = ask(cloud, "POST", f"{path}/listKeys").body
    return found["primaryKey"], found["secondaryKey"]


def tuned(cloud: Cloud, name: str = "facts", kind: str = "mlflow_model") -> str:
    """Register the model of a fine-tune as a version; its asset id."""
    uri = pipelines.upload(cloud, "train.jsonl", pipelines.conversations(24))
    pipelines.start(cloud, "tune", {"train_file_path": uri})
    assert pipelines.statuses(cloud, "tune")[-1] == "Completed"
    body = {"properties": {"modelUri": "azureml://jobs/tune/outputs/trained_model", "modelType": kind}}
    assert ask(cloud, "PUT", f"models/{name}/versions/1", body).status == 201
    return f"azureml://locations/eastus/workspaces/{cloud.workspace.guid}/models/{name}/versions/1"


def score(
    cloud: Cloud,
    authorization: str | None,
    body: Any = None,
    *,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    name: str = "phi-test",
) -> Answer:
    """Send a request to an endpoint's own host; without a body, it is :data:`PROMPT`."""
    headers = {"content-type": "application/json"}
    if authorization is not None:
        headers["authorization"] = authorization
    asked = {"messages": [{"role": "user", "content": PROMPT}], "do_sample": False} if body is None else body
    sent = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    url = f"https://{name}.eastus.models.ai.azure.com{path}?api-version=2024-05-01-preview"
    answer = cloud.handle(Request(method, url, headers, sent))
    return Answer(answer.status, json.loads(answer.body), answer.headers)
