"""What a recording has nothing of: secrets, ids, names, and what is the user's own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pipelines
import plain_client
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from tuning import PROMPT, REPLY, SIZE
from wire import ARM, SUBSCRIPTION, WORKSPACE, Service, answered, recorded, replayed

from phi_finetune.emulator.doors.sending import Onward, Place, Sending, layered
from phi_finetune.testing import FakeAzure, Recording, Replay, ScrubbingFailed
from phi_finetune.testing.transport import transport_on

CANARY = "Canary8/Q+with==signs"
JWT = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJodHRwczovL21sLmF6dXJlLmNvbSIsInRpZCI6ImNhbmFyeSJ9.c2lnbmF0dXJl"
GUID = "d9b0a3c4-5e6f-4a7b-8c9d-0e1f2a3b4c5d"


def forms(secret: str) -> Iterator[str]:
    """A secret as it may stand in a file: as it is, for URLs, for JSON, in Base64 wherever it begins there."""
    yield from {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    yield quote(quote(secret, safe=""), safe="")
    for before in range(3) if len(secret) >= 6 else ():
        encoded = base64.b64encode(b"x" * before + secret.encode())
        # The characters at either end depend on what is beside the secret.
        whole = encoded.rstrip(b"=").decode()[(0, 2, 3)[before] : -2]
        yield from {whole, whole.replace("+", "-").replace("/", "_")}


def left(text: str, *secrets: str) -> list[str]:
    """The secrets that are in a text, in any form; the case does not matter."""
    low = text.lower()
    return [secret for secret in secrets if any(form.lower() in low for form in forms(secret))]


# A whole life of a fine-tune


class Spy:
    """Sees every request and answer, and keeps what is secret in them."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()

    def __call__(self, sending: Sending, onward: Onward) -> requests.Response:
        asked = sending.asked
        if asked.bearer:
            self.secrets |= {asked.bearer, *asked.bearer.split(".")[1:]}
        self.secrets.update(parse_qs(urlsplit(asked.url).query).get("sig", ()))
        response = onward()
        if asked.url.partition("?")[0].endswith(("/token", "/listKeys")):
            values = json.loads(response.content).values()
            self.secrets.update(value for value in values if isinstance(value, str) and len(value) > 20)
        return response


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, set[str], FakeAzure]:
    """The recording of the tutorial's way, signed in with a secret; the secrets that passed; the fake."""
    from azure.ai.ml import MLClient
    from azure.identity import ClientSecretCredential

    folder = tmp_path_factory.mktemp("life")
    for split, count in (("train", 40), ("validation", 8)):
        (folder / f"{split}.jsonl").write_bytes(pipelines.jsonl(pipelines.conversations(count)))
    given = {"size": SIZE, "prompt": PROMPT, "endpoint": "plain-endpoint"}
    (folder / "given.json").write_text(json.dumps(given), encoding="utf-8")
    spy = Spy()
    path = folder / "life.json"
    with FakeAzure() as azure, Recording(path), layered(Place.WATCHING, spy):
        credential = ClientSecretCredential(azure.tenant_id, azure.client_id, azure.client_secret)
        transport = transport_on(azure.clock)
        registry = MLClient(credential, registry_name="azureml", enable_telemetry=False, transport=transport)
        home = (azure.subscription_id, azure.resource_group, azure.workspace_name)
        workspace = MLClient(credential, *home, enable_telemetry=False, transport=transport)
        plain_client.go(workspace, registry, folder)
    return path.read_text(encoding="utf-8"), spy.secrets | {azure.client_secret}, azure


# azure-ai-ml 1.35.2 downloads in a way that azure-storage-blob calls deprecated.
downloads = pytest.mark.filterwarnings(
    "ignore:The use of a 'BlobProperties':DeprecationWarning",
    "ignore:content_as_bytes is deprecated:DeprecationWarning",
)


@downloads
def test_no_secret_of_a_whole_life_is_in_its_recording(life: tuple[str, set[str], FakeAzure]) -> None:
    """Tokens, their parts, signatures of storage, keys of endpoints and the client secret, in any form."""
    text, secrets, _ = life
    assert len(secrets) > 20
    assert left(text, *secrets) == []
    assert "eyJ" not in text


