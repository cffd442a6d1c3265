from __future__ import annotations

import asyncio
import io
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.doors.inprocess import AzureAddressRefused, AzureRequestRefused, InProcessDoor
from phi_finetune.emulator.identity.state import ARM_AUDIENCE

SEND = HTTPAdapter.send
GETADDRINFO = socket.getaddrinfo
GETHOSTBYNAME, GETHOSTBYNAME_EX = socket.gethostbyname, socket.gethostbyname_ex


class Echo(BaseHTTPRequestHandler):
    """Answers with the request's path and body."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = self.path.encode() + b" " + body
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST
    do_CONNECT = do_POST

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """The address of a server on this machine that is not Azure's."""
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test, requests and sockets are as they were."""
    yield
    assert HTTPAdapter.send is SEND
    assert socket.getaddrinfo is GETADDRINFO
    assert (socket.gethostbyname, socket.gethostbyname_ex) == (GETHOSTBYNAME, GETHOSTBYNAME_EX)


def token(cloud: Cloud) -> dict[str, str]:
    """The header of a good token."""
    return {"Authorization": f"Bearer {cloud.identity.issue(ARM_AUDIENCE)[0]}"}


def get_workspace(cloud: Cloud) -> requests.Response:
    """Ask for the workspace of a cloud."""
    return requests.get(
        f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01",
        headers=token(cloud),
        timeout=5,
    )


def blob_url(cloud: Cloud, path: str = "some.txt") -> str:
    """The URL of a blob, good to write and to read."""
    address = cloud.storage.url(path).partition("?")[0]
    return f"{address}?{cloud.storage.sas(timedelta(hours=1))}"


def put_blob(cloud: Cloud, body: Any, **headers: str) -> bytes:
    """Write a blob through the door, and give what the store then holds."""
    answer = requests.put(
        blob_url(cloud), data=body, headers={"x-ms-blob-type": "BlockBlob", **headers}, timeout=5
    )
    assert answer.status_code == 201
    stored = cloud.storage.get("some.txt")
    assert stored is not None
    return bytes(stored.data)


def test_a_request_to_azure_is_answered() -> None:
    """The answer looks like one from the wire: status, reason, headers, JSON, a time that it took."""
    with InProcessDoor(Cloud()) as cloud:
        answer = get_workspace(cloud)
    assert (answer.status_code, answer.reason, answer.json()["name"]) == (200, "OK", "phi-lab")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.elapsed.total_seconds() >= 0


def test_an_answer_can_be_streamed() -> None:
    """A body is read in pieces where the caller asks for that."""
    with InProcessDoor(Cloud()) as cloud:
        url = f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01"
        with requests.get(url, headers=token(cloud), stream=True, timeout=5) as answer:
            pieces = list(answer.iter_content(100))
    assert len(pieces) > 1
    assert len(b"".join(pieces)) == int(answer.headers["Content-Length"])


def test_head_has_a_length_and_no_body() -> None:
    """HEAD gives the length of what GET would give (wire.md 10)."""
    with InProcessDoor(Cloud()) as cloud:
        put_blob(cloud, b"0123456789")
        answer = requests.head(blob_url(cloud), timeout=5)
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    "body",
    [
        lambda: "Grüße".encode(),
        lambda: "Grüße",
        lambda: io.BytesIO("Grüße".encode()),
        lambda: io.StringIO("Grüße"),
        lambda: (piece.encode() for piece in ("Grü", "ße")),
        lambda: iter(["Grü", "ße"]),
        lambda: bytearray("Grüße".encode()),
    ],
    ids=["bytes", "text", "file", "text file", "generator of bytes", "iterator of texts", "bytearray"],
)
def test_every_kind_of_body_arrives(body: Callable[[], Any]) -> None:
    """Bytes, texts, files and generators all reach the cloud whole."""
    with InProcessDoor(Cloud()) as cloud:
        assert put_blob(cloud, body()).decode() == "Grüße"


def test_a_file_is_read_from_where_it_stands() -> None:
    """What was read of a file before is not sent."""
    file = io.BytesIO(b"0123456789")
    file.seek(4)
    with InProcessDoor(Cloud()) as cloud:
        assert put_blob(cloud, file) == b"456789"


def test_other_hosts_are_left_alone(elsewhere: str) -> None:
    """A request to a host that is not Azure's goes out as ever."""
    with InProcessDoor(Cloud()):
        answer = requests.post(f"{elsewhere}/path", data=b"body", timeout=5)
    assert answer.content == b"/path body"


