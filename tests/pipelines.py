"""Pipeline jobs of the chat-completion component, as the real client writes them (wire.md 5)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from asking import Answer, ask

from phi_finetune.emulator.cloud import Cloud

__all__ = ["MODEL_ID", "conversations", "follow", "jsonl", "pipeline", "start", "statuses", "upload"]

MODEL_ID = "azureml://registries/azureml/models/Phi-4/versions/8"

_COMPONENT = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
_KINDS = {
    "mlflow_model_path": "mlflow_model",
    "train_file_path": "uri_file",
    "validation_file_path": "uri_file",
    "test_file_path": "uri_file",
    "test_mltable_path": "mltable",
}
_THINGS = ("river", "mountain", "city", "lake", "bird", "tree", "poem", "planet")
_PLACES = ("Europe", "Asia", "Africa", "America", "Oceania")


def conversations(count: int) -> list[dict[str, Any]]:
    """So many different conversations."""
    return [{"messages": _messages(number)} for number in range(count)]


def jsonl(rows: Sequence[object]) -> bytes:
    """Rows as a JSON Lines file."""
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def upload(cloud: Cloud, name: str, rows: Sequence[object]) -> str:
    """Put rows into the default datastore; where they are is returned."""
    cloud.storage.put(f"data/{name}", jsonl(rows))
    return f"azureml://datastores/workspaceblobstore/paths/data/{name}"


def pipeline(
    cloud: Cloud, inputs: Mapping[str, str | None] | None = None, **properties: Any
) -> dict[str, Any]:
    """The body that submits a fine-tune on 40 conversations; an input of None is left out."""
    given: dict[str, str | None] = {
        "mlflow_model_path": MODEL_ID,
        "train_file_path": upload(cloud, "train.jsonl", conversations(40)),
        **(inputs or {}),
    }
    node = {
        "name": "finetune",
        "type": "pipeline",
        "componentId": _COMPONENT,
        "inputs": {name: _input(name, value) for name, value in given.items() if value is not None},
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}", "type": "literal"}},
    }
    fixed = {
        "jobType": "Pipeline",
        "experimentName": "tests",
        "displayName": "a fine-tune",
        "outputs": {"trained_model": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}},
        "jobs": {"finetune": node},
    }
    return {"properties": {**fixed, **properties}}


def start(
    cloud: Cloud, name: str = "tune", inputs: Mapping[str, str | None] | None = None, **properties: Any
) -> Answer:
    """Submit a fine-tune."""
    return ask(cloud, "PUT", f"jobs/{name}", pipeline(cloud, inputs, **properties))


def statuses(cloud: Cloud, name: str = "tune") -> list[str]:
    """What a poller of the job reads, until the job has ended."""
    seen: list[str] = []
    while not seen or seen[-1] not in ("Completed", "Failed", "Canceled"):
        seen.append(ask(cloud, "GET", f"jobs/{name}").body["properties"]["status"])
        assert len(seen) < 100
    return seen


def follow(cloud: Cloud, path: str, method: str = "GET", body: object = None) -> Answer:
    """Ask run history, at a path below the workspace's (``"runs/tune/details"``)."""
    return ask(cloud, method, f"{cloud.workspace.api}/history/v1.0{cloud.workspace.id}/{path}", body)


def _input(name: str, value: str) -> dict[str, str]:
    kind = _KINDS.get(name)
    return {"uri": value, "job_input_type": kind} if kind else {"value": value, "job_input_type": "literal"}


def _messages(number: int) -> list[dict[str, str]]:
    thing, place = _THINGS[number % len(_THINGS)], _PLACES[number % len(_PLACES)]
    return [
        {"role": "user", "content": f"Tell me of {thing} number {number} in {place}."},
        {"role": "assistant", "content": f"The {thing} {number} of {place} is known to all who live there."},
    ]
