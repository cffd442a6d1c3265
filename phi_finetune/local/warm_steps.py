"""Steps in processes that begin with torch already loaded, which takes longer than most steps do; MLflow too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_all_start_methods, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune.emulator.runners.engine import JobReport
from phi_finetune.local import step as step_program
from phi_finetune.local import tracking
from phi_finetune.local.machine import this_machine
from phi_finetune.local.run_folder import RunFolder

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

__all__ = ["WarmStep", "can_be_warm", "start", "start_tracking"]

_PRELOADED: Final = "phi_finetune.local.preloaded"


def can_be_warm() -> bool:
    """Whether processes can be made of one that has torch loaded: not where it might have begun to use a GPU."""
    return "forkserver" in get_all_start_methods() and not this_machine().gpus


@attrs.frozen
class WarmStep:
    """A step that runs.

    Attributes:
        pid: The number of its process, which leads a group of its own.
    """

    pid: int
    _process: ForkServerProcess = attrs.field(alias="process")

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; its exit code, negative for a signal.

        Args:
            timeout: Seconds; None for as long as it takes.

        Raises:
            subprocess.TimeoutExpired: It goes on.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code


def start(step: str, folder: Path) -> WarmStep:
    """Start a step; the first call starts the process that all are made of.

    Args:
        step: Its name.
        folder: The job's folder.

    Raises:
        OSError: That process does not run.
    """
    return _start(_run, step, folder)


def start_tracking(what: str, folder: Path) -> WarmStep:
    """Start to begin or end a job's runs in MLflow, as :func:`start` does a step.

    Args:
        what: ``begin`` or ``end``.
        folder: The job's folder.

    Raises:
        OSError: That process does not run.
    """
    return _start(_track, what, folder)


def _start(does: Callable[[str, str], None], name: str, folder: Path) -> WarmStep:
    step_program.use_settings()
    context = get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    process = context.Process(target=does, args=(name, str(folder)), name=name)
    try:
        process.start()
    except EOFError as error:
        why = f"the process that loads torch has ended; {folder / 'run_job.txt'} has what it said"
        raise OSError(0, why) from error
    assert process.pid is not None
    return WarmStep(process.pid, process)


def _run(step: str, folder: str) -> None:
    os.setpgid(0, 0)
    os.chdir(folder)
    # While torch was loaded, the job may have been canceled, or who runs it killed; nobody waits for this process then.
    runner = parent_process()
    if runner is None or not runner.is_alive() or _has_ended(folder):
        sys.exit(step_program.CANCELED)
    sys.exit(step_program.main([step, folder]))


def _track(what: str, folder: str) -> None:
    sys.exit(tracking.main([what, folder]))


def _has_ended(folder: str) -> bool:
    return any(isinstance(event, JobReport) for event in RunFolder(Path(folder)).events())