def test_a_request_that_nobody_owns_is_refused() -> None:
    """The refusal is a connection error that names the host and the fakes that are open."""
    with InProcessDoor(Cloud()) as cloud, pytest.raises(AzureRequestRefused) as refused:
        requests.get("https://management.azure.com/subscriptions?api-version=1", timeout=5)
    assert isinstance(refused.value, requests.exceptions.ConnectionError)
    assert "GET to management.azure.com was not sent" in str(refused.value)
    assert cloud.subscription_id in str(refused.value)


def test_a_token_of_another_tenant_is_not_owned() -> None:
    """A token decides before the URL does, so nobody is answered with somebody else's token."""
    other = Cloud()
    with InProcessDoor(Cloud()) as cloud:
        url = f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01"
        with pytest.raises(AzureRequestRefused):
            requests.get(url, headers=token(other), timeout=5)


@pytest.mark.parametrize(
    "host",
    [
        "MANAGEMENT.azure.com",
        "x.blob.core.windows.net",
        "dc.services.visualstudio.com",
        "registry.azurecr.io",
        "site.azurewebsites.net",
        "lab.trafficmanager.net",
        "graph.microsoft.com",
    ],
)
def test_no_host_of_azure_is_reached(host: str) -> None:
    """Other services of Azure, telemetry too, are refused."""
    with InProcessDoor(Cloud()), pytest.raises(AzureRequestRefused):
        requests.get(f"https://{host}/", timeout=5)


@pytest.mark.parametrize(
    "host", ["management.azure.com.example", "notazure.com", "azure.example", "aka.ms", "www.microsoft.com"]
)
def test_a_look_alike_is_not_azure(host: str, elsewhere: str) -> None:
    """A host that only looks like Azure's is left to go its way, here to a proxy."""
    with InProcessDoor(Cloud()):
        answer = requests.get(f"http://{host}/path", proxies={"http": elsewhere}, timeout=5)
    assert answer.text == f"http://{host}/path "


def test_urllib_cannot_reach_azure() -> None:
    """A client that does not use requests is stopped as it looks for the address."""
    with InProcessDoor(Cloud()), pytest.raises(OSError, match=r"management\.azure\.com is one of"):
        urllib.request.urlopen("https://management.azure.com/", timeout=5)


