"""``python -m phi_finetune.local.run_job FOLDER``: the process that runs a job's steps, one after another.

It has a session of its own, so it goes on when whoever started it ends. SIGTERM cancels the job.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

import attrs

from phi_finetune.local import recorder
from phi_finetune.local.contents import private_folder
from phi_finetune.local.leash import leashed
from phi_finetune.local.processes import write_process
from phi_finetune.local.programs import PYTHON, Programs
from phi_finetune.local.run_folder import RunFolder
from phi_finetune.local.tracking import is_possible
from phi_finetune.local.warm_steps import can_be_warm, start, start_tracking

__all__ = ["main"]

_GRACE_S: Final = 3.0
"""How long a step that is canceled may take to end by itself."""
_LAST_LINES: Final = 5


class _Canceled(Exception):
    """Somebody asked this process to end the job."""


class _Started(Protocol):
    """A step that runs, in a process that leads a group."""

    @property
    def pid(self) -> int:
        """The process's number."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job.

    Args:
        arguments: The job's folder; None takes it from the command line.

    Returns:
        0 where the job ended, well or badly; 1 where another process runs it.
    """
    (path,) = sys.argv[1:] if arguments is None else arguments
    folder = RunFolder(Path(path))
    lock = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    if any(True for _ in folder.events()):
        return 1  # Another process ran it, and has ended.
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _cancel)
    write_process(folder.process, os.getpid())
    tracking = _Tracking(folder)
    _run_steps(folder, tracking)
    tracking.wait()
    tracking.end()
    if os.getsid(0) == os.getpid():
        os.killpg(0, signal.SIGTERM)  # What steps are made of may still be loading torch.
    return 0


@attrs.define
class _Tracking:
    """The job's runs in MLflow, where that is installed; the job does without if it fails."""

    folder: RunFolder
    _asked: bool = attrs.field(default=False, init=False)
    _beginning: _Started | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        """Let them begin, if that was not asked for before, and do not wait for it."""
        if not self._asked:
            self._asked = True
            self._beginning = self._start("begin")

    def wait(self) -> None:
        """Wait until they have begun, if they do."""
        if self._beginning is not None:
            self._beginning.wait()

    def end(self) -> None:
        """Let those end that have begun, and wait for it."""
        ending = self._start("end") if (self.folder.path / "tracking.json").exists() else None
        if ending is not None:
            ending.wait()

    def _start(self, what: str) -> _Started | None:
        if not is_possible():
            return None
        with suppress(OSError):
            if _is_warm(self.folder):
                return start_tracking(what, self.folder.path)
            command = [*PYTHON, "phi_finetune.local.tracking", what, str(self.folder.path)]
            quiet = {"MLFLOW_DISABLE_TELEMETRY": "true"}
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **quiet})
        return None


def _is_warm(folder: RunFolder) -> bool:
    return tuple(folder.run()["command"]) == Programs().step and can_be_warm()


def _run_steps(folder: RunFolder, tracking: _Tracking) -> None:
    step = ""
    try:
        if not _is_warm(folder):
            tracking.begin()
        for number, step in enumerate(folder.run()["steps"]):
            if number == 1:
                tracking.wait()  # What the first step checks takes as long; no metric is logged before.
            failure = _run(folder, step, tracking)
            if failure is not None:
                _let_nothing_be_canceled()
                folder.tell({"step": step, "state": "Failed", "failure": failure})
                folder.tell({"state": "Failed"})
                return
            folder.tell({"step": step, "state": "Completed"})
        _let_nothing_be_canceled()
        folder.tell({"state": "Completed", "outputs": folder.outputs()})
    except _Canceled:
        if step:
            folder.tell({"step": step, "state": "Canceled"})
        folder.tell({"state": "Canceled"})


def _run(folder: RunFolder, step: str, tracking: _Tracking) -> dict[str, str] | None:
    """Run a step; why it failed."""
    where = folder.step(step)
    private_folder(where)
    folder.tell({"step": step, "state": "Running"})
    command, kills = folder.run()["command"], recorder.out_of_memory_kills()
    try:
        process = _start(folder, step, command)
    except OSError as error:
        return {
            "code": "UserError",
            "message": f"Step {step} cannot be started: {error.strerror} ({command[0]}).",
        }
    try:
        with leashed(process.pid):
            write_process(folder.step_process, process.pid)
            tracking.begin()  # Where it comes of what loads torch, not before a step does.
            code = process.wait()
    except (_Canceled, OSError):
        _end(process)
        raise
    return None if code == 0 else _failure(step, where, code, kills)


def _start(folder: RunFolder, step: str, command: Sequence[str]) -> _Started:
    if _is_warm(folder):
        return start(step, folder.path)
    log = os.open(folder.step(step) / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            [*command, step, str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.path,
            process_group=0,
        )
    finally:
        os.close(log)


def _end(process: _Started) -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:  # it has only just been made, and leads no group yet
        os.kill(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_S)
    # What it started may have stayed.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _failure(step: str, where: Path, code: int, kills_before: int) -> dict[str, str]:
    """Why a step failed: in its own words, where it found the time to say them."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads((where / "status.json").read_bytes())["failure"]
        message = ". ".join(str(told[key]) for key in ("message", "next_call") if told.get(key))
        return {"code": str(told["code"]), "message": message}
    lines = (where / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    last = "; its last lines: " + " | ".join(lines) if lines else "; it wrote nothing"
    for_memory = recorder.killed_for_lack_of_memory(code, kills_before)
    if for_memory is not None:
        message = f"{for_memory.message}, {step}{last}. Next: {for_memory.next_call}"
        return {"code": for_memory.code, "message": message}
    return {"code": "UserError", "message": f"Step {step} {how_it_ended(code)}{last}"}


def how_it_ended(code: int) -> str:
    """What an exit status says, negative for a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    if -code == signal.SIGKILL:
        return f"was killed by {name}, which is also how the system ends the largest process when memory runs out"
    return f"was killed by {name}"


def _cancel(number: int, frame: FrameType | None) -> None:
    _let_nothing_be_canceled()
    raise _Canceled


def _let_nothing_be_canceled() -> None:
    """From here on the job has ended."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
