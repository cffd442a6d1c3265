"""Servers of the local engine as processes, asked over HTTP."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import requests
from local_workspaces import until

from phi_finetune.local import Programs

__all__ = ["KEY", "Running", "serving", "start"]

KEY = "a-key-of-the-server"


@attrs.define
class Running:
    """A server that runs."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{(self.folder / 'port').read_text()}"

    @property
    def log(self) -> str:
        """What it said so far."""
        return (self.folder / "log.txt").read_text()

    def post(self, path: str, body: Any, *, key: str = KEY, stream: bool = False) -> requests.Response:
        """Ask it, with its key or another."""
        return requests.post(
            self.url + path, json=body, headers={"Authorization": f"Bearer {key}"}, stream=stream, timeout=60
        )

    def chat(self, talk: list[dict[str, str]], *, stream: bool = False, **more: Any) -> requests.Response:
        """Ask it as OpenAI's clients do, always for the likeliest token."""
        body = {"messages": talk, "temperature": 0, "max_tokens": 24, "stream": stream, **more}
        return self.post("/v1/chat/completions", body, stream=stream)

    def answer(self, question: str, **more: Any) -> str:
        """The text that it answers a question with."""
        told = self.chat([{"role": "user", "content": question}], **more)
        assert told.ok, told.text
        text: str = told.json()["choices"][0]["message"]["content"]
        return text

    def healthy(self) -> bool:
        """Whether it has come up."""
        assert self.process.poll() is None, self.log
        return (self.folder / "port").exists() and requests.get(self.url + "/health", timeout=60).ok


def start(folder: Path, model: Path, at_a_time: int = 8, timeout: str = "PT60S") -> Running:
    """Start the program, as the process that looks after a server does."""
    folder.mkdir()
    (folder / "model").symlink_to(model)
    settings = {"maxConcurrentRequestsPerInstance": at_a_time, "requestTimeout": timeout}
    (folder / "server.json").write_text(json.dumps({"deployment": "blue", "key": KEY, "settings": settings}))
    with (folder / "log.txt").open("ab") as log:
        command = [*Programs().server, str(folder)]
        return Running(folder, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))


@contextmanager
def serving(folder: Path, model: Path, at_a_time: int = 8, timeout: str = "PT60S") -> Iterator[Running]:
    """A server that has come up, killed at the end of the block."""
    running = start(folder, model, at_a_time, timeout)
    try:
        until(running.healthy)
        yield running
    finally:
        running.process.kill()
        running.process.wait()