@downloads
def test_no_id_of_a_whole_life_is_in_its_recording(life: tuple[str, set[str], FakeAzure]) -> None:
    """Subscription, tenant, principals, the workspace; names of it, its group and its account; who made things."""
    text, _, azure = life
    cloud = azure.cloud
    guids = (
        azure.subscription_id,
        azure.tenant_id,
        azure.client_id,
        cloud.identity.object_id,
        cloud.workspace.guid,
    )
    names = (azure.resource_group, azure.workspace_name, cloud.storage.account, "phi@example.com")
    assert left(text, *guids, *(guid.replace("-", "") for guid in guids), *names) == []


@downloads
def test_nothing_that_the_user_wrote_is_in_a_recording(life: tuple[str, set[str], FakeAzure]) -> None:
    """Neither training rows nor the question nor the answer, and no line of a log."""
    text, _, _ = life
    rows = [message["content"] for row in pipelines.conversations(40) for message in row["messages"]]
    assert left(text, *rows, PROMPT, REPLY, "Submitting 1 runs") == []


# Where secrets stand


@pytest.mark.parametrize(
    "body",
    [
        {"primaryKey": CANARY, "note": f"the key is {CANARY}"},
        {"properties": {"credentials": {"accountKey": CANARY}}},
        {"environmentVariables": {"WANDB_API_KEY": CANARY}},
        {"tags": [{"key": "admin.password", "value": CANARY}]},
        {"inputs": {"hf_token": {"value": CANARY, "jobInputType": "literal"}}},
        {"connectionString": f"AccountName=x;AccountKey={CANARY}"},
        {"description": f"AccountKey={CANARY};EndpointSuffix=core.windows.net"},
        {"url": f"https://x.blob.core.windows.net/c?sv=1&sig={quote(CANARY, safe='')}&sp=r"},
        {"url": "https://example.com/go?to=" + quote("https://x/?sig=" + quote(CANARY, safe=""), safe="")},
        {"nextLink": f"https://management.azure.com/x?$skipToken={quote(CANARY, safe='')}"},
        {"repository": f"https://me:{quote(CANARY, safe='')}@example.com/code.git"},
        {"repository": f"https://{quote(CANARY, safe='')}@example.com/code.git"},
        {"password": "pass phrase/1 &2", "url": "https://x/?a=pass%20phrase%2F1%20%262"},
        {"message": f"Authorization: Bearer {JWT}"},
        {"anything": JWT},
        {"password": CANARY, "packed": base64.b64encode(f"user:{CANARY}!".encode()).decode()},
        {"password": CANARY, CANARY: "as the name of a field"},
    ],
    ids=lambda body: next(reversed(body)),
)
def test_a_secret_is_known_by_its_place_or_its_form(tmp_path: Path, body: dict[str, Any]) -> None:
    """Wherever it stands in an answer or a request, it is not in the file."""
    text = recorded(tmp_path, ("POST", f"{ARM}/jobs/x", answered(body)), sent=body)
    assert left(text, CANARY, JWT, "pass phrase/1 &2") == []
    assert "scrubbed" in text


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "aB3" * 10,
        "ghp_" + "aB3" * 12,
        "abc8Q~" + "aB3" * 12,
        base64.b64encode(bytes(range(64))).decode(),
    ],
    ids=["Hugging Face", "GitHub", "Entra", "storage account"],
)
def test_tokens_of_known_forms_are_known_anywhere(tmp_path: Path, token: str) -> None:
    """In the middle of a text, under a name that says nothing."""
    text = recorded(tmp_path, ("GET", f"{ARM}/jobs/x", answered({"description": f"use {token} for it"})))
    assert left(text, token) == []
    assert "use scrubbed0001 for it" in text


@pytest.mark.parametrize(
    "body",
    [
        {"password": "pw1"},
        {"url": "https://me:pw1@example.com/x"},
        {"url": "https://example.com/x?api_key=pw1&y=z"},
        {"command": "train --hf-token=pw1 --epochs=3"},
    ],
    ids=["field", "user and password", "parameter", "command"],
)
def test_a_short_secret_is_replaced_in_its_place(tmp_path: Path, body: dict[str, str]) -> None:
    """It is not looked for elsewhere, where it may be anything."""
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered({**body, "name": "pw1"})))
    (exchange,) = json.loads(text)["exchanges"]
    found = exchange["answer"]["body"]["json"]
    assert found.pop("name") == "pw1"
    assert "pw1" not in json.dumps(found)
    assert "scrubbed0001" in json.dumps(found)


