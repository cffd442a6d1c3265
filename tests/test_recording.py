"""Recording what a service answers, and answering the same again."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pipelines
import plain_client
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from tuning import PROMPT, REPLY, SIZE
from wire import ARM, WORKSPACE, Service, answered, recorded

import phi_finetune as pf
from phi_finetune.emulator.core.http import Response
from phi_finetune.emulator.doors.sending import Onward, Place, Sending, layered
from phi_finetune.emulator.identity.state import ARM_AUDIENCE
from phi_finetune.testing import FakeAzure, NotRecorded, Recording, Replay
from phi_finetune.testing.faults import Answer, AnswerLost, HalfBody, Silence, Unreachable
from phi_finetune.testing.transport import transport_on

SEND, GETADDRINFO = HTTPAdapter.send, socket.getaddrinfo


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test, requests and sockets are as they were."""
    yield
    assert HTTPAdapter.send is SEND
    assert socket.getaddrinfo is GETADDRINFO


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a recording goes."""
    return tmp_path / "recordings" / "nightly.json"


def url(home: FakeAzure | Replay, path: str) -> str:
    """The URL of something in a workspace."""
    group = f"/subscriptions/{home.subscription_id}/resourceGroups/{home.resource_group}"
    where = f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{home.workspace_name}"
    return f"https://management.azure.com{where}{path}?api-version=2023-08-01-preview"


def ask(home: FakeAzure | Replay, method: str, path: str, **options: Any) -> requests.Response:
    """Ask a fake or a replay for something in its workspace, with a good token."""
    token = home.credential.get_token(f"{ARM_AUDIENCE}/.default").token
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, url(home, path), headers=headers, timeout=5, **options)


# A whole life


def folder(parent: Path, name: str) -> Path:
    """A folder with what the plain client needs."""
    made = parent / name
    made.mkdir()
    for split, count in (("train", 40), ("validation", 8)):
        (made / f"{split}.jsonl").write_bytes(pipelines.jsonl(pipelines.conversations(count)))
    given = {"size": SIZE, "prompt": PROMPT, "endpoint": "plain-endpoint"}
    (made / "given.json").write_text(json.dumps(given), encoding="utf-8")
    return made


# azure-ai-ml 1.35.2 downloads in a way that azure-storage-blob calls deprecated.
@pytest.mark.filterwarnings("ignore:The use of a 'BlobProperties':DeprecationWarning")
@pytest.mark.filterwarnings("ignore:content_as_bytes is deprecated:DeprecationWarning")
@pytest.mark.parametrize("keep_data", [True, False])
def test_the_tutorials_way_is_replayed(tmp_path: Path, path: Path, keep_data: bool) -> None:
    """Plain azure-ai-ml finds the same; what was no one's business has the same shape and size."""
    with FakeAzure() as azure, Recording(path, keep_data=keep_data):
        registry = azure.ml_client(registry_name="azureml")
        before = plain_client.go(azure.ml_client(), registry, folder(tmp_path, "before"))
    with Replay(path) as replay:
        registry = replay.ml_client(registry_name="azureml")
        after = plain_client.go(replay.ml_client(), registry, folder(tmp_path, "after"))
        assert replay.unused == ()
    answer = REPLY if keep_data else f"[text of {len(REPLY)} characters]"
    assert after == {**before, "answers": [{"output": answer}]}
    sizes = [
        {file.name: file.stat().st_size for file in (tmp_path / name / "got").rglob("*") if file.is_file()}
        for name in ("before", "after")
    ]
    assert sizes[0].keys() == sizes[1].keys()
    assert keep_data or sizes[0] == sizes[1]


def nightly(ws: pf.Workspace) -> tuple[str, list[float], str]:
    """What this library does in one night: status, losses, what the endpoint is called."""
    tune = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
    job = tune.on(ws.gpu_compute("gpu", size=SIZE).ensure()).submit().wait()
    with job.register("nightly").deploy(instance_type=SIZE) as endpoint:
        endpoint.chat("Hello.")
        return job.status, [point.value for point in job.metrics().history("loss")], endpoint.name


