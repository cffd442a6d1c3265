"""The folder of a deployment's server: what is agreed between who starts it, who looks after it, and the server.

::

    server.json    endpoint, deployment, model, key, variables, settings, instances,
                  command, idle_s, lease_until (ISO or null)
    model/         the files of the model
    port           written by the server once it listens on 127.0.0.1: the port's number
    log.txt        what the server wrote to its standard output and error
    state.json     {"state": "ready" | "failed" | "ended", "why": ...}, written by who looks after it
    used           touched at each request: by the endpoint, and by the server, which may be asked directly
    process.json, serving.json    which processes these are

A server is a program: ``COMMAND FOLDER``. It listens on 127.0.0.1 alone, answers ``GET /health`` with 200 once the
model is loaded, takes ``POST /score`` and ``POST /v1/chat/completions``, and refuses what does not carry
``Authorization: Bearer KEY``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from phi_finetune.emulator.runners.engine import Server
from phi_finetune.local.contents import private_folder, put_files, write_whole
from phi_finetune.local.programs import Programs

__all__ = ["ServerFolder", "State"]

_LEASE: Final = "phi-finetune.lease-until"

State = Literal["ready", "failed", "ended"]


@attrs.frozen
class ServerFolder:
    """The folder of one server.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def exists(self) -> bool:
        """Whether the server was prepared."""
        return (self.path / "server.json").exists()

    @property
    def process(self) -> Path:
        """The file that names the process that looks after the server."""
        return self.path / "process.json"

    @property
    def serving(self) -> Path:
        """The file that names the server's own process."""
        return self.path / "serving.json"

    @property
    def log(self) -> Path:
        """What the server has written."""
        return self.path / "log.txt"

    @property
    def used(self) -> Path:
        """The file that is touched at each request."""
        return self.path / "used"

    def prepare(self, server: Server, programs: Programs) -> None:
        """Write down what is to be served; all of it, or the folder is not there."""
        making = self.path.with_name(f".making-{self.path.name}-{os.getpid()}")
        private_folder(making)
        try:
            (making / "model").mkdir(mode=0o700)
            put_files(server.files, making / "model")
            told = {
                "endpoint": server.endpoint,
                "deployment": server.deployment,
                "model": server.model,
                "key": secrets.token_urlsafe(32),
                "variables": dict(server.variables),
                "settings": dict(server.settings),
                "instances": server.instances,
                "command": list(programs.server),
                "idle_s": programs.idle.total_seconds(),
                "lease_until": server.tags.get(_LEASE),
            }
            write_whole(making / "server.json", json.dumps(told, indent=1).encode())
            os.rename(making, self.path)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    def told(self) -> dict[str, Any]:
        """What ``server.json`` says."""
        value: dict[str, Any] = json.loads((self.path / "server.json").read_bytes())
        return value

    def lease(self, until: str | None) -> None:
        """Let the lease end at another time."""
        told = self.told()
        if told["lease_until"] != until:
            write_whole(
                self.path / "server.json", json.dumps({**told, "lease_until": until}, indent=1).encode()
            )

    def lease_ended(self, now: datetime) -> bool:
        """Whether its lease has run out."""
        until = self.told()["lease_until"]
        try:
            return until is not None and datetime.fromisoformat(until) <= now
        except (TypeError, ValueError):
            return False

    def state(self) -> tuple[State | None, str]:
        """What became of it, and why; nothing while it comes up."""
        try:
            told = json.loads((self.path / "state.json").read_bytes())
        except FileNotFoundError:
            return None, ""
        return told["state"], told["why"]

    def tell(self, state: State, why: str = "") -> None:
        """Write down what became of it."""
        write_whole(self.path / "state.json", json.dumps({"state": state, "why": why}).encode())

    def port(self) -> int | None:
        """The port that it listens on; None before it does."""
        try:
            return int((self.path / "port").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def clear(self) -> None:
        """Forget how it went the last time."""
        for name in ("state.json", "port", "process.json", "serving.json"):
            (self.path / name).unlink(missing_ok=True)
