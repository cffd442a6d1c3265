"""Fine-tunes through the public interface: what tests of a later step begin with."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

import pipelines

from phi_finetune import (
    ChatDataset,
    Endpoint,
    Finetune,
    GpuCompute,
    ParameterValues,
    RegisteredModel,
    Workspace,
)
from phi_finetune.emulator.core.journal import Entry
from phi_finetune.events import Event
from phi_finetune.testing import FakeAzure

__all__ = [
    "PROMPT",
    "REPLY",
    "SIZE",
    "Heard",
    "content",
    "data",
    "deployed",
    "finetune",
    "sent",
    "trained",
]

SIZE = "Standard_NC24ads_A100_v4"
PROMPT = "Tell me of river number 0 in Europe."
REPLY = "The river 0 of Europe is known to all who live there."
"""The answer to :data:`PROMPT` in the training rows."""


class Heard(list[Event]):
    """A listener that keeps what it heard."""

    __call__ = list.append

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self if isinstance(event, kind)]


def data(name: str = "facts") -> ChatDataset:
    """A small data set of known content."""
    return ChatDataset.from_records(pipelines.conversations(24), name=name)


def finetune(
    workspace: Workspace, parameters: ParameterValues | None = None, *, on: GpuCompute | None = None
) -> Finetune:
    """A fine-tune of Phi-4 on that data, on serverless compute."""
    model = workspace.foundation_model("Phi-4")
    tune = model.finetune(data()).on(on or GpuCompute.serverless(SIZE))
    return tune.with_parameters(**(parameters or {}))


def trained(
    azure: FakeAzure, workspace: Workspace, *, job: str = "tune", name: str = "facts"
) -> RegisteredModel:
    """A registered model, of a job that was submitted without azure-ai-ml, which saves a quarter of a second."""
    pipelines.start(azure.cloud, job)
    return workspace.job(job).wait().register(name)


def deployed(azure: FakeAzure, workspace: Workspace) -> Endpoint:
    """An endpoint that answers with such a model."""
    return trained(azure, workspace).deploy(instance_type=SIZE)


def sent(azure: FakeAzure, method: str, path: str) -> list[Entry]:
    """The requests of a method to a path, which may hold ``*``."""
    return [
        entry
        for entry in azure.journal
        if entry.method == method and fnmatchcase(urlsplit(entry.url).path, path)
    ]


def content(entry: Entry) -> Any:
    """What a request held, as JSON."""
    return json.loads(entry.body)