def test_a_proxy_does_not_lead_past_the_guard(elsewhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a proxy is configured, other clients ask it for all hosts but Azure's."""
    monkeypatch.setenv("HTTP_PROXY", elsewhere)
    monkeypatch.setenv("HTTPS_PROXY", elsewhere)
    monkeypatch.setenv("no_proxy", "intranet")
    with InProcessDoor(Cloud()):
        opener = urllib.request.build_opener()
        with pytest.raises(OSError, match="is one of Azure's hosts"):
            opener.open("https://management.azure.com/", timeout=5)
        with opener.open("http://example.invalid/path", timeout=5) as answer:
            assert answer.read() == b"http://example.invalid/path "
        assert urllib.request.proxy_bypass("intranet")
    assert urllib.request.getproxies_environment()["no"] == "intranet"


@pytest.mark.parametrize("look_up", ["gethostbyname", "gethostbyname_ex"])
def test_older_ways_to_look_up_are_guarded(look_up: str) -> None:
    """Python's older functions of name resolution find no address of Azure's either, and others as ever."""
    with InProcessDoor(Cloud()):
        with pytest.raises(AzureAddressRefused, match=r"management\.azure\.com is one of"):
            getattr(socket, look_up)("management.azure.com")
        assert "127.0.0.1" in str(getattr(socket, look_up)("localhost"))


def test_asyncio_cannot_reach_azure() -> None:
    """Clients on asyncio are stopped too."""
    with InProcessDoor(Cloud()), pytest.raises(AzureAddressRefused):
        asyncio.run(asyncio.wait_for(_connect("login.microsoftonline.com"), 5))


async def _connect(host: str) -> None:
    await asyncio.open_connection(host, 443)


@pytest.mark.parametrize("host", ["localhost", b"localhost", None])
def test_other_addresses_are_looked_up(host: str | bytes | None) -> None:
    """Name resolution of other hosts is as ever, whatever form the name has."""
    with InProcessDoor(Cloud()):
        assert socket.getaddrinfo(host, 80) == GETADDRINFO(host, 80)


def test_clouds_see_their_own_requests_only() -> None:
    """Two clouds that are open at once are told apart by what the request carries."""
    with InProcessDoor(Cloud()) as one, InProcessDoor(Cloud()) as two:
        for cloud, times in ((one, 1), (two, 2)):
            for _ in range(times):
                assert cloud.subscription_id in get_workspace(cloud).json()["id"]
    assert (len(one.journal), len(two.journal)) == (1, 2)


def test_endpoints_of_one_name_are_told_apart_by_key() -> None:
    """Two clouds may have an endpoint of one name, and so of one host; the key leads to its own."""
    with InProcessDoor(Cloud()) as one, InProcessDoor(Cloud()) as two:
        for cloud in (one, two):
            url = f"https://management.azure.com{cloud.workspace.id}/onlineEndpoints/phi-test?api-version=2024-10-01"
            requests.put(url, json={"properties": {"authMode": "Key"}}, headers=token(cloud), timeout=5)
        key = two.endpoints.find("phi-test").keys["Primary"]
        uri = two.endpoints.find("phi-test").scoring_uri
        # 404 because no deployment takes traffic; 401 would say that the key is another's.
        answer = requests.post(uri, json={}, headers={"Authorization": f"Bearer {key}"}, timeout=5)
    assert answer.status_code == 404
    assert two.journal[-1].url == uri


def test_the_machines_identity_is_that_of_the_only_cloud() -> None:
    """The machine's identity endpoint is not told who asks, so it answers where one cloud is open."""
    url = "http://169.254.169.254/metadata/identity/oauth2/token?resource=https://management.azure.com"
    with InProcessDoor(Cloud()):
        assert requests.get(url, headers={"Metadata": "true"}, timeout=5).status_code == 200
        with InProcessDoor(Cloud()) as other:
            with pytest.raises(AzureRequestRefused):
                requests.get(url, headers={"Metadata": "true"}, timeout=5)
            known = f"{url}&client_id={other.identity.client_id}"
            assert requests.get(known, headers={"Metadata": "true"}, timeout=5).status_code == 200


def test_the_public_metadata_of_entra_is_anybodys() -> None:
    """It is the same for every tenant, so any open cloud answers."""
    url = "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1"
    with InProcessDoor(Cloud()), InProcessDoor(Cloud()):
        assert requests.get(url, timeout=5).status_code == 200


def test_doors_close_in_any_order() -> None:
    """As long as one is open, its requests are answered, and those of the closed one are refused."""
    first, second = InProcessDoor(Cloud()), InProcessDoor(Cloud())
    one, two = first.__enter__(), second.__enter__()
    first.__exit__(None, None, None)
    assert get_workspace(two).status_code == 200
    with pytest.raises(AzureRequestRefused):
        get_workspace(one)
    second.__exit__(None, None, None)


def test_an_error_inside_closes_the_door() -> None:
    """The fixture ``nothing_left`` sees to it that requests is as it was."""
    with pytest.raises(ZeroDivisionError), InProcessDoor(Cloud()):
        raise ZeroDivisionError


def test_a_later_patch_of_somebody_else_stays(elsewhere: str) -> None:
    """A patch that was put over ours is not taken away, and what it kept passes everything on."""
    calls: list[str] = []
    door = InProcessDoor(Cloud())
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(HTTPAdapter, "send", SEND)
        door.__enter__()
        ours = HTTPAdapter.send

        def theirs(
            adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any
        ) -> requests.Response:
            calls.append(str(request.url))
            return ours(adapter, request, **options)

        patches.setattr(HTTPAdapter, "send", theirs)
        door.__exit__(None, None, None)
        url = "http://management.azure.com/path"
        assert requests.get(url, proxies={"http": elsewhere}, timeout=5).text == f"{url} "
    assert calls == [url]


def test_threads_reach_the_cloud_of_their_token() -> None:
    """Eight clouds in eight threads that use a client each, and each other's, stay apart."""
    doors = [InProcessDoor(Cloud()) for _ in range(8)]
    clouds = [door.__enter__() for door in doors]
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(get_workspace, clouds * 5))
    finally:
        for door in doors:
            door.__exit__(None, None, None)
    for cloud, answer in zip(clouds * 5, answers, strict=True):
        assert cloud.subscription_id in answer.json()["id"]
    assert [len(cloud.journal) for cloud in clouds] == [5] * 8


def test_threads_share_a_cloud() -> None:
    """Requests of many threads to one cloud are answered one after the other, and none is lost."""

    def make(number: int) -> int:
        url = f"https://management.azure.com{cloud.workspace.id}/onlineEndpoints/phi-{number}?api-version=2024-10-01"
        body = {"properties": {"authMode": "Key"}}
        return requests.put(url, json=body, headers=token(cloud), timeout=5).status_code

    with InProcessDoor(Cloud()) as cloud, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(make, range(80))) == {201}
        assert len(cloud.endpoints.all()) == 80


def test_threads_open_and_close_doors() -> None:
    """Doors that open and close at the same time leave nothing behind, and never lose a request."""

    def once(_: int) -> int:
        with InProcessDoor(Cloud()) as cloud:
            return get_workspace(cloud).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(once, range(80))) == {200}
