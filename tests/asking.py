"""Requests to an emulated cloud, as a client with a good token sends them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.identity.state import ARM_AUDIENCE

__all__ = ["Answer", "ask", "workspace_url"]


@dataclass(frozen=True)
class Answer:
    """What came back; ``body`` is the JSON in it, None where it is empty."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """The error's code."""
        return str(self.body["error"]["code"])

    @property
    def message(self) -> str:
        """The error's message."""
        return str(self.body["error"]["message"])


def ask(cloud: Cloud, method: str, url: str, body: object = None) -> Answer:
    """Send a request: to a whole URL, or to a path below the workspace's (``"computes/gpu"``)."""
    token, _ = cloud.identity.issue(ARM_AUDIENCE)
    sent = b"" if body is None else json.dumps(body).encode()
    where = url if url.startswith("https://") else workspace_url(cloud, url)
    answer = cloud.handle(Request(method, where, {"authorization": f"Bearer {token}"}, sent))
    return Answer(answer.status, json.loads(answer.body) if answer.body else None, answer.headers)


def workspace_url(cloud: Cloud, path: str) -> str:
    """The URL of a path below the workspace's."""
    separator = "&" if "?" in path else "?"
    return f"https://management.azure.com{cloud.workspace.id}/{path}{separator}api-version=2024-10-01"
