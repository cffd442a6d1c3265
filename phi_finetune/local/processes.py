"""Processes that outlive whoever started them, told apart from later ones that were given the same number."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import attrs

from phi_finetune.errors import ConfigurationError
from phi_finetune.local.contents import write_whole

__all__ = ["Process", "alone", "read_process", "spawn", "started_here", "write_process"]

_STAT_STATE, _STAT_START = 0, 19
"""Places in /proc/PID/stat after the command's name (proc_pid_stat(5))."""


@attrs.frozen
class Process:
    """A process: its number, and what the machine says of when it began.

    Attributes:
        pid: Its number.
        began: When it began, as the machine writes it; two processes of one number differ in it.
    """

    pid: int
    began: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has the number now; None where there is none, or it has ended."""
        began = _began(pid)
        return None if began is None else cls(pid, began)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        _reap(self.pid)
        return _began(self.pid) == self.began

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """End it and all that it started and that stayed in its group, at once, if it still runs."""
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(os.getpgid(self.pid), signal.SIGKILL)


def spawn(command: Sequence[str], *, log: Path, environment: Mapping[str, str] = {}) -> int:
    """Start a program in a session of its own, so that neither the end of this process nor Ctrl-C ends it.

    Args:
        command: The program and its arguments.
        log: Where what it writes goes.
        environment: What its environment has besides this process's.

    Raises:
        ConfigurationError: It cannot be started.
    """
    if not hasattr(os, "posix_spawn"):
        raise ConfigurationError(
            "Jobs cannot be run on this machine",
            why="processes of their own need a POSIX system",
            next_call="use Linux, macOS or WSL",
        )
    writing = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), writing, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        pid = os.posix_spawn(
            command[0], list(command), {**os.environ, **environment}, file_actions=actions, setsid=True
        )
    except OSError as error:
        raise ConfigurationError(
            "A program of the local workspace cannot be started",
            resource=f"program {command[0]}",
            why=error.strerror or type(error).__name__,
            next_call="check that it is there and may be run",
        ) from error
    _STARTED.add(pid)
    return pid


def started_here(pid: int) -> bool:
    """Whether a process that this one started still runs."""
    _reap(pid)
    return pid in _STARTED


def read_process(file: Path) -> Process | None:
    """The process that a file names; None where there is no such file."""
    try:
        told = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    return Process(int(told["pid"]), str(told["began"]))


def write_process(file: Path, pid: int) -> None:
    """Write down which process it is that has the number now."""
    write_whole(file, json.dumps({"pid": pid, "began": _began(pid) or ""}).encode())


_STARTED: Final[set[int]] = set()
"""Those that this process started and has not seen end: it alone can clear them away (wait(2))."""


def _reap(pid: int) -> None:
    if pid not in _STARTED:
        return
    try:
        ended, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        ended = pid
    if ended:
        _STARTED.discard(pid)


def _began(pid: int) -> str | None:
    """When the process began; None where it has ended, cleared away or not."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _began_by_ps(pid)
    try:
        text = stat.read_text(encoding="latin-1")
    except OSError:
        return None
    # The command's name stands in brackets and may itself hold blanks and brackets.
    fields = text.rpartition(")")[2].split()
    return None if fields[_STAT_STATE] in "ZX" else f"{_boot()}/{fields[_STAT_START]}"


def _began_by_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, began = done.stdout.strip().partition(" ")
    return None if done.returncode or state.startswith("Z") else began.strip()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Keep other processes from what they do with the same file; waits for the one that does it now."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
