"""A step as a process: ``python -m phi_finetune.local.step STEP JOBFOLDER``.

It exits with 0 where the step completed, 1 where it failed, 143 where it was canceled (SIGTERM); the step's
``status.json`` says the same, and why.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import attrs

from phi_finetune.errors import ConfigurationError
from phi_finetune.local.job_folder import JobFolder, StepStatus
from phi_finetune.local.recorder import Canceled, Recorder, say, verdict
from phi_finetune.local.steps import StepLog, run_step

__all__ = ["CANCELED", "log_of", "main", "run", "use_settings", "verdict"]

CANCELED: Final = 128 + signal.SIGTERM
"""What a step exits with that was canceled."""

_SETTINGS: Final = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_WAIT_POLICY": "PASSIVE",  # idle threads that spin take the time of those that work (local.md 2b)
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}


def run(name: str, folder: JobFolder) -> StepStatus:
    """Run a step in this process, writing its status, log and metrics into the job's folder.

    An error of the step is not raised: the status says it.

    Args:
        name: The step, one of :data:`~phi_finetune.local.steps.STEPS`.
        folder: The job's folder.
    """
    step = folder.step(name)
    step.path.mkdir(parents=True, exist_ok=True)
    with Recorder(step) as recorder:
        say(step, f"{name} begins")
        step.forget_metrics_after(-1) if name != "chat_completion_finetune" else None
        run_step(name, folder, log_of(folder, name))
        say(step, f"{name} is done")
    return recorder.status


def log_of(folder: JobFolder, name: str) -> StepLog:
    """Where a step of a job says what it does: its folder, and the store that the job names."""
    step, job = folder.step(name), folder.job()
    tell, run = partial(say, step), job.runs.get(name)
    tracked = _Tracked(job.tracking_uri, run, tell) if job.tracking_uri and run else None

    def metrics(number: int, values: Mapping[str, float]) -> None:
        step.add_metrics(number, values)
        if tracked is not None:
            tracked(number, values)

    return StepLog(tell, metrics, step.forget_metrics_after, step.set_params)


@attrs.define
class _Tracked:
    """Logs metrics to a run of an MLflow store as well; nothing of MLflow's global state is touched.

    They lie in the step's own folder, so a store that is locked, or a run that somebody deleted, stops no training: the
    step's log tells of the first that the store did not take.
    """

    uri: str
    run_id: str
    tell: Callable[[str], None]
    _client: Any = attrs.field(default=None, init=False)
    _failed: bool = attrs.field(default=False, init=False)

    def __call__(self, number: int, values: Mapping[str, float]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._log(number, values)
        except MlflowException as error:
            if not self._failed:
                why = str(error).partition("\n")[0]
                self.tell(
                    f"MLflow's store did not take the metrics of step {number}, here they are kept: {why}"
                )
            self._failed = True

    def _log(self, number: int, values: Mapping[str, float]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        if self._client is None:
            self._client = MlflowClient(tracking_uri=self.uri)
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, number) for key, value in values.items()]
        self._client.log_batch(self.run_id, metrics=metrics)


def _cancel(number: int, frame: FrameType | None) -> None:
    raise Canceled


def use_settings() -> None:
    """Let the environment of this process be a step's: torch and its libraries read it as they are loaded."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)


def _show_gpus(folder: JobFolder) -> None:
    """Let torch see the GPUs that the job is to use, and no more: a trainer would spread over all that it sees."""
    asked = 1
    with suppress(ConfigurationError, TypeError, ValueError):  # the step itself will say what is wrong
        asked = int(str(folder.job().parameters.get("number_of_gpu_to_use_finetuning") or 1))
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = [str(number) for number in range(asked)] if given is None else given.split(",")
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(known[: max(asked, 1)])


def main(arguments: list[str]) -> int:
    """Run the step that the arguments name; what the libraries print goes to the step's log."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m phi_finetune.local.step STEP JOBFOLDER\n")
        return 2
    name, folder = arguments[0], JobFolder(Path(arguments[1]).resolve())
    use_settings()
    _show_gpus(folder)
    signal.signal(signal.SIGTERM, _cancel)
    log = folder.step(name).log
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    state = run(name, folder).state
    return {"Completed": 0, "Canceled": CANCELED}.get(state, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
