"""What an engine is: the part that really runs jobs and serves models, in processes that outlive whoever asked.

The cloud starts nothing itself. It says what should be there (:class:`Work`, the deployments that are wanted); the
engine's owner brings that about, and tells the cloud what came of it (:class:`StepReport` and its like). So the
cloud's state follows from requests and reports alone, and both can be written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from phi_finetune.emulator.runners.runner import Failure, Metric

__all__ = ["Engine", "JobReport", "Report", "Server", "ServerReport", "StepReport", "Written"]

StepState = Literal["Running", "Completed", "Failed", "Canceled"]
JobState = Literal["Completed", "Failed", "Canceled"]


@dataclass(frozen=True)
class StepReport:
    """What became of a step of a job, and when."""

    job: str
    step: str
    state: StepState
    when: datetime
    failure: Failure | None = None


@dataclass(frozen=True)
class JobReport:
    """How a job ended, when, and the names of the files in each of its outputs."""

    job: str
    state: JobState
    when: datetime
    outputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True)
class ServerReport:
    """Whether a deployment's server came up: its id, and why it did not."""

    server: str
    failure: Failure | None = None


Report: TypeAlias = StepReport | JobReport | ServerReport


@dataclass(frozen=True)
class Written:
    """What a step has written so far."""

    log: str = ""
    metrics: Sequence[Metric] = ()
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """A server that should be there.

    Attributes:
        id: Its own id; another rollout of the deployment is another server.
        endpoint: The endpoint's name.
        deployment: The deployment's name.
        model: What is served, as the deployment names it.
        files: The files of the model.
        variables: The deployment's environment variables.
        settings: The deployment's request settings.
        tags: The tags of its endpoint.
        instances: How many machines the deployment was made with.
    """

    id: str
    endpoint: str
    deployment: str
    model: str
    files: Mapping[str, bytes] = field(repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    instances: int = 1


class Engine(Protocol):
    """Where what jobs and servers write can be read."""

    def written(self, job: str, step: str) -> Written:
        """What a step has written so far; nothing for one that has written nothing."""
        ...

    def output(self, job: str, output: str, path: str) -> Callable[[], bytes]:
        """What gives the bytes of a file of an output."""
        ...

    def server_log(self, server: str) -> str:
        """What a server has written."""
        ...
