"""What a runner is: the part that decides what running a job, and answering with its model, mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

__all__ = ["Failure", "JobInputs", "Metric", "Reply", "Run", "Runner", "Step"]


@dataclass(frozen=True)
class JobInputs:
    """What a job is given.

    Attributes:
        name: The job's name.
        values: The component's literal inputs, as strings, defaults filled in.
        files: The content of each input file, by input name (``train_file_path``).
        model: The files of the base model where it is one that this cloud's runner made; empty for a registry's.
        model_id: The asset id of the base model.
        steps: The names of the pipeline's steps, in order.
    """

    name: str
    values: Mapping[str, str]
    files: Mapping[str, bytes]
    model: Mapping[str, bytes]
    model_id: str
    steps: Sequence[str]


@dataclass(frozen=True)
class Metric:
    """A metric's value, logged so long after the step's start."""

    key: str
    value: float
    step: int
    after: timedelta


@dataclass(frozen=True)
class Failure:
    """Why a step failed."""

    code: str
    message: str


@dataclass(frozen=True)
class Step:
    """One step of a pipeline as it ran: how long, what it logged, and how it ended.

    Attributes:
        name: The step's name.
        lasts: How long it runs.
        log: Lines of its log, each with its time after the step's start.
        metrics: Metrics of its run.
        params: Parameters of its run.
        failure: Why it failed; None for a step that completed.
    """

    name: str
    lasts: timedelta
    log: Sequence[tuple[timedelta, str]] = ()
    metrics: Sequence[Metric] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True)
class Run:
    """A job as it ran: its steps up to the first that failed, and the files of each output."""

    steps: Sequence[Step]
    outputs: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True)
class Reply:
    """A model's answer: the status and body that its container gives, what its log says, and how long it takes."""

    status: int
    body: Any
    log: str = ""
    lasts: timedelta = timedelta(0)


class Runner(Protocol):
    """Runs jobs, and answers for the models that they made."""

    def run(self, job: JobInputs) -> Run:
        """Run a job."""
        ...

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        """Answer a scoring request with the model whose files are given (empty: a registry's own model)."""
        ...
