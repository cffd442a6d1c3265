"""``python -m phi_finetune.local.run_server FOLDER``: the process that looks after a deployment's server.

It ends the server at SIGTERM, when its lease has run out, and after an hour without a request.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from phi_finetune.local.leash import leashed
from phi_finetune.local.processes import write_process
from phi_finetune.local.run_job import how_it_ended
from phi_finetune.local.server_folder import ServerFolder

__all__ = ["main"]

_LOOK_AGAIN_S: Final = 0.1
_COMES_UP_S: Final = 900.0
"""How long a model may take to load."""
_GRACE_S: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Look after a server until it ends.

    Args:
        arguments: The server's folder; None takes it from the command line.

    Returns:
        0 where it has ended; 1 where another process looks after it.
    """
    (path,) = sys.argv[1:] if arguments is None else arguments
    folder = ServerFolder(Path(path))
    lock = os.open(folder.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 1
    os.umask(0o077)
    told = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        told.set()

    signal.signal(signal.SIGTERM, end)
    folder.clear()
    folder.used.touch(mode=0o600)
    write_process(folder.process, os.getpid())
    _look_after(folder, told)
    return 0


def _look_after(folder: ServerFolder, told: threading.Event) -> None:
    try:
        server = _start(folder)
    except OSError as error:
        folder.tell("failed", f"the server cannot be started: {error.strerror}")
        return
    try:
        with leashed(server.pid):
            write_process(folder.serving, server.pid)
            if _comes_up(folder, server, told):
                folder.tell("ready")
                folder.tell("ended", _ends(folder, server, told))
    finally:
        _end(server)


def _start(folder: ServerFolder) -> subprocess.Popen[bytes]:
    what = folder.told()
    variables = {name: str(value) for name, value in what["variables"].items()}
    with open(folder.log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as log:
        return subprocess.Popen(
            [*what["command"], str(folder.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder.path,
            env={**os.environ, **variables},
            process_group=0,
        )


def _comes_up(folder: ServerFolder, server: subprocess.Popen[bytes], told: threading.Event) -> bool:
    until = time.monotonic() + _COMES_UP_S
    while not told.is_set():
        code = server.poll()
        if code is not None:
            folder.tell("failed", f"the server {how_it_ended(code)}{_last_lines(folder)}")
            return False
        if time.monotonic() > until:
            folder.tell(
                "failed", f"the server did not answer within {_COMES_UP_S:.0f} s{_last_lines(folder)}"
            )
            return False
        port = folder.port()
        if port is not None and _is_healthy(port):
            return True
        told.wait(_LOOK_AGAIN_S)
    folder.tell("ended", "it was told to end")
    return False


def _ends(folder: ServerFolder, server: subprocess.Popen[bytes], told: threading.Event) -> str:
    """Wait until it ends or should; why."""
    idle_s = float(folder.told()["idle_s"])
    while not told.wait(_LOOK_AGAIN_S):
        code = server.poll()
        if code is not None:
            return f"the server {how_it_ended(code)}{_last_lines(folder)}"
        if time.time() - folder.used.stat().st_mtime > idle_s:
            return f"nobody asked it anything for {idle_s:.0f} s"
        if folder.lease_ended(datetime.now(UTC)):
            return "its lease has run out"
    return "it was told to end"


def _end(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(_GRACE_S)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_lines(folder: ServerFolder) -> str:
    with suppress(OSError):
        lines = folder.log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        return "; its last lines: " + " | ".join(lines) if lines else "; it wrote nothing"
    return "; it wrote nothing"


if __name__ == "__main__":
    sys.exit(main())
