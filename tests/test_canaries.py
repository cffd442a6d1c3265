"""Whatever goes wrong, no token, key, signature, row or prompt is told (reliability.md S1 to S3)."""

from __future__ import annotations

import base64
import pickle
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from canaries import Canaries, Records, all_records, everything, forms, told_by
from tuning import PROMPT, Heard, data, deployed, finetune, trained

import phi_finetune as pf
from phi_finetune._tags import parse_literal
from phi_finetune.events import describe
from phi_finetune.retries import NoRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import (
    Answer,
    AnswerLost,
    ExpiredToken,
    HalfBody,
    RequestFault,
    Silence,
    Unreachable,
)
from phi_finetune.testing.proxy import ProxyDoor

Call = Callable[[pf.Workspace, pf.Endpoint, Path], object]

CALLS: dict[str, tuple[str, Call]] = {
    "list": ("GET */jobs", lambda ws, endpoint, folder: ws.jobs()),
    "workspace": ("GET */workspaces/*", lambda ws, endpoint, folder: ws.gpu_skus()),
    "submit": ("PUT */jobs/*", lambda ws, endpoint, folder: finetune(ws).submit()),
    "upload": ("PUT *.blob.core.windows.net/*", lambda ws, endpoint, folder: finetune(ws).submit()),
    "register data": ("PUT */data/*", lambda ws, endpoint, folder: ws.register_data(data())),
    "data in the store": (
        "PUT *.blob.core.windows.net/*",
        lambda ws, endpoint, folder: ws.register_data(data()),
    ),
    "download data": (
        "GET *.blob.core.windows.net/*",
        lambda ws, endpoint, folder: ws.data_asset("kept").download(folder),
    ),
    "store": ("POST */listsecrets", lambda ws, endpoint, folder: finetune(ws).submit()),
    "keys": ("POST */listkeys", lambda ws, endpoint, folder: endpoint.keys()),
    "key": ("POST */listkeys", lambda ws, endpoint, folder: endpoint.chat(PROMPT)),
    "chat": ("POST */score", lambda ws, endpoint, folder: endpoint.chat(PROMPT)),
    "score": ("POST */score", lambda ws, endpoint, folder: endpoint.score({"input_data": PROMPT})),
    "many": ("POST */score", lambda ws, endpoint, folder: list(endpoint.chat_many([PROMPT, PROMPT]))),
    "log": ("GET *.blob.core.windows.net/*", lambda ws, endpoint, folder: ws.job("tune").logs()),
    "follow": ("GET *.blob.core.windows.net/*", lambda ws, endpoint, folder: list(ws.job("tune").events())),
    "download": (
        "GET *.blob.core.windows.net/*",
        lambda ws, endpoint, folder: ws.model("facts").download(folder),
    ),
    "metrics": ("GET */mlflow/*", lambda ws, endpoint, folder: ws.job("tune").metrics()),
    "delete": ("DELETE */onlineEndpoints/*", lambda ws, endpoint, folder: endpoint.delete()),
}


def faults(on: str) -> Iterator[RequestFault]:
    """What may go wrong with a request."""
    yield from (Answer(on, status) for status in (403, 409, 429, 500, 503))
    yield Answer(on, 429, headers={"Retry-After": "7"})
    yield from (ExpiredToken(on), Unreachable(on), AnswerLost(on), AnswerLost(on, applied=False))
    yield from (Silence(on), Silence(on, after="connect"), HalfBody(on, "half-json"), HalfBody(on, "cut"))


@pytest.fixture
def records() -> Iterator[Records]:
    """Everything that is logged meanwhile."""
    with all_records() as records:
        yield records


@pytest.mark.parametrize("name", CALLS)
def test_nothing_secret_is_told(
    name: str, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by an error, its traceback with variables and its pickle, a log, an event, a warning or an object."""
    on, call = CALLS[name]
    for number, fault in enumerate(faults(on)):
        with FakeAzure() as azure, warnings.catch_warnings(record=True) as warned:
            canaries, heard = Canaries(azure), Heard()
            monkeypatch.setattr(azure.cloud, "handle", canaries.listening(azure.cloud.handle))
            workspace = azure.workspace(on_event=heard, retries=NoRetries())
            endpoint = deployed(azure, workspace)
            endpoint.chat(PROMPT)
            asset = workspace.register_data(data("kept"))
            if name == "key":
                endpoint = azure.workspace(on_event=heard, retries=NoRetries()).endpoint(endpoint.name)
            azure.faults.at_rate(1, kinds=[fault])
            try:
                call(workspace, endpoint, tmp_path / str(number))
                told = []
            except pf.PhiFinetuneError as error:
                told = told_by(error)
            azure.faults.stop()
            told += [describe(event) for event in heard] + [str(warning.message) for warning in warned]
            for thing in (workspace, endpoint, asset, workspace.job("tune"), workspace.model("facts")):
                told += [repr(thing), str(thing), pickle.dumps(thing).decode("latin-1"), *everything(thing)]
            assert len(canaries.secrets()) >= 3
            assert canaries.seen_in([*told, *records.texts]) == [], fault
            records.texts.clear()


def test_nothing_secret_is_logged_over_a_real_socket(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There urllib3 logs each request with its URL, signature and all, unless that is left out."""
    with FakeAzure() as azure:
        trained(azure, azure.workspace())
    cloud = azure.cloud
    canaries = Canaries(azure)
    monkeypatch.setattr(cloud, "handle", canaries.listening(cloud.handle))
    with ProxyDoor(cloud) as door:
        for name, value in door.environment().items():
            monkeypatch.setenv(name, value)
        workspace = pf.Workspace.connect(
            subscription_id=cloud.subscription_id,
            resource_group=cloud.settings.resource_group,
            workspace_name=cloud.settings.workspace,
            clock=cloud.clock,
        )
        assert workspace.job("tune").logs()
        assert workspace.model("facts").download(tmp_path / "facts").is_dir()
    # Another library, once it is loaded, leaves signatures out of every record too, and writes so in brackets.
    assert [text for text in records.texts if re.search(r"sig=\[?REDACTED", text)]
    assert canaries.seen_in(records.texts) == []


@pytest.mark.parametrize("secret", ["0123456789abcdefghijklmn", "a/b+c=d e&f/b+c=d e&"])
def test_a_secret_is_found_in_each_of_its_forms(secret: str) -> None:
    """As it is, by halves, in a URL, and in base64 wherever it stands in what was encoded."""
    found = set(forms(secret))
    assert {secret, quote(secret, safe="")} <= found
    for before in range(6):
        text = base64.b64encode(b"?" * before + secret.encode() + b"...").decode()
        assert any(form in text for form in found)
    assert len(secret) < 24 or {secret[:12], secret[12:]} <= found


def test_variables_are_looked_into() -> None:
    """A traceback's variables count in the library's frames, and attributes three steps deep."""
    with pytest.raises(ValueError, match="at character") as caught:
        parse_literal("'hush' hush")
    assert not any("hush" in text for text in traceback.format_exception(caught.value)[-1:])
    assert any("hush' hush" in text for text in told_by(caught.value))
    assert "deep" in list(everything({"a": [("deep",)]}))
    assert "deeper" not in list(everything({"a": [(("deeper",),)]}))
