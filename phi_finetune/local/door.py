"""The door of a local workspace: what its own transport sends is answered here, and nothing else of the process."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import attrs
from requests import Session
from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest
from requests.models import Response as RequestsResponse

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.http import Forwarded, Response, json_answer
from phi_finetune.emulator.doors.sending import Sending
from phi_finetune.emulator.runners.runner import Runner
from phi_finetune.emulator.storage.blobs import Contents
from phi_finetune.errors import MissingDependency
from phi_finetune.local.folder import Folder
from phi_finetune.local.machine import this_machine
from phi_finetune.local.programs import Programs
from phi_finetune.local.run_folder import tracking_uri
from phi_finetune.local.runner import Processes
from phi_finetune.local.servers import NoServer
from phi_finetune.testing.credential import FakeCredential

if TYPE_CHECKING:
    from phi_finetune.local.preflight import LocalPreflight
    from phi_finetune.protocols import Clock

__all__ = [
    "Door",
    "MachinesTime",
    "Servers",
    "door_of",
    "folder_of",
    "open_local",
    "servers_of",
    "session_of",
]

_LOOK_AGAIN_S = 0.05


class Servers(Protocol):
    """What reaches the servers of deployments."""

    def ask(self, server: str, request: PreparedRequest, *, stream: bool, timeout: Any) -> RequestsResponse:
        """The server's own answer.

        Raises:
            NoServer: There is none.
        """
        ...

    def reach(self, server: str, within_s: float) -> tuple[str, str]:
        """Where a server listens, and its key, once it is up.

        Raises:
            NotYet: It is not up by then.
            NoServer: There is none.
        """
        ...


@attrs.frozen
class Door:
    """What a connection to a local workspace is made of.

    Attributes:
        subscription_id: The subscription that the folder stands for.
        resource_group: Its resource group.
        workspace_name: Its workspace.
        credential: Gives the folder's own tokens; nobody signs in.
        session: Answers what is sent through it, out of the folder.
        clock: Where waits take their time from.
        tracking_uri: Where MLflow finds the runs of its jobs.
        preflight: Checks what is to be trained before it is submitted; None where nothing really trains, or a
            program does that this library does not know.
    """

    subscription_id: str
    resource_group: str
    workspace_name: str
    credential: FakeCredential = attrs.field(repr=False)
    session: Session = attrs.field(repr=False)
    clock: Clock = attrs.field(repr=False)
    tracking_uri: str
    preflight: LocalPreflight | None = None


def open_local(folder: Path, runner: Runner | Programs | None) -> Door:
    """Open a folder.

    Args:
        folder: The folder.
        runner: What makes its jobs up, and then its time is its own and passes when somebody waits; or the programs
            that do them, by the machine's time.

    Raises:
        ConfigurationError: It cannot be used.
        MissingDependency: The extra ``[local]`` is not installed, and nothing else is named.
    """
    if runner is None and find_spec("torch") is None:
        raise MissingDependency(
            "A local workspace trains and serves with torch, which is not installed",
            resource=f"folder {folder}",
            next_call="pip install 'phi-finetune[local]', or name a runner: Workspace.local(folder, runner=...)",
        )
    if runner is None or isinstance(runner, Programs):
        return _open_real(folder, runner or Programs())
    return _open_simulated(folder, runner)


def _open_real(folder: Path, programs: Programs) -> Door:
    processes = Processes(folder.absolute(), programs)

    def make(settings: Settings, contents: Contents) -> Cloud:
        real = replace(settings, progression="live", machine=this_machine())
        return Cloud(real, engine=processes, contents=contents)

    opened = Folder(folder, make, kind="processes", owner=processes)
    opened.look_after()
    door = door_of(opened, MachinesTime(opened), processes)
    if programs.step != Programs().step:
        return door
    from phi_finetune.local.preflight import LocalPreflight

    return attrs.evolve(door, preflight=LocalPreflight(opened))


def _open_simulated(folder: Path, runner: Runner) -> Door:
    def make(settings: Settings, contents: Contents) -> Cloud:
        return Cloud(settings, runner, contents=contents)

    opened = Folder(folder, make, kind="a simulation")
    return door_of(opened, _FoldersTime(opened))


def door_of(folder: Folder, clock: Clock, servers: Servers | None = None) -> Door:
    """The door of an open folder."""
    cloud = folder.cloud
    return Door(
        cloud.subscription_id,
        cloud.settings.resource_group,
        cloud.workspace.name,
        FakeCredential(folder),
        session_of(folder, servers),
        clock,
        tracking_uri(folder.path),
    )


def folder_of(session: Session | None) -> Folder | None:
    """The folder that a session answers out of; None for one that asks Azure."""
    adapter = _adapter_of(session)
    return None if adapter is None else adapter.folder


def servers_of(session: Session | None) -> Servers | None:
    """What reaches the servers of the folder that a session answers out of; None where it has no servers."""
    adapter = _adapter_of(session)
    return None if adapter is None else adapter.servers


def _adapter_of(session: Session | None) -> _Adapter | None:
    adapter = None if session is None else session.get_adapter("https://")
    return adapter if isinstance(adapter, _Adapter) else None


def session_of(folder: Folder, servers: Servers | None = None) -> Session:
    """A session of ``requests`` that sends nothing anywhere: the folder answers."""
    session = Session()
    session.trust_env = False
    adapter = _Adapter(folder, servers)
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)
    return session


class _Adapter(HTTPAdapter):
    """Answers out of a folder what ``requests`` would send."""

    def __init__(self, folder: Folder, servers: Servers | None) -> None:
        super().__init__()
        self.folder = folder
        self.servers = servers

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> RequestsResponse:
        """The folder's answer; the options are for networks, and there is none."""
        sending = Sending(self, request, timeout)
        answer = self.folder.handle(sending.asked)
        if isinstance(answer, Forwarded) and self.servers is not None:
            return self._forwarded(sending, answer, stream=stream)
        return sending.response(answer)

    def _forwarded(self, sending: Sending, answer: Forwarded, *, stream: bool) -> RequestsResponse:
        assert self.servers is not None
        try:
            given = self.servers.ask(answer.server, sending.request, stream=stream, timeout=sending.timeout)
        except NoServer as none:
            error = {
                "error": {
                    "code": "not_found" if none.status == 404 else "ServiceUnavailable",
                    "message": str(none),
                }
            }
            return sending.response(json_answer(none.status, error, answer.headers))
        given.headers.update(answer.headers)
        # Too many requests at once, and one that took too long, are what the endpoint itself says (Azure's page on
        # troubleshooting online endpoints).
        if given.status_code in (200, 408, 429):
            return given
        # The endpoint's own status for whatever its container answers (pain.md, Q5).
        told = {
            "ms-azureml-model-error-statuscode": str(given.status_code),
            "ms-azureml-model-error-reason": given.reason or "",
        }
        headers = {**answer.headers, **told, "Content-Type": given.headers.get("Content-Type", "text/plain")}
        return sending.response(Response(424, headers, given.content))


class _FoldersTime:
    """The time of a folder whose jobs are made up: pauses move it, at once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def monotonic(self) -> float:
        return self._folder.cloud.clock.monotonic()

    def sleep(self, seconds: float) -> None:
        self._folder.pass_time(seconds)


class MachinesTime:
    """The machine's time. A pause ends early where something has come of a job or a server.

    Args:
        folder: Whose jobs and servers.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._never = threading.Event()

    def monotonic(self) -> float:
        """Seconds since some time in the past."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until there are news."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._folder.news():
            self._never.wait(min(left, _LOOK_AGAIN_S))
