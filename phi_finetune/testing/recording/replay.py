"""Answering from a recording."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from requests.models import Response as RequestsResponse

from phi_finetune.emulator.core.clock import Clock
from phi_finetune.emulator.core.faults import (
    AnswerNeverCame,
    NoAnswerInTime,
    NobodyListens,
    NoConnectionInTime,
)
from phi_finetune.emulator.core.http import Response
from phi_finetune.emulator.doors.failures import failure, limit_s
from phi_finetune.emulator.doors.inprocess import owned
from phi_finetune.emulator.doors.sending import Onward, Place, Sending, layered
from phi_finetune.emulator.doors.shut import AZURE_IS_SHUT
from phi_finetune.testing.credential import FakeCredential
from phi_finetune.testing.recording.contents import as_bytes
from phi_finetune.testing.recording.exchange import Answered, Exchange
from phi_finetune.testing.recording.file import load
from phi_finetune.testing.recording.placeholders import TOKEN, guid
from phi_finetune.testing.recording.player import NotRecorded, Player
from phi_finetune.testing.streaming import STREAMING_AT_ONCE
from phi_finetune.testing.transport import registry_client, workspace_client

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from phi_finetune.workspace import Workspace

__all__ = ["Replay"]

_FAR_FUTURE = 4_102_444_800
_LOSSES: dict[str, type[AnswerNeverCame | NobodyListens]] = {
    "connection refused": NobodyListens,
    "no connection in time": NoConnectionInTime,
    "connection lost": AnswerNeverCame,
    "no answer in time": NoAnswerInTime,
}
_WHOLE = re.compile(r"bytes 0-(\d+)/(\d+)")
"""A range that is all there is."""


class Replay:
    """Gives the answers of a :class:`Recording`, with no account and no network.

    Within the ``with`` block every request of Python's ``requests`` to Azure's hosts is answered from the file, but
    those of an open :class:`~phi_finetune.testing.FakeAzure`; none leaves the machine. The answers come in
    their order for each method and URL, and the last answer to a read is given again. Names that a client makes up
    anew each time, such as a job's, may differ from the recorded ones. What the file does not have (SAS, keys,
    logs, answers of endpoints) is replaced by something of the same kind or size. Where several replays are open,
    the last one opened answers.

    The block ends with :class:`NotRecorded` if a request had no answer, even where the code under test went on.

    Args:
        path: The file that a recording wrote.

    Attributes:
        credential: A credential that every client of Azure's takes.
        clock: The replay's time, on which pauses of its clients pass at once. It starts when the recording did.
        subscription_id: The placeholder of the subscription's id.
        resource_group: The name of the resource group: a placeholder, if the recording keeps no names.
        workspace_name: The same of the workspace.
        tenant_id: The placeholder of the tenant's id, for ``azure.identity.ClientSecretCredential``, where the
            recording has a sign-in.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no recording, of another format, or of a recording that broke off.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        written = load(self._path)
        self.subscription_id = written.home.subscription_id
        self.resource_group = written.home.resource_group
        self.workspace_name = written.home.workspace_name
        self.tenant_id = written.home.tenant_id
        self.clock = Clock(written.recorded)
        self._tokens = _Tokens(self.tenant_id)
        self.credential = FakeCredential(self._tokens)
        self._player = Player(written.exchanges)
        self._refused: list[NotRecorded] = []
        self._layers = ExitStack()
        self._open = False

    def __enter__(self) -> Replay:
        if self._open:
            raise RuntimeError("This Replay is open already.")
        for context in (STREAMING_AT_ONCE, AZURE_IS_SHUT, layered(Place.REPLAYING, self._answer)):
            self._layers.enter_context(context)
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._layers.close()
        missed = [refusal for refusal in self._refused if refusal is not error]
        if error is not None:
            for refusal in missed:
                error.add_note(f"Replay: {refusal}")
        elif missed:
            raise missed[0]

    @property
    def unused(self) -> Sequence[Exchange]:
        """What was recorded and has not been asked for."""
        return self._player.unused

    def ml_client(self, registry_name: str | None = None) -> MLClient:
        """A real ``azure.ai.ml.MLClient`` for the workspace, or for a registry such as ``"azureml"``.

        Its pauses between retries and polls pass on :attr:`clock`. It sends no telemetry.
        """
        self._require_open()
        if registry_name is not None:
            return registry_client(self.credential, self.clock, registry_name)
        names = (self.subscription_id, self.resource_group, self.workspace_name)
        return workspace_client(self.credential, self.clock, *names)

    def workspace(self) -> Workspace:
        """A connected :class:`phi_finetune.Workspace`, whose waits take their time from :attr:`clock`."""
        self._require_open()
        from phi_finetune.workspace import Workspace

        return Workspace.connect(
            subscription_id=self.subscription_id,
            resource_group=self.resource_group,
            workspace_name=self.workspace_name,
            credential=self.credential,
            clock=self.clock,
        )

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError(
                "This Replay is not open: its clients would ask the real Azure. Use it in its with block."
            )

    def _answer(self, sending: Sending, onward: Onward) -> RequestsResponse:
        asked = sending.asked
        if owned(asked):
            return onward()
        try:
            exchange = self._player.next(asked)
        except NotRecorded as refusal:
            self._refused.append(refusal)
            raise
        if exchange.answered is not None:
            answer = self._response(exchange.answered)
            return sending.response(answer, broken=exchange.answered.cut_off)
        lost = _LOSSES[exchange.lost or "connection lost"]()
        limit = limit_s(lost, sending.timeout)
        self.clock.sleep(limit or 0)
        raise failure(lost, asked, sending.request, limit) from lost

    def _response(self, answered: Answered) -> Response:
        renamed = self._player.renamed
        body = as_bytes(answered.body)
        if not {"data", "base64"} & answered.body.keys():
            text = TOKEN.sub(lambda found: self._tokens.issue(found[1])[0], body.decode())
            body = renamed.to_asked(text).encode()
        headers = {name: renamed.to_asked(value) for name, value in answered.headers.items()}
        _fit_range(headers, len(body))
        return Response(answered.status, headers, body)


class _Tokens:
    """Makes tokens of the form that clients read (wire.md 2): JWTs that no service takes."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id

    def issue(self, audience: str) -> tuple[str, int]:
        claims = {
            "aud": audience or "https://management.azure.com",
            "exp": _FAR_FUTURE,
            "iss": f"https://sts.windows.net/{self._tenant_id}/",
            "oid": guid(0),
            "tid": self._tenant_id,
            "ver": "1.0",
        }
        return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}.cmVwbGF5", _FAR_FUTURE


def _part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _fit_range(headers: dict[str, str], size: int) -> None:
    """Let the range of a whole body be that of the body as it is now: a placeholder may be longer than a name."""
    name = next((name for name in headers if name.lower() == "content-range"), "")
    found = _WHOLE.fullmatch(headers.get(name, ""))
    if found and size and int(found[1]) + 1 == int(found[2]):
        headers[name] = f"bytes 0-{size - 1}/{size}"
