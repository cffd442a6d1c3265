"""The servers of a folder's deployments: which run, how they are asked, and how they end."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from requests import Session
from requests.models import PreparedRequest
from requests.models import Response as RequestsResponse

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.runners.engine import Report, ServerReport
from phi_finetune.emulator.runners.runner import Failure
from phi_finetune.local.processes import alone, read_process, spawn, started_here
from phi_finetune.local.programs import PYTHON, Programs
from phi_finetune.local.server_folder import ServerFolder

__all__ = ["NoServer", "NotYet", "Servers"]

_CRASHED: Final = "UserContainerCrashed"
"""Assumed: the service names the crash of a container in several ways."""
_LEASE: Final = "phi-finetune.lease-until"
_LOOK_AGAIN_S: Final = 0.05
_COMES_BACK_S: Final = 120.0
_BEGINS_S: Final = 30.0
"""How long the process that looks after a server may take to begin."""
_ENDS_S: Final = 2.0
"""How long a server may take to end by itself."""


class NoServer(Exception):
    """A deployment has no server that could answer: the status that says it, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class NotYet(NoServer):
    """The server is still coming up."""


class Servers:
    """The servers of a folder.

    Args:
        folder: Where their folders are.
        programs: What a server is.
    """

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._folder = folder
        self._programs = programs
        self._started: dict[str, int] = {}
        self._session = Session()
        self._session.trust_env = False
        self._never = threading.Event()

    def log(self, server: str) -> str:
        """What a server has written."""
        try:
            return self._of(server).log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def reports(self, cloud: Cloud) -> list[Report]:
        """Which servers that the cloud waits for have come up, or will not."""
        waiting = (one for one in cloud.endpoints.deployments() if one.operation.status == "InProgress")
        found = (self._report(one.server_id) for one in waiting if one.server_id and not one.gone)
        return [report for report in found if report is not None]

    def bring_about(self, cloud: Cloud) -> None:
        """Start the servers that should run, and end the others."""
        wanted = {server.id: server for server in cloud.endpoints.servers()}
        for server in wanted.values():
            folder = self._of(server.id)
            if not folder.exists:
                folder.prepare(server, self._programs)
            folder.lease(server.tags.get(_LEASE))
            if read_process(folder.process) is None:
                self._start(server.id)
        if self._folder.exists():
            for path in self._folder.iterdir():
                if not path.name.startswith(".") and path.name not in wanted:
                    self._end(path.name)

    def ask(self, server: str, request: PreparedRequest, *, stream: bool, timeout: Any) -> RequestsResponse:
        """A server's own answer. One that has ended for want of requests, or by itself, comes up again first.

        Raises:
            NoServer: It does not, or may not since its lease has run out.
        """
        url, key = self.reach(server)
        own = request.copy()
        own.url = url + (request.path_url or "/").partition("?")[0]
        own.headers.pop("Host", None)
        own.headers["Authorization"] = f"Bearer {key}"
        return self._session.send(own, allow_redirects=False, stream=stream, timeout=timeout)

    def reach(self, server: str, within_s: float = _COMES_BACK_S) -> tuple[str, str]:
        """Where a server listens, and its key. One that has ended comes up again first; its idle time begins anew.

        Args:
            server: The server's id.
            within_s: How long it may take to come up, in seconds.

        Raises:
            NotYet: It is not up by then.
            NoServer: It does not come up, or may not since its lease has run out.
        """
        folder = self._of(server)
        if not folder.exists:
            raise NoServer(404, "The deployment's server is not there any more.")
        self._wake(server, folder, within_s)
        with suppress(FileNotFoundError):
            os.utime(folder.used)
        return f"http://127.0.0.1:{folder.port()}", folder.told()["key"]

    def _of(self, server: str) -> ServerFolder:
        return ServerFolder(self._folder / server)

    def _report(self, server: str) -> ServerReport | None:
        folder = self._of(server)
        state, why = folder.state()
        if state == "ready":
            return ServerReport(server)
        if state is not None:
            return ServerReport(server, Failure(_CRASHED, f"The server did not come up: {why}."))
        process = read_process(folder.process)
        if process is not None and process.alive:
            return None
        if process is None and (server not in self._started or started_here(self._started[server])):
            return None
        if folder.state()[0] is not None or (process is None and read_process(folder.process) is not None):
            return None  # It has just told; the next look sees it.
        return ServerReport(server, Failure(_CRASHED, "The process that looked after the server was killed."))

    def _start(self, server: str) -> None:
        folder = self._of(server)
        if not started_here(self._started.get(server, 0)):
            command = [*PYTHON, "phi_finetune.local.run_server", str(folder.path)]
            self._started[server] = spawn(command, log=folder.path / "run_server.txt")

    def _end(self, server: str) -> None:
        """End a server that should not be there, and remove its folder once it is gone."""
        folder = self._of(server)
        process, serving = read_process(folder.process), read_process(folder.serving)
        if process is not None:
            process.tell(signal.SIGTERM)
            self._wait(lambda: not process.alive, _ENDS_S)
            process.kill_group()
        elif started_here(self._started.get(server, 0)):
            os.kill(self._started[server], signal.SIGKILL)
        if serving is not None:
            serving.kill_group()
        shutil.rmtree(folder.path, ignore_errors=True)

    def _wake(self, server: str, folder: ServerFolder, within_s: float) -> None:
        with alone(folder.path / "waking"):
            self._bring_up(server, folder)
        # Everybody waits for as long as they may, and nobody for somebody else who waits.
        self._wait(lambda: folder.state()[0] is not None, within_s)
        state, why = folder.state()
        if state is None:
            raise NotYet(503, "The deployment's server does not run: it is still coming up.")
        if state != "ready":
            raise NoServer(503, f"The deployment's server does not run: {why}.")

    def _bring_up(self, server: str, folder: ServerFolder) -> None:
        """Start a server that does not run, and do not wait until it answers."""
        if folder.state()[0] == "ended":
            self._wait(lambda: not _alive(folder.process), _ENDS_S)
        serving, process = read_process(folder.serving), read_process(folder.process)
        up = folder.state()[0] == "ready" and serving is not None and serving.alive
        if up and process is not None and process.alive:
            return
        if folder.state()[1] == "its lease has run out":
            raise NoServer(404, "The lease of the deployment's server has run out.")
        if serving is not None and (process is None or not process.alive):
            serving.kill_group()  # Nobody looks after it any more.
        if process is None or not process.alive:
            folder.clear()
            self._start(server)
            # Until it says so, another one would take it for one that does not run.
            self._wait(lambda: _alive(folder.process) or folder.state()[0] is not None, _BEGINS_S)

    def _wait(self, done: Callable[[], bool], limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while not done() and time.monotonic() < until:
            self._never.wait(_LOOK_AGAIN_S)


def _alive(file: Path) -> bool:
    process = read_process(file)
    return process is not None and process.alive