def test_a_night_of_this_library_is_replayed(path: Path) -> None:
    """Names that hold a digest of the workspace's id differ, and stand for each other."""
    with FakeAzure() as azure, Recording(path):
        status, losses, name = nightly(azure.workspace())
    with Replay(path) as replay:
        again = nightly(replay.workspace())
        assert replay.unused == ()
    assert again[:2] == (status, losses)
    assert again[2] != name
    assert again[2].rpartition("-")[0] == name.rpartition("-")[0]


def test_a_sign_in_is_replayed(path: Path) -> None:
    """azure-identity signs in at the replay too, with any secret."""
    from azure.ai.ml import MLClient
    from azure.identity import ClientSecretCredential

    def first_cluster(home: FakeAzure | Replay, client_id: str, secret: str) -> list[str]:
        credential = ClientSecretCredential(home.tenant_id, client_id, secret)
        names = (home.subscription_id, home.resource_group, home.workspace_name)
        client = MLClient(credential, *names, enable_telemetry=False, transport=transport_on(home.clock))
        return [compute.name for compute in client.compute.list()]

    with FakeAzure() as azure, Recording(path):
        before = first_cluster(azure, azure.client_id, azure.client_secret)
    with Replay(path) as replay:
        assert first_cluster(replay, "any", "secret") == before


# What goes wrong


def test_refusals_are_replayed(path: Path) -> None:
    """Status, code and the pause that is asked for are those of the service."""

    def refusals(home: FakeAzure | Replay) -> list[tuple[int, str | None, str | None]]:
        answers = [
            ask(home, "GET", "/jobs/none"),
            ask(home, "PUT", "/onlineEndpoints/taken", json={"location": "eastus", "properties": {}}),
            ask(home, "GET", "/computes"),
        ]
        return [
            (answer.status_code, answer.json()["error"]["code"], answer.headers.get("Retry-After"))
            for answer in answers
        ]

    with FakeAzure() as azure, Recording(path):
        azure.reserve_endpoint_name("taken")
        azure.faults.next(Answer("GET */computes", 429, headers={"Retry-After": "7"}))
        before = refusals(azure)
    assert {status for status, _, _ in before} >= {404, 429}
    assert before[2][2] == "7"
    with Replay(path) as replay:
        assert refusals(replay) == before


@pytest.mark.parametrize(
    "fault",
    [
        AnswerLost("GET */computes"),
        Silence("GET */computes"),
        Silence("GET */computes", after="connect"),
        Unreachable("GET */computes"),
        HalfBody("GET */computes", how="cut"),
    ],
    ids=["lost", "silent", "no connection", "unreachable", "half"],
)
def test_a_lost_connection_is_replayed(path: Path, fault: Any) -> None:
    """Whoever asks meets the same error, while it is recorded and when it is replayed."""

    def error(home: FakeAzure | Replay) -> type[BaseException]:
        with pytest.raises(requests.RequestException) as caught:
            ask(home, "GET", "/computes")
        return caught.type

    with FakeAzure() as azure:
        azure.faults.next(fault, times=2)
        met = error(azure)
        with Recording(path):
            assert error(azure) is met
    with Replay(path) as replay:
        assert error(replay) is met


