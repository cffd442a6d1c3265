"""How a process that works on a step stands: it writes it down itself, and others judge it where it could not."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from phi_finetune.errors import PhiFinetuneError
from phi_finetune.local.job_folder import Failure, StepFolder, StepStatus

__all__ = [
    "Canceled",
    "Ended",
    "Recorder",
    "killed_for_lack_of_memory",
    "out_of_memory_kills",
    "say",
    "verdict",
]

_TAKE_LESS: Final = (
    "with_parameters(per_device_train_batch_size=1), a smaller max_seq_length, or apply_lora=True"
)
_ALMOST_NOTHING: Final = 16 * 1024**2
"""Bytes free of a disk that is full to a program that writes weights."""


class Canceled(BaseException):
    """The process was asked to end."""


class Ended(Exception):
    """Another process, that did a part of the work, ended before it was done.

    Attributes:
        failure: Why.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Recorder:
    """Writes down how a step stands: running, and then how it ended, whatever ended it."""

    def __init__(self, folder: StepFolder) -> None:
        self._folder = folder
        self.status = StepStatus("NotStarted")

    def __enter__(self) -> Self:
        self._set(StepStatus("Running", os.getpid(), time.time(), out_of_memory_kills=out_of_memory_kills()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            self._end("Completed")
            return True
        if isinstance(error, Canceled | KeyboardInterrupt):
            say(self._folder, "canceled")
            self._end("Canceled")
            return True
        failure = _failure(error, self._folder.path)
        say(self._folder, "".join(traceback.format_exception(error)).rstrip())
        say(self._folder, f"FAILED {failure.code}: {failure.message}")
        self._end("Failed", failure)
        return isinstance(error, Exception)

    def _end(self, state: Any, failure: Failure | None = None) -> None:
        self._set(attrs.evolve(self.status, state=state, ended=time.time(), failure=failure))

    def _set(self, status: StepStatus) -> None:
        self.status = status
        self._folder.set_status(status)


def _failure(error: BaseException, place: Path) -> Failure:
    if isinstance(error, Ended):
        return error.failure
    if isinstance(error, PhiFinetuneError):
        return Failure(type(error).__name__, str(error), error.next_call)
    if _is_disk_full(error, place):
        return Failure("DiskFull", f"The disk is full: {error}", "free space, and run the step again")
    if _is_out_of_memory(error):
        return Failure(
            "OutOfMemory",
            f"The memory did not suffice: {str(error).splitlines()[0] if str(error) else 'MemoryError'}",
            _TAKE_LESS,
        )
    return Failure(type(error).__name__, str(error) or type(error).__name__)


def _is_disk_full(error: BaseException, place: Path) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors and torch tell of it in errors of their own, and torch's writer of archives only where it stopped.
    if "No space left on device" in str(error):
        return True
    return "inline_container" in str(error) and shutil.disk_usage(place).free < _ALMOST_NOTHING


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # What torch says on a processor, where it has no class for it.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def out_of_memory_kills() -> int:
    """How often this machine has ended a process for lack of memory; 0 where it does not count that."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def killed_for_lack_of_memory(exit_code: int | None, kills_before: int) -> Failure | None:
    """What a process failed of that the system ended for lack of memory; None where it ended otherwise.

    Args:
        exit_code: What the process exited with, negative for a signal; None where nobody knows.
        kills_before: What :func:`out_of_memory_kills` gave before the process began.
    """
    if exit_code != -signal.SIGKILL or out_of_memory_kills() <= kills_before:
        return None
    return Failure("OutOfMemory", "The system ended the step for lack of memory", _TAKE_LESS)


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
    for_memory = killed_for_lack_of_memory(exit_code, status.out_of_memory_kills)
    if for_memory is not None and status.state == "Running":
        told = for_memory
    elif number:
        told = Failure("Killed", f"The step was ended by signal {number} ({signal.Signals(number).name})")
    else:
        how = "unknown" if exit_code is None else str(exit_code)
        told = Failure("Killed", f"The step's process ended without a word; its exit code is {how}")
    return attrs.evolve(status, state="Failed", ended=time.time(), failure=told)


def say(folder: StepFolder, line: str) -> None:
    """Add a line to a log, with the time."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with folder.log.open("a", encoding="utf-8") as file:
        file.write(f"{now} {line}\n")