def test_secrets_that_begin_alike_stay_apart(tmp_path: Path) -> None:
    """The longest is meant, wherever it ends."""
    secrets = ["canary-1", "canary-12", "canary-123", "canary-2", "canary-12-3"]
    body = {"keys": [{"password": secret} for secret in secrets], "note": " ".join(secrets)}
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered(body)))
    (exchange,) = json.loads(text)["exchanges"]
    expected = [f"scrubbed000{number}" for number in range(1, 6)]
    found = exchange["answer"]["body"]["json"]
    assert [key["password"] for key in found["keys"]] == found["note"].split() == expected


@pytest.mark.parametrize(
    "secret", [f"{GUID} and more", "amqp://me:pw@host.example", "me@contoso.com;pw", 12345678]
)
def test_a_secret_is_replaced_whole(tmp_path: Path, secret: str | int) -> None:
    """Something in it may look like an id, which elsewhere is replaced by itself."""
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered({"password": secret})))
    (exchange,) = json.loads(text)["exchanges"]
    assert exchange["answer"]["body"]["json"]["password"] in ("scrubbed0001", "scrubbed0002", 0)


def test_the_tenant_is_that_of_the_workspace(tmp_path: Path) -> None:
    """A registry, which is asked for first, may be another tenant's."""
    recorded(
        tmp_path,
        ("GET", "https://eastus.api.azureml.ms/registrymanagement/x", answered({"tenantId": GUID})),
        ("GET", ARM, answered({"tenantId": GUID.replace("d", "e")})),
    )
    replay = Replay(tmp_path / "recording.json")
    answers = [exchange.answered.body["json"] for exchange in replay.unused if exchange.answered]
    assert answers[1] == {"tenantId": replay.tenant_id} != answers[0]


def test_a_signature_of_a_request_is_known_in_its_answer(tmp_path: Path) -> None:
    """The request's URL is kept without it."""
    url = f"https://store.blob.core.windows.net/c?comp=list&sv=1&sig={quote(CANARY, safe='')}"
    answer = answered(f"<?xml?><a>{CANARY}</a>".encode(), kind="application/xml")
    text = recorded(tmp_path, ("GET", url, answer))
    assert left(text, CANARY) == []
    assert '"<?xml?><a>scrubbed0001</a>"' in text
    assert '"url": "https://account1.blob.core.windows.net/c?comp=list"' in text


def test_what_would_leave_a_secret_is_not_written(tmp_path: Path) -> None:
    """Here a placeholder spells the secret, which nothing else can bring back."""
    with pytest.raises(ScrubbingFailed, match="Nothing was written") as caught:
        recorded(tmp_path, ("GET", f"{ARM}/x", answered({"password": "RKSPACE-1"})))
    assert "rkspace" not in str(caught.value).lower()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb", ["listKeys", "listSecrets", "token", "regenerateKeys", "listConnectionSecrets"]
)
def test_answers_that_are_made_of_secrets_have_none(tmp_path: Path, verb: str) -> None:
    """Every text in them is one, whatever its name is, but for those that say of what type it is."""
    body = {"odd": CANARY, "deep": [{"er": "canary-two"}], "secretsType": "AccountKey", "lasts": 3600}
    text = recorded(tmp_path, ("POST", f"{ARM}/x/{verb}?api-version=1", answered(body)))
    assert left(text, CANARY, "canary-two") == []
    assert "AccountKey" in text
    assert "3600" in text


def test_headers_are_kept_by_name_only(tmp_path: Path) -> None:
    """Credentials, cookies and whatever else stands in headers are not in the file, nor are they repeated there."""
    headers = {"x-odd": "canary-odd-1", "Set-Cookie": f"session={CANARY}; Path=/", "ETag": f"W/{CANARY}"}
    sent = {"Authorization": "Bearer canary-bearer-2", "api-key": "canary-key-3", "x-other": "canary-other-4"}
    body = {"note": f"{CANARY} canary-bearer-2 canary-key-3"}
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered(body, headers=headers)), headers=sent)
    secrets = ("canary-odd-1", "canary-bearer-2", "canary-key-3", "canary-other-4")
    assert left(text, CANARY, *secrets) == []


