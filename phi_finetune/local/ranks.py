"""Several processes that train together, each on a GPU of its own: they are started, watched, and ended together."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import attrs

from phi_finetune.local._files import write_json
from phi_finetune.local.finetune import Plan
from phi_finetune.local.job_folder import Failure, JobFolder, StepFolder
from phi_finetune.local.programs import PYTHON
from phi_finetune.local.recorder import Ended, verdict

__all__ = ["STEP", "folder_of", "plan_of", "tune_in_ranks"]

STEP: Final = "chat_completion_finetune"
"""The step that they work on."""

_LOOP: Final = "127.0.0.1"
_LOOP_NAME: Final = "lo" if sys.platform == "linux" else "lo0"
_LOOK_S: Final = 0.05
_LAST_WORDS_S: Final = 1.0
"""How long the others have to say what they saw after one has failed; then they are ended."""
_GRACE_S: Final = 1.0
"""How long one that is asked to end may take."""
_SHOWN_LINES: Final = 20


@attrs.frozen
class _Rank:
    """A process that was started.

    Attributes:
        number: Its place among them, from 0.
        folder: Where it writes how it stands.
        process: The process.
    """

    number: int
    folder: StepFolder
    process: subprocess.Popen[bytes]


def folder_of(folder: JobFolder, number: int) -> StepFolder:
    """Where one of the processes writes its status and log."""
    return StepFolder(folder.step(STEP).path / "ranks" / str(number))


def plan_of(folder: JobFolder) -> Plan:
    """What was settled before they were started."""
    from phi_finetune.local._files import read_json

    return Plan(**read_json(_plan(folder)))


def _plan(folder: JobFolder) -> Path:
    return folder.step(STEP).path / "ranks" / "plan.json"


def tune_in_ranks(folder: JobFolder, ranks: int, plan: Plan, *, say: Callable[[str], None]) -> None:
    """Train the model of a job in several processes, and return when it is trained and written.

    Each has a GPU of its own; without one they train on the processor. None of them outlives this call, or this
    process, however it ends.

    Args:
        folder: The job's folder; its rows are prepared.
        ranks: How many processes.
        plan: What was settled.
        say: Takes a line for the step's log.

    Raises:
        Ended: One of them failed or was killed; the error has the reason of the first that was.
    """
    shutil.rmtree(folder.step(STEP).path / "ranks", ignore_errors=True)
    write_json(_plan(folder), attrs.asdict(plan))
    started: list[_Rank] = []
    with _meeting_place() as port:
        try:
            for number in range(ranks):
                started.append(_start(folder, number, ranks, port))
            failed = _watch(started)
        finally:
            _end(started)
    if failed is None:
        return
    name, log = f"process {failed.number} of {ranks}", failed.folder.log
    say(f"{name} ended; its log, {log.relative_to(folder.path)}, ends with:")
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:]:
        say(f"  {line}")
    failure = verdict(failed.folder, failed.process.returncode).failure
    told = failure or Failure("Killed", "It was asked to end (SIGTERM)")
    raise Ended(attrs.evolve(told, message=f"The training's {name} failed. {told.message}"))


@contextmanager
def _meeting_place() -> Iterator[int]:
    """A port of the loopback address where the processes find each other."""
    from torch.distributed import TCPStore

    # The store would otherwise listen on every address of the machine.
    listening = socket.create_server((_LOOP, 0))
    port = listening.getsockname()[1]
    store: Any = TCPStore(
        _LOOP,
        port,
        is_master=True,
        wait_for_workers=False,
        master_listen_fd=listening.detach(),
        use_libuv=False,
    )
    yield port
    del store


def _start(folder: JobFolder, number: int, ranks: int, port: int) -> _Rank:
    place = folder_of(folder, number)
    place.path.mkdir(parents=True)
    settings = {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": _LOOP,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # this process has the store, and none of them
        "GLOO_SOCKET_IFNAME": _LOOP_NAME,
        "NCCL_SOCKET_IFNAME": _LOOP_NAME,
    }
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            [*PYTHON, "phi_finetune.local.rank", str(folder.path)],
            stdin=subprocess.PIPE,  # its end tells that this process has ended
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **settings},
        )
    return _Rank(number, place, process)


def _watch(started: Sequence[_Rank]) -> _Rank | None:
    """Wait until all are done, or one has failed; the first one that did."""
    while True:
        codes = [one.process.poll() for one in started]
        if any(codes):
            break
        if None not in codes:
            return None
        _look(started)
    _wait(started, _LAST_WORDS_S)
    return min((one for one in started if one.process.returncode), key=_how_early)


def _how_early(one: _Rank) -> tuple[int, float]:
    """Those that a signal ended come first: that one of them is gone is why the others fail, or are aborted."""
    signaled = one.process.returncode < 0 and one.process.returncode != -signal.SIGABRT
    status = one.folder.status()
    return (0 if signaled else 1, status.ended or time.time())


def _wait(started: Sequence[_Rank], seconds: float) -> None:
    until = time.monotonic() + seconds
    while any(one.process.poll() is None for one in started) and time.monotonic() < until:
        _look(started)


def _look(started: Sequence[_Rank]) -> None:
    """Wait a moment, or until the first of those that run ends."""
    running = next((one for one in started if one.process.poll() is None), None)
    if running is not None:
        with suppress(subprocess.TimeoutExpired):
            running.process.wait(_LOOK_S)


def _end(started: Sequence[_Rank]) -> None:
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
    _wait(started, _GRACE_S)
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        if one.process.stdin is not None:
            one.process.stdin.close()
