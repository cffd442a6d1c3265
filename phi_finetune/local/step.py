"""A step as a process: ``python -m phi_finetune.local.step STEP JOBFOLDER``.

It exits with 0 where the step completed, 1 where it failed, 143 where it was canceled (SIGTERM); the step's
``status.json`` says the same, and why.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, Self

import attrs

from phi_finetune.errors import PhiFinetuneError
from phi_finetune.local.job_folder import Failure, JobFolder, StepFolder, StepStatus
from phi_finetune.local.steps import StepLog, run_step

__all__ = ["CANCELED", "main", "run", "use_settings", "verdict"]

CANCELED: Final = 128 + signal.SIGTERM
"""What a step exits with that was canceled."""

_SETTINGS: Final = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_WAIT_POLICY": "PASSIVE",  # idle threads that spin take the time of those that work (local.md 2b)
    "GOMP_SPINCOUNT": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "0",
    "PYTHONUNBUFFERED": "1",
}


class _Canceled(BaseException):
    """The process was asked to end."""


class _Recorder:
    """Writes down how a step stands: running, and then how it ended, whatever ended it."""

    def __init__(self, folder: StepFolder) -> None:
        self._folder = folder
        self.status = StepStatus("NotStarted")

    def __enter__(self) -> Self:
        self._set(StepStatus("Running", os.getpid(), time.time(), out_of_memory_kills=_kills()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._end("Completed")
            return True
        if isinstance(error, _Canceled | KeyboardInterrupt):
            _say(self._folder, "canceled")
            self._end("Canceled")
            return True
        failure = _failure(error)
        _say(self._folder, "".join(traceback.format_exception(error)).rstrip())
        _say(self._folder, f"FAILED {failure.code}: {failure.message}")
        self._end("Failed", failure)
        return isinstance(error, Exception)

    def _end(self, state: Any, failure: Failure | None = None) -> None:
        self._set(attrs.evolve(self.status, state=state, ended=time.time(), failure=failure))

    def _set(self, status: StepStatus) -> None:
        self.status = status
        self._folder.set_status(status)


def _failure(error: BaseException) -> Failure:
    if isinstance(error, PhiFinetuneError):
        return Failure(type(error).__name__, str(error), error.next_call)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failure("DiskFull", f"The disk is full: {error}", "free space, and run the step again")
    if _is_out_of_memory(error):
        return Failure(
            "OutOfMemory",
            f"The memory did not suffice: {str(error).splitlines()[0] if str(error) else 'MemoryError'}",
            "with_parameters(per_device_train_batch_size=1), a smaller max_seq_length, or apply_lora=True",
        )
    return Failure(type(error).__name__, str(error) or type(error).__name__)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # What torch says on a processor, where it has no class for it.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _kills() -> int:
    """How often this machine has ended a process for lack of memory."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def verdict(folder: StepFolder, exit_code: int | None) -> StepStatus:
    """How a step stands whose process has ended, also where it could not say so itself.

    Args:
        folder: The step's folder.
        exit_code: What the process exited with, negative for a signal; None where nobody knows.
    """
    status = folder.status()
    if status.state not in ("Running", "NotStarted"):
        return status
    number = -exit_code if exit_code is not None and exit_code < 0 else 0
    if number == signal.SIGTERM:
        return attrs.evolve(status, state="Canceled", ended=time.time())
    if number == signal.SIGKILL and status.state == "Running" and _kills() > status.out_of_memory_kills:
        told = Failure(
            "OutOfMemory",
            "The system ended the step for lack of memory",
            "with_parameters(per_device_train_batch_size=1), a smaller max_seq_length, or apply_lora=True",
        )
    elif number:
        told = Failure("Killed", f"The step was ended by signal {number} ({signal.Signals(number).name})")
    else:
        how = "unknown" if exit_code is None else str(exit_code)
        told = Failure("Killed", f"The step's process ended without a word; its exit code is {how}")
    return attrs.evolve(status, state="Failed", ended=time.time(), failure=told)


def run(name: str, folder: JobFolder) -> StepStatus:
    """Run a step in this process, writing its status, log and metrics into the job's folder.

    An error of the step is not raised: the status says it.

    Args:
        name: The step, one of :data:`~phi_finetune.local.steps.STEPS`.
        folder: The job's folder.
    """
    step = folder.step(name)
    step.path.mkdir(parents=True, exist_ok=True)
    with _Recorder(step) as recorder:
        _say(step, f"{name} begins")
        step.forget_metrics_after(-1) if name != "chat_completion_finetune" else None
        run_step(name, folder, _log(folder, name))
        _say(step, f"{name} is done")
    return recorder.status


def _log(folder: JobFolder, name: str) -> StepLog:
    step, job = folder.step(name), folder.job()
    remote = _tracked(job.tracking_uri, job.runs.get(name))

    def metrics(number: int, values: Mapping[str, float]) -> None:
        step.add_metrics(number, values)
        remote(number, values)

    return StepLog(lambda line: _say(step, line), metrics, step.forget_metrics_after, step.set_params)


def _tracked(uri: str | None, run_id: str | None) -> Any:
    """Logs metrics to a run of an MLflow store as well; nothing of MLflow's global state is touched."""
    if uri is None or run_id is None:
        return lambda number, values: None
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(tracking_uri=uri)

    def log(number: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        client.log_batch(run_id, metrics=[Metric(key, value, now, number) for key, value in values.items()])

    return log


def _say(folder: StepFolder, line: str) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with folder.log.open("a", encoding="utf-8") as file:
        file.write(f"{now} {line}\n")


def _cancel(number: int, frame: FrameType | None) -> None:
    raise _Canceled


def use_settings() -> None:
    """Let the environment of this process be a step's: torch and its libraries read it as they are loaded."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)


def main(arguments: list[str]) -> int:
    """Run the step that the arguments name; what the libraries print goes to the step's log."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m phi_finetune.local.step STEP JOBFOLDER\n")
        return 2
    name, folder = arguments[0], JobFolder(Path(arguments[1]).resolve())
    use_settings()
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