def test_the_secrets_of_the_environment_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is called a token, a key or a password holds a secret."""
    monkeypatch.setenv("SOME_API_KEY", CANARY)
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered({"note": f"with {CANARY}"})))
    assert left(text, CANARY) == []


def test_a_sign_in_says_what_it_is_for_and_no_more(tmp_path: Path) -> None:
    """Of the form only the scope, of the answer only its kind; a token says whom it is for."""
    form = {
        "client_secret": CANARY,
        "client_id": GUID,
        "username": "canary-user",
        "scope": "https://ml.azure.com/.default",
    }
    body = {
        "access_token": JWT,
        "refresh_token": "canary-refresh",
        "token_type": "Bearer",
        "expires_on": "1795000000",
    }
    url = f"https://login.microsoftonline.com/{GUID}/oauth2/v2.0/token"
    path = tmp_path / "recording.json"
    with Service(answered(body)).open(), Recording(path):
        requests.post(url, data=form, timeout=5)
    text = path.read_text(encoding="utf-8")
    assert left(text, CANARY, JWT, GUID, "canary-user", "canary-refresh", "1795000000") == []
    assert "https://ml.azure.com/.default" in text
    assert "scrubbed-token(https://ml.azure.com)" in text


def test_a_refused_sign_in_does_not_repeat_the_secret(tmp_path: Path) -> None:
    """Its description is kept, and might quote what was sent."""
    body = {"error": "invalid_client", "error_description": f"AADSTS7000215: {CANARY} is not canary-user's."}
    url = f"https://login.microsoftonline.com/{GUID}/oauth2/v2.0/token"
    path = tmp_path / "recording.json"
    with Service(answered(body, 401)).open(), Recording(path):
        requests.post(url, data={"client_secret": CANARY, "username": "canary-user"}, timeout=5)
    text = path.read_text(encoding="utf-8")
    assert left(text, CANARY, "canary-user") == []
    assert "AADSTS7000215: scrubbed" in text


# The same value, the same placeholder


def test_ids_and_names_are_replaced_consistently(tmp_path: Path) -> None:
    """In the URL, in the answer, in capitals, without hyphens, before and after it was known what they are."""
    first = {"note": f"contoso-lab of {SUBSCRIPTION.replace('-', '')}", "id": WORKSPACE.upper()}
    user = {"createdBy": "Jane Doe", "text": "by Jane Doe, jane.doe@contoso.com, at contoso.onmicrosoft.com"}
    last = {
        "keyVault": WORKSPACE.partition("/providers")[0] + "/providers/Microsoft.KeyVault/vaults/contosovault"
    }
    url = "https://eastus.api.azureml.ms/discovery/x"
    text = recorded(
        tmp_path,
        ("GET", url, answered({"text": "contosovault"})),
        ("GET", ARM, answered(first)),
        ("GET", f"{ARM}/x", answered(user)),
        ("GET", f"{ARM}/y", answered(last)),
    )
    assert left(text, SUBSCRIPTION, "contoso", "jane", "doe") == []
    file = json.loads(text)
    bodies = [exchange["answer"]["body"]["json"] for exchange in file["exchanges"]]
    home = (file["subscription_id"], file["resource_group"], file["workspace_name"])
    assert home == ("00000000-0000-4000-8000-000000000001", "resource-group-1", "workspace-1")
    assert bodies[0] == {"text": "resource-1"}
    assert bodies[1]["note"] == "workspace-1 of 00000000000040008000000000000001"
    assert bodies[2] == {
        "createdBy": "user-1",
        "text": "by user-1, user1@example.com, at tenant2.example.com",
    }
    assert bodies[3]["keyVault"].endswith(
        "/resourceGroups/resource-group-1/providers/Microsoft.KeyVault/vaults/resource-1"
    )


@pytest.mark.parametrize("name", ["models", "azureml", "Phi-4", "ml"])
def test_a_name_that_means_something_else_is_replaced_in_its_place_only(tmp_path: Path, name: str) -> None:
    """A workspace may be called like a kind of resource, a registry or a model; requests for those stay."""
    home = WORKSPACE.replace("contoso-lab", name)
    body = {"id": f"{home}/models/Phi-4", "model": "azureml://registries/azureml/models/Phi-4"}
    recorded(tmp_path, ("GET", f"https://management.azure.com{home}/models/Phi-4", answered(body)))
    answer = replayed(tmp_path, "GET", "/models/Phi-4")
    assert answer.json()["model"] == "azureml://registries/azureml/models/Phi-4"
    assert answer.json()["id"].endswith("/workspaces/workspace-1/models/Phi-4")


def test_names_can_be_kept(tmp_path: Path) -> None:
    """Those of the group and the workspace; ids are replaced all the same."""
    text = recorded(tmp_path, ("GET", ARM, answered({"id": WORKSPACE})), keep_names=True)
    assert left(text, SUBSCRIPTION) == []
    file = json.loads(text)
    assert (file["resource_group"], file["workspace_name"]) == ("contoso-group", "contoso-lab")


def test_the_user_can_name_more(tmp_path: Path) -> None:
    """Texts, however short, and patterns: the same match is always the same placeholder."""
    body = {"a": "project Hush, ticket 77-12", "b": "ticket 77-12 and 77-13, quoted %48ush? no, HUSH"}
    given = ["hush", re.compile(r"\b\d\d-\d\d\b")]
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered(body)), scrub=given)
    assert left(text, "hush", "77-1") == []
    (exchange,) = json.loads(text)["exchanges"]
    ticket = exchange["answer"]["body"]["json"]["a"].rpartition(" ")[2]
    assert f"ticket {ticket} and " in exchange["answer"]["body"]["json"]["b"]


# What is the user's own


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("method", "url", "kind", "content"),
    [
        (
            "POST",
            "https://chat.eastus.inference.ml.azure.com/score",
            "application/json",
            b'{"output": ["my own words"]}',
        ),
        (
            "POST",
            "https://chat.eastus.models.ai.azure.com/v1/chat/completions",
            "application/json",
            b'"my own words"',
        ),
        (
            "GET",
            "https://x.blob.core.windows.net/c/notes.json?sig=x",
            "application/json",
            b'{"a":  "my own words"}',
        ),
        ("GET", "https://x.blob.core.windows.net/c/std_log.txt?sig=x", "text/plain", b"my own words"),
        (
            "POST",
            f"{ARM}/onlineEndpoints/e/deployments/d/getLogs",
            "application/json",
            b'{"content": "my own words"}',
        ),
        (
            "GET",
            "https://eastus.api.azureml.ms/artifact/v2.0/x/artifacts/content/ExperimentRun/dcid.x?path=a.json",
            "application/json",
            b'{"a": "my own words"}',
        ),
        ("GET", f"{ARM}/x", "text/html", b"<p>my own words</p>"),
        (
            "GET",
            "https://x.blob.core.windows.net/c/model.bin?sig=x",
            "application/octet-stream",
            b"my own words\xff\x00",
        ),
    ],
    ids=["scoring", "serverless", "JSON in a blob", "log", "getLogs", "artifact", "no JSON", "bytes"],
)
def test_answers_that_are_the_users_own_are_kept_when_asked_for(
    tmp_path: Path, method: str, url: str, kind: str, content: bytes, keep: bool
) -> None:
    """Else there is something of the same size, or of the same shape."""
    text = recorded(
        tmp_path, (method, url, answered(content, kind=kind)), sent={"q": "my question"}, keep_data=keep
    )
    assert left(text, "my question") == (
        [] if "management" not in url or "getLogs" in url else ["my question"]
    )
    url = json.loads(text)["exchanges"][0]["request"]["url"]
    with Replay(tmp_path / "recording.json"):
        answer = requests.request(method, url, timeout=5)
    if keep:
        assert answer.content == content or answer.json() == json.loads(content)
        return
    assert left(text, "my own words") == []
    assert len(answer.content) == len(content) or kind == "application/json"
    if kind == "application/json" and "blob" not in url:
        assert "[text of 12 characters]" in answer.text
    else:
        assert digest(content) in text


def test_of_an_endpoints_refusal_the_code_is_kept(tmp_path: Path) -> None:
    """A client decides by it; the message may quote the question. What is no word is a text."""
    body = {
        "error": {"code": "BadArgument", "type": "what I wrote", "message": "what I wrote"},
        "n": [7, "word"],
        "ok": None,
    }
    url = "https://chat.eastus.inference.ml.azure.com/score"
    text = recorded(tmp_path, ("POST", url, answered(body, 400)))
    (exchange,) = json.loads(text)["exchanges"]
    unsaid = "[text of 12 characters]"
    error = {"code": "BadArgument", "type": unsaid, "message": unsaid}
    assert exchange["answer"]["body"] == {
        "shape": {"error": error, "n": [0, "[text of 4 characters]"], "ok": None}
    }


def digest(content: bytes) -> str:
    """The SHA-256 of a content."""
    return hashlib.sha256(content).hexdigest()


def test_a_kept_download_with_a_secret_in_it_is_not_kept(tmp_path: Path) -> None:
    """Of bytes nothing can be taken out, so all of it is."""
    content = b"\xff\x00" + CANARY.encode() + b"\xfe"
    exchanges = (
        ("POST", f"{ARM}/x/listKeys", answered({"key": CANARY})),
        (
            "GET",
            "https://x.blob.core.windows.net/c/model.bin",
            answered(content, kind="application/octet-stream"),
        ),
    )
    text = recorded(tmp_path, *exchanges, keep_data=True)
    assert left(text, CANARY) == []
    assert digest(content) in text


# Whatever it is

SECRETS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=8, max_size=40).filter(
    lambda text: (
        re.search(r"[^\d.]", text) is not None
        and not text.isalpha()
        and text.strip() == text
        and not text.startswith("${{")
        and text.lower() not in "scrubbed0001 resource-group-1 workspace-1"
    )
)


def places(secret: str) -> list[object]:
    """A secret where it is known as one, and where it is only repeated."""
    packed = base64.b64encode(f"before {secret} after".encode()).decode()
    url = f"https://example.com/a?b={quote(secret, safe='')}&c={quote(quote(secret, safe=''), safe='')}"
    return [{"password": secret}, {"text": f"({secret})", "list": [secret]}, {"packed": packed}, {"url": url}]


@given(secret=SECRETS)
def test_any_secret_is_replaced_everywhere(secret: str) -> None:
    """It is known in one place, and repeated in others and other forms, before and after."""
    with TemporaryDirectory() as folder:
        known, *repeated = places(secret)
        bodies = [*repeated, known, *repeated]
        text = recorded(
            Path(folder), *(("GET", f"{ARM}/{n}", answered(body)) for n, body in enumerate(bodies))
        )
    answers = json.dumps([exchange["answer"]["body"] for exchange in json.loads(text)["exchanges"]])
    assert left(answers, secret) == []
    assert "scrubbed0001" in answers


def test_a_secret_that_is_a_word_is_replaced_where_it_stands_alone(tmp_path: Path) -> None:
    """A password of letters may be part of other words, of the API's too."""
    body = {"password": "resource", "note": "the resource", "resourceId": "resources"}
    text = recorded(tmp_path, ("GET", f"{ARM}/x", answered(body)))
    (exchange,) = json.loads(text)["exchanges"]
    found = exchange["answer"]["body"]["json"]
    assert found == {"password": "scrubbed0001", "note": "the scrubbed0001", "resourceId": "resources"}


