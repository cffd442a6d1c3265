"""The folder of a job on this machine: what its steps are given, and what they leave there.

::

    job.json                          what the job is (:class:`Job`)
    steps/STEP/status.json            how the step stands (:class:`StepStatus`); always whole
    steps/STEP/log.txt                its log
    steps/STEP/metrics.jsonl          a line for each value: key, value, step, time
    steps/STEP/params.json            the parameters that it worked with
    steps/STEP/ranks/NUMBER/          status and log of each process, where several train
    model/                            the model that was taken in
    data/                             the prepared rows
    checkpoints/                      where the training can go on
    tuned/                            the adapter, or the weights, as trained
    evaluation.json                   what changed, with answers before and after
    outputs/pytorch_model_folder/     the pipeline's outputs
    outputs/mlflow_model_folder/
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import attrs

from phi_finetune.errors import ConfigurationError
from phi_finetune.local._files import Lines, read_json, read_lines, write_json

__all__ = ["GENERAL_CHATS", "Failure", "Job", "JobFolder", "State", "StepFolder", "StepStatus"]

State: TypeAlias = Literal["NotStarted", "Running", "Completed", "Failed", "Canceled"]

_FIRST_VERSION: Final = 1

GENERAL_CHATS: Final = "general_chats.jsonl"
"""A file beside a model's weights: conversations on which is measured what a fine-tune made it forget."""


@attrs.frozen
class Job:
    """What a job is given.

    Attributes:
        name: Its name.
        values: The pipeline's parameters, as Python values or in the pipeline's own form; those left out have their
            default.
        files: The files of conversations by the names of the pipeline's inputs, such as ``train_file_path``.
        model: The folder of the model to train; None where ``huggingface_id`` or a path among the values names it.
        model_id: What the model is called, for the lineage of what is made of it.
        general_file: Conversations on which forgetting is measured; None for those that this library ships.
        tracking_uri: An MLflow server or store that metrics are logged to as well; None for none.
        runs: The run in that store for each step that logs there.
    """

    name: str
    values: Mapping[str, bool | int | float | str | None] = attrs.field(factory=dict)
    files: Mapping[str, str] = attrs.field(factory=dict)
    model: str | None = None
    model_id: str = ""
    general_file: str | None = None
    tracking_uri: str | None = None
    runs: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def parameters(self) -> Mapping[str, bool | int | float | str | None]:
        """All of the pipeline's parameters that were given; a file stands there as its path."""
        return {**self.values, **self.files}


@attrs.frozen
class Failure:
    """Why a step failed.

    Attributes:
        code: A short name: that of the error's class, or ``OutOfMemory``, ``DiskFull``, ``Killed``.
        message: The cause in words.
        next_call: What to do next, if that is known.
    """

    code: str
    message: str
    next_call: str | None = None


@attrs.frozen
class StepStatus:
    """How a step stands.

    Attributes:
        state: Its state.
        pid: The process that runs it, or ran it; 0 before it was started.
        started: When, in seconds since 1970; 0 before.
        ended: When it ended, in seconds since 1970; 0 before.
        failure: Why it failed, if it did.
        out_of_memory_kills: How often the system had ended a process for lack of memory when the step began.
    """

    state: State
    pid: int = 0
    started: float = 0.0
    ended: float = 0.0
    failure: Failure | None = None
    out_of_memory_kills: int = 0


@attrs.frozen
class StepFolder:
    """What a step leaves of itself.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def log(self) -> Path:
        """Its log."""
        return self.path / "log.txt"

    def status(self) -> StepStatus:
        """How it stands; ``NotStarted`` where nothing was written yet."""
        try:
            value = read_json(self.path / "status.json")
        except FileNotFoundError:
            return StepStatus("NotStarted")
        failure = Failure(**value.pop("failure")) if value.get("failure") else value.pop("failure", None)
        return StepStatus(failure=failure, **value)

    def set_status(self, status: StepStatus) -> None:
        """Write how it stands, whole."""
        write_json(self.path / "status.json", attrs.asdict(status))

    def add_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Add values to its metrics."""
        lines, now = Lines(self.path / "metrics.jsonl"), time.time()
        for key, value in values.items():
            lines.add({"key": key, "value": value, "step": step, "time": now})

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Its metrics, as lines with ``key``, ``value``, ``step`` and ``time``."""
        return read_lines(self.path / "metrics.jsonl")

    def set_params(self, values: Mapping[str, object]) -> None:
        """Write down the parameters that it works with, whole."""
        write_json(self.path / "params.json", dict(values))

    def forget_metrics_after(self, step: int) -> None:
        """Leave out what was logged after a step: a training that goes on from there logs it again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        (self.path / "metrics.jsonl").unlink(missing_ok=True)
        lines = Lines(self.path / "metrics.jsonl")
        for line in kept:
            lines.add(line)


@attrs.frozen
class JobFolder:
    """The folder of a job.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def create(cls, path: str | os.PathLike[str], job: Job) -> JobFolder:
        """Make the folder of a new job, and write down what the job is."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "job.json", {"version": _FIRST_VERSION, **attrs.asdict(job)})
        return cls(folder)

    def job(self) -> Job:
        """What the job is.

        Raises:
            ConfigurationError: The folder is not that of a job, or one of a newer version of this library.
        """
        try:
            value = read_json(self.path / "job.json")
            version = value.pop("version", None)
            if version != _FIRST_VERSION:
                raise ValueError(f"it has the version {version!r}, and this library reads {_FIRST_VERSION}")
            return Job(**value)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(f"{self.path} is not the folder of a job", why=str(error)) from None

    def step(self, name: str) -> StepFolder:
        """The folder of a step."""
        return StepFolder(self.path / "steps" / name)

    @property
    def model(self) -> Path:
        """The model that was taken in."""
        return self.path / "model"

    @property
    def data(self) -> Path:
        """The prepared rows."""
        return self.path / "data"

    @property
    def checkpoints(self) -> Path:
        """Where the training can go on."""
        return self.path / "checkpoints"

    @property
    def tuned(self) -> Path:
        """What was trained: the adapter, or all weights."""
        return self.path / "tuned"

    @property
    def evaluation(self) -> Path:
        """The file that says what the fine-tune changed."""
        return self.path / "evaluation.json"

    def output(self, name: str) -> Path:
        """An output of the pipeline: ``pytorch_model_folder`` or ``mlflow_model_folder``."""
        return self.path / "outputs" / name

    def resolved(self, path: str) -> Path:
        """A path of the job, that may be relative to its folder."""
        return self.path / path
