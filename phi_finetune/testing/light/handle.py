"""The handle behind a light fake: it calls the emulator where the real one sends requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from phi_finetune._azure.client import Client
from phi_finetune._azure.rest import Answer, Rest
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.http import Request
from phi_finetune.errors import ConfigurationError
from phi_finetune.testing.light.runner import ScriptedRunner

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

    from phi_finetune._azure.hosts import Hosts
    from phi_finetune._azure.transport import Transport
    from phi_finetune.events import Event
    from phi_finetune.protocols import TokenTransport, Try

__all__ = ["LightClient"]

_SEED: Final = 0
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""No real client compares times with these, so every run can be the same."""


class LightClient(Client):
    """A handle on a cloud of its own. Nothing is imported from azure, and nothing is sent.

    Args:
        workspace_name: The workspace.

    Attributes:
        runner: What its jobs do, and what its models answer.
    """

    def __init__(self, workspace_name: str) -> None:
        self.runner = ScriptedRunner()
        self._cloud = Cloud(Settings(workspace=workspace_name, seed=_SEED, start=_START), self.runner)
        super().__init__(
            subscription_id=self._cloud.subscription_id,
            resource_group=self._cloud.settings.resource_group,
            workspace_name=workspace_name,
            credentials=_NoWire(),
            retries=_NoWire(),
            clock=self._cloud.clock,
            notify=_hear_nothing,
        )

    def store(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Put files into a folder of the workspace's default datastore."""
        for name, data in files.items():
            self._cloud.storage.put(f"{folder}/{name}", data)

    def for_leaving(self, *, quiet: bool = False, limited: bool = False) -> LightClient:
        """The same handle: nothing is lost between it and its cloud, and nobody hears of events."""
        return self

    def _build_rest(self) -> Rest:
        return _LightRest(self._cloud, self.hosts)

    def _build_transport(self) -> Transport:
        raise _without_wire()

    def _build_ml_client(self) -> MLClient:
        raise _without_wire()


class _LightRest(Rest):
    """Gives each request to a cloud, as its one user."""

    def __init__(self, cloud: Cloud, hosts: Hosts) -> None:
        self._cloud = cloud
        self._hosts = hosts

    def send(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        scope: str | None = None,
    ) -> Answer:
        """Give one request to the cloud."""
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if signed and "authorization" not in sent:
            audience = (scope or self._hosts.scope_for(url)).removesuffix("/.default")
            token, _ = self._cloud.identity.issue(audience)
            sent["authorization"] = f"Bearer {token}"
        data = (content or b"") if body is None else json.dumps(body).encode()
        answer = self._cloud.handle(Request(method, url, sent, data))
        lower = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, lower, answer.body, f"{method} {url.partition('?')[0]}")


class _NoWire:
    """Signs in nowhere, and sends nothing again."""

    def credential(self, transport: TokenTransport | None = None) -> TokenCredential:
        raise _without_wire()

    def wait_s(self, failed: Try) -> float | None:
        return None


def _without_wire() -> ConfigurationError:
    return ConfigurationError(
        "A light fake has no connection, and no client of Azure's",
        next_call="use phi_finetune.testing.FakeAzure, which answers the real clients",
    )


def _hear_nothing(event: Event) -> None:
    return None