@given(guids=st.lists(st.uuids(), min_size=2, max_size=6, unique=True), seed=st.randoms())
def test_guids_stay_apart_and_the_same(guids: list[object], seed: Any) -> None:
    """Different ones have different placeholders, the same one has one, in capitals too."""
    real = [str(guid) for guid in guids]
    order = [seed.choice([guid, guid.upper()]) for guid in seed.choices(real, k=20)]
    with TemporaryDirectory() as folder:
        text = recorded(Path(folder), ("GET", f"{ARM}/x", answered({"ids": order})))
    found = json.loads(text)["exchanges"][0]["answer"]["body"]["json"]["ids"]
    assert left(text, *real) == []
    pairs = {(guid.lower(), placeholder) for guid, placeholder in zip(order, found, strict=True)}
    assert len(pairs) == len({guid for guid, _ in pairs}) == len({placeholder for _, placeholder in pairs})


WORDS = st.text("abcdef ghij", max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=12,
)


@given(value=VALUES)
def test_what_is_no_secret_comes_back_as_it_was(value: object) -> None:
    """Of any JSON value."""
    with TemporaryDirectory() as folder:
        recorded(Path(folder), ("GET", f"{ARM}/x", answered({"value": value})))
        assert replayed(Path(folder), "GET", "/x").json() == {"value": value}


@downloads
def test_a_recording_of_a_replay_is_the_same(life: tuple[str, set[str], FakeAzure], tmp_path: Path) -> None:
    """Placeholders stand for themselves, so scrubbing once more changes nothing."""
    text, _, _ = life
    first = tmp_path / "first.json"
    first.write_text(text, encoding="utf-8")
    with Replay(first) as replay, Recording(tmp_path / "second.json", keep_data=True):
        for exchange in replay.unused:
            headers = dict(exchange.asked.headers)
            requests.request(exchange.method, exchange.url, headers=headers, timeout=5)
    again = json.loads((tmp_path / "second.json").read_text(encoding="utf-8"))
    urls = [exchange["request"]["url"] for exchange in json.loads(text)["exchanges"]]
    assert [exchange["request"]["url"] for exchange in again["exchanges"]] == urls