def test_a_body_without_a_length_that_breaks_off_is_replayed(path: Path) -> None:
    """Nothing but the lost connection says that there was more."""

    def breaking(sending: Sending, onward: Onward) -> requests.Response:
        return sending.response(
            Response(200, {"Content-Type": "application/json"}, b'{"value": [1'), broken=True
        )

    with (
        layered(Place.CLOUDS, breaking),
        Recording(path),
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        requests.get(ARM, timeout=5)
    with Replay(path) as replay, pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(replay.unused[0].url, timeout=5)


def test_streaming_a_job_does_not_sleep(tmp_path: Path) -> None:
    """azure-ai-ml's own pauses, which pass on no clock (wire.md 5), are none."""
    recorded(tmp_path, ("GET", ARM, answered({})))
    with Replay(tmp_path / "recording.json"):
        assert os.environ["AZUREML_RUN_POLLING_INTERVAL_MIN"] == "0"


def test_waits_take_the_replays_time(tmp_path: Path) -> None:
    """A pause that the service asked for passes at once."""
    from azure.core.exceptions import ResourceNotFoundError

    compute = ("GET", f"{ARM}/computes/x?api-version=2023-08-01-preview")
    busy = answered({"error": {"code": "Busy", "message": "later"}}, 503, {"Retry-After": "3600"})
    recorded(tmp_path, (*compute, busy), (*compute, answered({}, 404)))
    with Replay(tmp_path / "recording.json") as replay:
        with pytest.raises(ResourceNotFoundError):
            replay.ml_client().compute.get("x")
        assert replay.clock.monotonic() == timedelta(hours=1).total_seconds()


# In which order


def statuses(tmp_path: Path, *asked: tuple[str, str]) -> list[str]:
    """What a replay of the file answers to requests ``(method, path)``."""
    with Replay(tmp_path / "recording.json") as replay:
        return [ask(replay, method, path).json()["status"] for method, path in asked]


def test_polls_get_on_and_the_last_answer_stays(tmp_path: Path) -> None:
    """Each answer in its turn; who polls more often than the recorded client sees the last one again."""
    job = ("GET", f"{ARM}/jobs/x?api-version=2023-08-01-preview")
    recorded(
        tmp_path, *((*job, answered({"status": status})) for status in ("Running", "Running", "Completed"))
    )
    assert statuses(tmp_path, *[("GET", "/jobs/x")] * 5) == ["Running", "Running", *["Completed"] * 3]


def test_who_polls_less_often_is_past_the_change_after_it(tmp_path: Path) -> None:
    """An answer that is older than a change is passed over once the change was asked for."""
    version = "api-version=2023-08-01-preview"
    recorded(
        tmp_path,
        ("GET", f"{ARM}/jobs/x?{version}", answered({"status": "Running"})),
        ("GET", f"{ARM}/jobs/x?{version}", answered({"status": "Running"})),
        ("POST", f"{ARM}/jobs/x/cancel?{version}", answered({"status": "accepted"})),
        ("GET", f"{ARM}/jobs/x?{version}", answered({"status": "Canceled"})),
    )
    asked = [("GET", "/jobs/x"), ("POST", "/jobs/x/cancel"), ("GET", "/jobs/x")]
    assert statuses(tmp_path, *asked) == ["Running", "accepted", "Canceled"]


def test_a_read_makes_nothing_older(tmp_path: Path) -> None:
    """Reads may come in another order than the recorded one."""
    version = "api-version=2023-08-01-preview"
    names = ("x", "y", "x")
    recorded(
        tmp_path,
        *(
            ("GET", f"{ARM}/jobs/{name}?{version}", answered({"status": f"{n}"}))
            for n, name in enumerate(names)
        ),
    )
    assert statuses(tmp_path, ("GET", "/jobs/y"), ("GET", "/jobs/x"), ("GET", "/jobs/x")) == ["1", "0", "2"]


def test_one_url_may_be_written_in_several_ways(tmp_path: Path) -> None:
    """The order of parameters, the encoding of a path and the signature make no difference."""
    recorded(
        tmp_path,
        ("GET", "https://chat.azureml.ms/a%28b%29/c?y=1&x=a+b&sig=old&se=1", answered({"status": "it"})),
    )
    with Replay(tmp_path / "recording.json"):
        url = "https://CHAT.azureml.ms/a(b)/c?x=a%20b&sig=new&y=1"
        assert requests.get(url, timeout=5).json() == {"status": "it"}


def test_a_kept_download_is_as_long_as_it_says(tmp_path: Path) -> None:
    """A placeholder in it may be longer than the name that it stands for."""
    content = f"made in {WORKSPACE}".encode()
    headers = {"Content-Range": f"bytes 0-{len(content) - 1}/{len(content)}"}
    recorded(
        tmp_path,
        ("GET", ARM, answered({})),
        ("GET", "https://1.blob.core.windows.net/c/x", answered(content, 206, headers, "text/plain")),
        keep_data=True,
    )
    with Replay(tmp_path / "recording.json") as replay:
        answer = requests.get(replay.unused[1].url, timeout=5)
    assert answer.text.endswith("/workspaces/workspace-1")
    size = len(answer.content)
    assert size != len(content)
    assert answer.headers["Content-Range"] == f"bytes 0-{size - 1}/{size}"


def test_a_change_is_not_repeated(tmp_path: Path) -> None:
    """A second submission, where one was recorded, is what a test would want to know."""
    recorded(tmp_path, ("PUT", f"{ARM}/jobs/x?api-version=2023-08-01-preview", answered({"status": "made"})))
    with pytest.raises(NotRecorded, match="was recorded once, and is asked for once more"):
        statuses(tmp_path, ("PUT", "/jobs/x"), ("PUT", "/jobs/x"))


def test_the_body_decides_between_requests_to_one_url(tmp_path: Path, path: Path) -> None:
    """Two questions to an endpoint are answered each by its own answer, in any order."""
    score = "https://chat.eastus.inference.ml.azure.com/score"
    with Service(answered("first"), answered("second")).open(), Recording(path, keep_data=True):
        for question in ("one", "two"):
            requests.post(score, json={"question": question}, timeout=5)
    with Replay(path):
        answers = [requests.post(score, json={"question": q}, timeout=5).json() for q in ("two", "one")]
    assert answers == ["second", "first"]


def test_parts_of_a_download_are_told_apart(path: Path) -> None:
    """They have one URL; a range that was not recorded has no answer."""
    blob = "https://store.blob.core.windows.net/c/model.bin"
    parts = (answered(b"0123", 206, kind="x/y"), answered(b"4567", 206, kind="x/y"))
    with Service(*parts).open(), Recording(path, keep_data=True):
        for part in ("bytes=0-3", "bytes=4-7"):
            requests.get(blob, headers={"x-ms-range": part}, timeout=5)
    place = json.loads(path.read_text(encoding="utf-8"))["exchanges"][0]["request"]["url"]
    with Replay(path) as replay:
        second = requests.get(place, headers={"Range": "bytes=4-7"}, timeout=5)
        assert second.content == b"4567"
        assert len(replay.unused) == 1
    with pytest.raises(NotRecorded, match="bytes=8-11"), Replay(path):
        requests.get(place, headers={"Range": "bytes=8-11"}, timeout=5)


@pytest.mark.parametrize(
    ("recorded_name", "asked_name"),
    [
        ("busy_fly_r8cvpt5lc2", "silly_farm_ym0yhdksmf"),
        ("3f2504e0-4f89-41d3-9a0c-0305e82c3301", "6fa459ea-ee8a-3ca4-894e-db77e160355e"),
        ("chat-1795530703", "chat-1795999999"),
        ("chat-20261124", "chat-20261201"),
        ("nightly-f1499246", "nightly-093ef1ea"),
    ],
    ids=["azure-ai-ml's", "GUID", "time", "date", "digest"],
)
def test_names_that_are_made_up_stand_for_each_other(
    tmp_path: Path, recorded_name: str, asked_name: str
) -> None:
    """In URLs from then on, in what is answered, and never for two at once."""
    version = "?api-version=2023-08-01-preview"
    recorded(
        tmp_path,
        ("PUT", f"{ARM}/jobs/{recorded_name}{version}", answered({"name": recorded_name, "status": "made"})),
        ("GET", f"{ARM}/jobs/{recorded_name}{version}", answered({"status": f"{recorded_name} runs"})),
    )
    with Replay(tmp_path / "recording.json") as replay:
        assert ask(replay, "PUT", f"/jobs/{asked_name}").json()["name"] == asked_name
        assert ask(replay, "GET", f"/jobs/{asked_name}").json()["status"] == f"{asked_name} runs"
        assert replay.unused == ()


@pytest.mark.parametrize(
    ("recorded_name", "asked_name"),
    [("train", "tune"), ("v1", "v2"), ("Phi-3", "Phi-4"), ("chat-1795530703", "talk-1795530703")],
)
def test_names_that_somebody_chose_are_asked_for_as_they_are(
    tmp_path: Path, recorded_name: str, asked_name: str
) -> None:
    """Another name is another request."""
    recorded(tmp_path, ("GET", f"{ARM}/jobs/{recorded_name}?api-version=2023-08-01-preview", answered({})))
    with pytest.raises(NotRecorded), Replay(tmp_path / "recording.json") as replay:
        ask(replay, "GET", f"/jobs/{asked_name}")


@given(polls=st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_each_url_has_an_order_of_its_own(polls: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """However requests were mixed, each URL's answers come in theirs."""
    tmp_path = tmp_path_factory.mktemp("mixed")
    version = "api-version=2023-08-01-preview"
    exchanges = [
        ("GET", f"{ARM}/jobs/{name}?{version}", answered({"status": f"{n}"})) for n, name in enumerate(polls)
    ]
    recorded(tmp_path, *exchanges)
    expected = {name: [f"{n}" for n, poll in enumerate(polls) if poll == name] for name in sorted(set(polls))}
    for name, answers in expected.items():
        assert statuses(tmp_path, *[("GET", f"/jobs/{name}")] * len(answers)) == answers


# What has no answer


def test_a_request_that_was_not_recorded_is_set_against_the_nearest(tmp_path: Path) -> None:
    """The error shows what differs, and comes again at the end where the code went on regardless."""
    recorded(
        tmp_path,
        ("GET", f"{ARM}/computes/gpu-cluster?api-version=2023-08-01-preview", answered({})),
        ("GET", f"{ARM}/models?api-version=2023-08-01-preview", answered({})),
    )
    replay = Replay(tmp_path / "recording.json")
    with pytest.raises(NotRecorded) as caught, replay, pytest.raises(NotRecorded):
        ask(replay, "GET", "/computes/cpu-cluster")
    lines = str(caught.value).splitlines()
    assert "computes/cpu-cluster" in lines[0]
    assert lines[2].startswith("- GET https://management.azure.com/")
    assert "computes/gpu-cluster" in lines[2]
    assert lines[3].strip("? ") == "^"
    assert len(replay.unused) == 2
    assert str(replay.unused[0]).startswith("200 GET https://management.azure.com/")


def test_an_error_of_the_block_comes_first(tmp_path: Path) -> None:
    """What had no answer is then a note on it."""
    recorded(tmp_path, ("GET", ARM, answered({})))

    def swallow(replay: Replay) -> None:
        try:
            ask(replay, "GET", "/none")
        except NotRecorded as refusal:
            raise ZeroDivisionError from refusal

    with pytest.raises(ZeroDivisionError) as caught, Replay(tmp_path / "recording.json") as replay:
        swallow(replay)
    assert any("was not recorded" in note for note in caught.value.__notes__)


def test_no_client_reaches_azure_during_a_replay(tmp_path: Path) -> None:
    """One that does not use requests is stopped as it looks for the address."""
    recorded(tmp_path, ("GET", ARM, answered({})))
    with (
        Replay(tmp_path / "recording.json"),
        pytest.raises(OSError, match=r"management\.azure\.com is one of"),
    ):
        urllib.request.urlopen("https://management.azure.com/", timeout=5)


def test_a_replay_that_is_not_open_gives_no_client(tmp_path: Path) -> None:
    """Its requests would go to the real Azure."""
    recorded(tmp_path, ("GET", ARM, answered({})))
    replay = Replay(tmp_path / "recording.json")
    for client in (replay.ml_client, replay.workspace):
        with pytest.raises(RuntimeError, match="not open"):
            client()
    with replay, pytest.raises(RuntimeError, match="open already"):
        replay.__enter__()


# What passes through


BODIES: dict[str, Callable[[], Any]] = {
    "bytes": lambda: b"0123456789",
    "file": lambda: io.BytesIO(b"0123456789"),
    "generator": lambda: (piece for piece in (b"01234", b"56789")),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_goes_on_whole(path: Path, body: Callable[[], Any]) -> None:
    """A stream is read to be recorded, and yet is sent."""
    passed: list[bytes] = []

    def network(sending: Sending, onward: Onward) -> requests.Response:
        content = sending.request.body
        passed.append(content.read() if hasattr(content, "read") else content)  # type: ignore[union-attr,arg-type]
        return sending.response(Response(201))

    with layered(Place.CLOUDS, network), Recording(path):
        requests.put("https://store.blob.core.windows.net/c/x", data=body(), timeout=5)
    assert passed == [b"0123456789"]
    assert '"bytes": 10' in path.read_text(encoding="utf-8")


def test_an_answer_goes_on_as_it_came(path: Path) -> None:
    """Compressed, streamed, with its headers; what is written is the content."""
    content = json.dumps({"status": "Running"}).encode()
    headers = {"Content-Encoding": "gzip", "x-other": "kept", "Transfer-Encoding": "chunked"}
    with Service(answered(gzip.compress(content), headers=headers)).open(), Recording(path):
        with requests.get(ARM, stream=True, timeout=5) as answer:
            assert b"".join(answer.iter_content(3)) == content
        assert answer.headers["x-other"] == "kept"
    (exchange,) = json.loads(path.read_text(encoding="utf-8"))["exchanges"]
    assert exchange["answer"]["body"] == {"json": {"status": "Running"}}


class Compressing(BaseHTTPRequestHandler):
    """Answers in chunks, compressed, with a cookie."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Set-Cookie", "session=canary-cookie")
        self.end_headers()
        body = gzip.compress(b'{"status": "Running"}')
        for piece in (body[:9], body[9:], b""):
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_an_answer_from_a_real_wire_goes_on_as_it_came(path: Path) -> None:
    """In chunks, compressed, with a cookie; a server on this machine stands for Azure, as its proxy."""
    with HTTPServer(("127.0.0.1", 0), Compressing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with requests.Session() as session, Recording(path):
            proxies = {"http": f"http://127.0.0.1:{server.server_port}"}
            answers = [
                session.get("http://management.azure.com/x", proxies=proxies, timeout=5) for _ in range(2)
            ]
        server.shutdown()
        thread.join()
    assert [answer.json() for answer in answers] == [{"status": "Running"}] * 2
    assert session.cookies["session"] == "canary-cookie"
    text = path.read_text(encoding="utf-8")
    assert "canary" not in text
    exchanges = json.loads(text)["exchanges"]
    assert [exchange["answer"]["body"] for exchange in exchanges] == [{"json": {"status": "Running"}}] * 2


def test_head_keeps_its_length(path: Path, tmp_path: Path) -> None:
    """There is no body, and the length of the one that GET would have."""
    blob = "https://store.blob.core.windows.net/c/x"
    headers = {"x-ms-meta-upload_status": "completed"}
    recorded(tmp_path, ("HEAD", blob, answered(b"0123456789", headers=headers)))
    place = json.loads((tmp_path / "recording.json").read_text(encoding="utf-8"))["exchanges"][0]["request"][
        "url"
    ]
    with Replay(tmp_path / "recording.json"):
        answer = requests.head(place, timeout=5)
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "10")
    assert answer.headers["x-ms-meta-upload_status"] == "completed"


def test_a_fake_may_be_inside_or_outside(path: Path) -> None:
    """The recording sees the requests to a fake, whichever was opened first."""
    with FakeAzure() as azure, Recording(path):
        assert ask(azure, "GET", "/computes").status_code == 200
    outside = path.read_text(encoding="utf-8")
    with Recording(path, overwrite=True), FakeAzure() as azure:
        assert ask(azure, "GET", "/computes").status_code == 200
    one, other = json.loads(outside), json.loads(path.read_text(encoding="utf-8"))
    assert one["exchanges"] == other["exchanges"] != []


def test_a_fake_and_a_replay_answer_side_by_side(path: Path) -> None:
    """A fake has what carries its token; the replay has the rest."""
    with FakeAzure() as azure, Recording(path):
        ask(azure, "PUT", "/onlineEndpoints/there", json={"properties": {"authMode": "Key"}})
        ask(azure, "GET", "/onlineEndpoints")
    for order in ((Replay(path), FakeAzure()), (FakeAzure(), Replay(path))):
        with order[0] as first, order[1] as second:
            counts = {
                type(home): len(ask(home, "GET", "/onlineEndpoints").json()["value"])
                for home in (first, second)
            }
        assert counts == {Replay: 1, FakeAzure: 0}


def test_what_no_fake_owns_is_not_recorded(path: Path) -> None:
    """It was not sent, and is nothing that a service answered."""
    with FakeAzure(), Recording(path), pytest.raises(requests.ConnectionError):
        requests.get("https://management.azure.com/subscriptions?api-version=1", timeout=5)
    assert json.loads(path.read_text(encoding="utf-8"))["exchanges"] == []


def test_other_hosts_are_not_recorded(path: Path) -> None:
    """They are none of Azure's."""
    with Recording(path), pytest.raises(requests.RequestException):
        requests.get("http://127.0.0.1:9/secret", timeout=1)
    assert "127.0.0.1" not in path.read_text(encoding="utf-8")


def test_threads_are_recorded_and_replayed(path: Path) -> None:
    """No exchange is lost, and each gets its own answer."""

    def make(home: FakeAzure | Replay, number: int) -> str:
        body = {"properties": {"authMode": "Key"}}
        return str(ask(home, "PUT", f"/onlineEndpoints/chat-{number}", json=body).json()["name"])

    names = [f"chat-{number}" for number in range(40)]
    with FakeAzure() as azure, Recording(path), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: make(azure, number), range(40))) == names
    with Replay(path) as replay, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: make(replay, number), range(40))) == names
        assert replay.unused == ()


