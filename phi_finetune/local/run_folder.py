"""The folder of a job's run: what is agreed between who starts it, the process that runs its steps, and each step.

::

    job.json                  version, name, values, files (input: path below the folder), model (a path, or null),
                              model_id, general_file, tracking_uri (of MLflow), runs ({step: its run there})
    run.json                  the names of the steps, and the words before each
    inputs/NAME               each input file; inputs/model/ the base model's files, where it has some
    outputs/NAME/             what the steps leave; each folder is an output of the pipeline
    steps/STEP/log.txt        what the step wrote, its standard output and error too
    steps/STEP/metrics.jsonl  a line a value: {"key": ..., "value": ..., "step": ..., "time": seconds since 1970}
    steps/STEP/params.json    {"name": "value"}
    steps/STEP/status.json    {"failure": {"code": ..., "message": ..., "next_call": ...}}: in its own words
    events.jsonl              what became of each step and of the job, written by the process that runs them
    process.json, step.json   which processes these are
    tracking.json             the runs in MLflow: {"": the job's, step: its own}
    tracking.ended            there once these have ended

A step is a program: ``COMMAND STEP FOLDER``. It ends with 0 where it is done.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import attrs

from phi_finetune.emulator.runners.engine import JobReport, StepReport, Written
from phi_finetune.emulator.runners.runner import JobInputs, Metric
from phi_finetune.local.contents import below, private_folder, put_files, write_whole
from phi_finetune.local.job_folder import GENERAL_CHATS
from phi_finetune.local.programs import Programs
from phi_finetune.local.reports import from_json

__all__ = ["RunFolder", "folder_name", "tracking_uri"]

_TRAINING: Final = "chat_completion_finetune"
_EVALUATION: Final = "chat_completion_model_evaluation"
_SAFE: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


def tracking_uri(folder: Path) -> str:
    """Where the runs of a workspace's jobs are kept for MLflow."""
    return f"sqlite:///{folder / 'mlflow.db'}"


def folder_name(name: str) -> str:
    """A file name for a job or step; one that might mean something else is named by its digest."""
    if name and len(name) <= 100 and all(letter in _SAFE for letter in name):
        return name
    return sha256(name.encode()).hexdigest()[:40]


@attrs.frozen
class RunFolder:
    """The folder of one job.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def exists(self) -> bool:
        """Whether the job was prepared."""
        return (self.path / "run.json").exists()

    @property
    def process(self) -> Path:
        """The file that names the process that runs the job."""
        return self.path / "process.json"

    @property
    def step_process(self) -> Path:
        """The file that names the process of the step that runs."""
        return self.path / "step.json"

    @property
    def runs_ended(self) -> Path:
        """The file that is there once the job's runs in MLflow have ended."""
        return self.path / "tracking.ended"

    def prepare(self, job: JobInputs, programs: Programs, mlflow: str) -> None:
        """Write the job's inputs down; all of them, or the folder is not there."""
        making = self.path.with_name(f".making-{self.path.name}-{os.getpid()}")
        private_folder(making)
        try:
            files = {name: f"inputs/{folder_name(name)}" for name in job.files}
            for name, data in job.files.items():
                _write(making / files[name], data)
            put_files(job.model, making / "inputs" / "model")
            told = {
                "version": 1,
                "name": job.name,
                "values": dict(job.values),
                "files": files,
                "model": "inputs/model" if job.model else None,
                "model_id": job.model_id,
                "general_file": f"inputs/model/{GENERAL_CHATS}" if GENERAL_CHATS in job.model else None,
                "tracking_uri": mlflow,
                "runs": {},
            }
            private_folder(making / "outputs")
            write_whole(making / "job.json", json.dumps(told, indent=1).encode())
            run = {
                "name": job.name,
                "steps": list(_with_evaluation(job.steps)),
                "command": list(programs.step),
            }
            write_whole(making / "run.json", json.dumps(run, indent=1).encode())
            os.rename(making, self.path)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    def run(self) -> dict[str, Any]:
        """What ``run.json`` says."""
        told: dict[str, Any] = json.loads((self.path / "run.json").read_bytes())
        return told

    def step(self, name: str) -> Path:
        """Where a step writes."""
        return self.path / "steps" / folder_name(name)

    def tell(self, event: Mapping[str, object]) -> None:
        """Write an event down, so that it is there whatever happens next."""
        line = json.dumps({"job": self.run()["name"], "when": datetime.now(UTC).isoformat(), **event})
        descriptor = os.open(self.path / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(line.encode() + b"\n")

    def events(self) -> Iterator[StepReport | JobReport]:
        """What has become of the job so far; a line that is not whole yet is left out."""
        try:
            data = (self.path / "events.jsonl").read_bytes()
        except FileNotFoundError:
            return
        for line in data.split(b"\n")[:-1]:
            report = from_json({"outputs": {}, **json.loads(line)})
            assert isinstance(report, StepReport | JobReport)
            yield report

    def written(self, step: str) -> Written:
        """What a step has written so far."""
        where = self.step(step)
        began = next(
            (one.when for one in self.events() if isinstance(one, StepReport) and one.step == step), None
        )
        if began is None:
            return Written()
        log = _read(where / "log.txt").decode("utf-8", "replace")
        params = _object(_read(where / "params.json"))
        return Written(log, list(_metrics(where, began)), {key: str(value) for key, value in params.items()})

    def outputs(self) -> dict[str, list[str]]:
        """The files of each output."""
        root = self.path / "outputs"
        return {
            output.name: sorted(str(file.relative_to(output)) for file in output.rglob("*") if file.is_file())
            for output in sorted(root.iterdir())
            if output.is_dir()
        }

    def output(self, output: str, name: str) -> Path:
        """Where a file of an output is."""
        return below(self.path / "outputs" / output, name)


def _metrics(where: Path, began: datetime) -> Iterator[Metric]:
    for line in _read(where / "metrics.jsonl").split(b"\n")[:-1]:
        told = _object(line)
        if {"key", "value", "step", "time"} <= told.keys():
            at = datetime.fromtimestamp(float(told["time"]), UTC)
            after = max(timedelta(0), at - began)
            yield Metric(str(told["key"]), float(told["value"]), int(told["step"]), after)


def _with_evaluation(pipeline: Sequence[str]) -> Iterator[str]:
    """The pipeline's steps, and one after the training that measures what it changed.

    The registry's own has no such step (version 0.0.82, Azure/azureml-assets, 2026-07-23).
    """
    for step in pipeline:
        yield step
        if step == _TRAINING:
            yield _EVALUATION


def _object(data: bytes) -> Mapping[str, Any]:
    """A JSON object; an empty one for what is none, since a step may be killed while it writes."""
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _write(path: Path, data: bytes) -> None:
    private_folder(path.parent)
    write_whole(path, data)
