"""What stands for the real service: answers that a test has made up, beneath everything that looks at requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.doors.sending import Onward, Place, Sending, layered
from phi_finetune.testing import Recording, Replay

__all__ = ["ARM", "SUBSCRIPTION", "WORKSPACE", "Service", "answered", "recorded", "replayed"]

SUBSCRIPTION = "6f1c2a90-1b2c-4d3e-8f40-a1b2c3d4e5f6"
WORKSPACE = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/contoso-group/providers/"
    "Microsoft.MachineLearningServices/workspaces/contoso-lab"
)
ARM = f"https://management.azure.com{WORKSPACE}"


class Service:
    """Gives its answers one after the other, and keeps what it was asked."""

    def __init__(self, *answers: Response) -> None:
        self._answers = list(answers)
        self.asked: list[Request] = []

    @contextmanager
    def open(self) -> Iterator[Service]:
        """A context in which requests to Azure's hosts come here."""
        with layered(Place.CLOUDS, self._answer):
            yield self

    def _answer(self, sending: Sending, onward: Onward) -> requests.Response:
        self.asked.append(sending.asked)
        return sending.response(self._answers.pop(0))


def answered(
    content: object,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    kind: str = "application/json",
) -> Response:
    """An answer: of bytes as they are, of anything else as JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Response(status, {"Content-Type": kind, **(headers or {})}, body)


def recorded(
    folder: Path,
    *exchanges: tuple[str, str, Response],
    sent: Any = None,
    headers: Mapping[str, str] | None = None,
    **options: Any,
) -> str:
    """Record requests ``(method, URL, answer)`` one after the other; the text of the file."""
    path = folder / "recording.json"
    service = Service(*(answer for _, _, answer in exchanges))
    with service.open(), Recording(path, overwrite=True, **options):
        for method, url, _ in exchanges:
            requests.request(method, url, json=sent, headers=dict(headers or {}), timeout=5)
    return path.read_text(encoding="utf-8")


def replayed(folder: Path, method: str, path: str, **options: Any) -> requests.Response:
    """Ask a replay of that file for a path below the workspace's."""
    with Replay(folder / "recording.json") as replay:
        home = (
            f"/subscriptions/{replay.subscription_id}/resourceGroups/{replay.resource_group}/providers/"
            f"Microsoft.MachineLearningServices/workspaces/{replay.workspace_name}"
        )
        return requests.request(method, f"https://management.azure.com{home}{path}", timeout=5, **options)