# The file


def test_a_file_that_is_there_is_left(path: Path) -> None:
    """Hours of work are not begun in vain, and none are thrown away."""
    path.parent.mkdir()
    path.write_text("precious", encoding="utf-8")
    with pytest.raises(FileExistsError, match="overwrite=True"), Recording(path):
        pytest.fail("the block must not be entered")
    assert path.read_text(encoding="utf-8") == "precious"
    with Recording(path, overwrite=True):
        assert path.read_text(encoding="utf-8") == "precious"
    assert Replay(path).unused == ()


def break_off() -> None:
    """Ask once, and fail."""
    requests.get(ARM, timeout=5)
    raise ZeroDivisionError


def test_a_recording_that_broke_off_never_looks_whole(path: Path) -> None:
    """It is beside the file, says so, is not replayed, and a good one from before stays."""
    with Recording(path):
        pass
    good = path.read_text(encoding="utf-8")
    service = Service(answered({}))
    with pytest.raises(ZeroDivisionError) as caught, service.open(), Recording(path, overwrite=True):
        break_off()
    beside = path.parent / "nightly.broken-off.json"
    assert str(beside) in caught.value.__notes__[0]
    assert path.read_text(encoding="utf-8") == good
    assert json.loads(beside.read_text(encoding="utf-8"))["complete"] is False
    with pytest.raises(ValueError, match="broke off"):
        Replay(beside)
    assert sorted(file.name for file in path.parent.iterdir()) == ["nightly.broken-off.json", "nightly.json"]


def test_the_file_says_what_it_is(path: Path) -> None:
    """Format, versions, date, and the same text for the same exchanges in whatever order their fields came."""
    bodies = ({"b": 1, "a": {"d": 2, "c": 3}}, {"a": {"c": 3, "d": 2}, "b": 1})
    texts = []
    for body in bodies:
        with Service(answered(body)).open(), Recording(path, overwrite=True):
            requests.get(ARM, timeout=5)
        texts.append(path.read_text(encoding="utf-8"))
    file = json.loads(texts[0])
    assert (file["format"], file["complete"], file["azure_ai_ml"]) == (1, True, "1.35.2")
    assert file["recorder"].startswith("phi-finetune ")
    assert len({text.partition('"exchanges"')[2] for text in texts}) == 1
    assert texts[0].count("\n") > 30


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "exchanges": [{}]}'])
def test_what_is_no_recording_is_refused(tmp_path: Path, text: str) -> None:
    """The error names the file."""
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"odd\.json is not a recording"):
        Replay(path)


def test_another_format_is_refused(path: Path) -> None:
    """A later version may write what this one does not understand."""
    with Recording(path):
        pass
    path.write_text(path.read_text(encoding="utf-8").replace('"format": 1', '"format": 2'), encoding="utf-8")
    with pytest.raises(ValueError, match="has format 2"):
        Replay(path)
    with pytest.raises(FileNotFoundError):
        Replay(path.parent / "none.json")


def test_the_light_fakes_load_nothing_of_it() -> None:
    """Nor does the plugin of pytest."""
    code = """
import sys, phi_finetune.testing.plugin
from phi_finetune.testing import fake_job
fake_job()
print([name for name in sys.modules if "recording" in name])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"
