from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import online
import pytest
import requests

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import AnswerLost, HalfBody, RequestFault, Silence, Unreachable
from phi_finetune.emulator.doors.inprocess import InProcessDoor
from phi_finetune.emulator.identity.state import ARM_AUDIENCE
from phi_finetune.testing.proxy import ProxyDoor

ARM = "https://management.azure.com"
CATALOGUE = (
    "https://cert-eastus.experiments.azureml.net/mferp/managementfrontend/subscriptions/{}/resourceGroups/registries"
    "/providers/Microsoft.MachineLearningServices/registries/azureml/models/Phi-4/versions/8"
)


@pytest.fixture
def cloud() -> Cloud:
    """A cloud that nobody asked yet."""
    return Cloud()


@pytest.fixture
def door(cloud: Cloud) -> Iterator[ProxyDoor]:
    """An open proxy; afterwards there are as many threads as before."""
    before = threading.active_count()
    with ProxyDoor(cloud) as door:
        yield door
    assert threading.active_count() == before


@pytest.fixture
def client(door: ProxyDoor) -> Iterator[requests.Session]:
    """A client that goes through it."""
    with client_of(door) as session:
        yield session


@pytest.fixture(params=["in process", "proxy"])
def either(cloud: Cloud, request: pytest.FixtureRequest) -> Iterator[requests.Session]:
    """A client with a token, behind the one door and then behind the other."""
    if request.param == "proxy":
        with ProxyDoor(cloud) as door, client_of(door) as session:
            yield session
        return
    with InProcessDoor(cloud), requests.Session() as session:
        yield session


def client_of(door: ProxyDoor) -> requests.Session:
    """A client that goes through a proxy, and through no other."""
    session = requests.Session()
    session.trust_env = False
    session.proxies = {"https": door.url, "http": door.url}
    session.verify = str(door.ca_file)
    return session


def token(cloud: Cloud) -> dict[str, str]:
    """The header of a good token."""
    return {"Authorization": f"Bearer {cloud.identity.issue(ARM_AUDIENCE)[0]}"}


def blob_url(cloud: Cloud, path: str = "some.txt") -> str:
    """The URL of a blob, good to write and to read."""
    address = cloud.storage.url(path).partition("?")[0]
    return f"{address}?{cloud.storage.sas(timedelta(hours=1))}"


def port_of(door: ProxyDoor) -> int:
    """Where a proxy listens."""
    return int(door.url.rpartition(":")[2])


def connect(door: ProxyDoor) -> socket.socket:
    """A bare connection to the proxy."""
    connection = socket.create_connection(("127.0.0.1", port_of(door)))
    connection.settimeout(5)
    return connection


def tunnel(door: ProxyDoor, host: str = "management.azure.com") -> ssl.SSLSocket:
    """A connection through the proxy, after the TLS handshake."""
    connection = connect(door)
    connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    context = ssl.create_default_context(cafile=str(door.ca_file))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context.wrap_socket(connection, server_hostname=host)


def received(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_service_principal_signs_in(either: requests.Session, cloud: Cloud) -> None:
    """The token that Entra gives for the secret opens the workspace."""
    form = {
        "grant_type": "client_credentials",
        "client_id": cloud.identity.client_id,
        "client_secret": cloud.identity.client_secret,
        "scope": f"{ARM_AUDIENCE}/.default",
    }
    url = f"https://login.microsoftonline.com/{cloud.tenant_id}/oauth2/v2.0/token"
    given = either.post(url, data=form, timeout=5).json()
    answer = either.get(
        f"{ARM}{cloud.workspace.id}?api-version=2024-10-01",
        headers={"Authorization": f"Bearer {given['access_token']}"},
        timeout=5,
    )
    assert (answer.status_code, answer.reason, answer.json()["name"]) == (200, "OK", "phi-lab")
    assert int(answer.headers["Content-Length"]) == len(answer.content)


def test_a_model_of_the_registry_is_found(either: requests.Session, cloud: Cloud) -> None:
    """A look-up in the catalogue gives the model's id."""
    found = either.get(CATALOGUE.format(cloud.subscription_id), headers=token(cloud), timeout=5).json()
    assert found["id"] == "azureml://registries/azureml/models/Phi-4/versions/8"


def test_a_blob_goes_up_and_comes_down(either: requests.Session, cloud: Cloud) -> None:
    """Three megabytes arrive whole, HEAD gives their length without them, and a part can be had."""
    data = os.urandom(3_000_000)
    url, kind = blob_url(cloud), {"x-ms-blob-type": "BlockBlob"}
    assert either.put(url, data=data, headers=kind, timeout=5).status_code == 201
    head = either.head(url, timeout=5)
    assert (head.content, head.headers["Content-Length"]) == (b"", "3000000")
    assert either.get(url, timeout=5).content == data
    part = either.get(url, headers={"x-ms-range": "bytes=10-19"}, timeout=5)
    assert (part.status_code, part.content) == (206, data[10:20])


def test_a_body_without_a_length_arrives(either: requests.Session, cloud: Cloud) -> None:
    """What is sent in chunks is put together."""
    pieces = iter([b"one ", b"two ", b"three"])
    headers = {"x-ms-blob-type": "BlockBlob"}
    assert either.put(blob_url(cloud), data=pieces, headers=headers, timeout=5).status_code == 201
    assert either.get(blob_url(cloud), timeout=5).content == b"one two three"


def test_an_endpoint_answers(either: requests.Session, cloud: Cloud) -> None:
    """A scoring call with the endpoint's key is answered, and one with another key is not."""
    online.deployed(cloud, "blue", traffic={"blue": 100})
    endpoint = cloud.endpoints.find("phi-test")
    asked = {"input_data": {"input_string": [{"role": "user", "content": "Hello."}], "parameters": {}}}
    statuses = [
        either.post(
            endpoint.scoring_uri, json=asked, headers={"Authorization": f"Bearer {key}"}, timeout=5
        ).status_code
        for key in (endpoint.keys["Primary"], "wrong")
    ]
    assert statuses == [200, 401]


def test_an_unknown_route_is_501(either: requests.Session, cloud: Cloud) -> None:
    """The cloud says what it does not know, and remembers it."""
    url = f"{ARM}{cloud.workspace.id}/featureStores"
    assert either.get(url, headers=token(cloud), timeout=5).status_code == 501
    assert len(cloud.unrouted) == 1


@pytest.mark.parametrize("fault", [AnswerLost("GET *"), Unreachable("GET *"), HalfBody("GET *", "cut")])
def test_a_lost_answer_is_a_broken_connection(
    either: requests.Session, cloud: Cloud, fault: RequestFault
) -> None:
    """The client meets an error of the connection, and the next request is answered."""
    cloud.faults.next(fault)
    url = f"{ARM}{cloud.workspace.id}?api-version=2024-10-01"
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        either.get(url, headers=token(cloud), timeout=5)
    assert either.get(url, headers=token(cloud), timeout=5).status_code == 200
    assert not cloud.faults.unmet


def test_silence_lasts_until_the_client_has_had_enough(client: requests.Session, cloud: Cloud) -> None:
    """The client's own timeout ends it."""
    cloud.faults.next(Silence("GET *"))
    with pytest.raises(requests.ReadTimeout):
        client.get(f"{ARM}{cloud.workspace.id}?api-version=2024-10-01", headers=token(cloud), timeout=0.1)


@pytest.mark.parametrize(
    "target",
    [
        "https://example.com/",
        "https://management.azure.com.example/",
        "https://127.0.0.1/",
        "https://management.azure.com:8443/",
    ],
)
def test_nothing_is_passed_on(client: requests.Session, cloud: Cloud, target: str) -> None:
    """Another host or port is refused with 403, and the client's error says why."""
    with pytest.raises(requests.exceptions.ProxyError, match=r"403 .*(not one of Azure's hosts|port 443)"):
        client.get(target, timeout=5)
    assert not cloud.journal


def test_plain_http_is_refused(client: requests.Session, cloud: Cloud) -> None:
    """Azure is asked over HTTPS alone."""
    answer = client.get("http://management.azure.com/", timeout=5)
    assert answer.status_code == 403
    assert "HTTPS alone" in answer.text
    assert not cloud.journal


def test_what_is_no_host_is_refused(door: ProxyDoor) -> None:
    """A target without a port, or with letters that no host has, gets no certificate."""
    for target in ("management.azure.com", "m\xe4.azure.com:443", "x/../y.azure.com:443"):
        with connect(door) as connection:
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode("latin-1"))
            assert received(connection).startswith(b"HTTP/1.1 403 ")


def test_a_long_host_has_a_certificate(door: ProxyDoor, cloud: Cloud) -> None:
    """A host of more than 64 characters is as good as any."""
    host = f"{'a' * 60}.eastus.inference.ml.azure.com"
    with tunnel(door, host) as connection:
        connection.sendall(f"POST /score HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = received(connection)
    assert not cloud.unrouted
    assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 404 "))


def test_one_connection_serves_many_requests(door: ProxyDoor, cloud: Cloud) -> None:
    """Requests that are sent at once are answered one by one, in order, and an answer of 204 has no length."""
    path, bearer = f"{cloud.workspace.id}/{online.E}?api-version=2024-10-01", token(cloud)["Authorization"]
    asked = f"DELETE {path} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\n"
    with tunnel(door) as connection:
        connection.sendall(f"{asked}\r\n{asked}Connection: close\r\n\r\n".encode())
        answer = received(connection).decode()
    assert answer.count("HTTP/1.1 204 No Content\r\n") == 2
    assert "content-length" not in answer.lower()


def test_a_client_may_ask_before_it_sends(door: ProxyDoor, cloud: Cloud) -> None:
    """100 Continue comes first, and the answer after the body, whose trailers are passed over."""
    url = blob_url(cloud)
    host, _, path = url.removeprefix("https://").partition("/")
    with tunnel(door, host) as connection:
        connection.sendall(
            f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nx-ms-blob-type: BlockBlob\r\nExpect: 100-continue\r\n"
            "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"3;name=value\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 201 ")
    stored = cloud.storage.get("some.txt")
    assert stored is not None
    assert stored.data == b"abc"


@pytest.mark.parametrize("length", ["Content-Length: -1", "Content-Length: x", "Transfer-Encoding: chunked"])
def test_a_body_of_unknown_length_is_400(door: ProxyDoor, cloud: Cloud, length: str) -> None:
    """A length that is none is refused, and the connection closed."""
    with tunnel(door) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n-1\r\n".encode())
        assert received(connection).startswith(b"HTTP/1.1 400 ")
    assert not cloud.journal


@pytest.mark.parametrize("sent", ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\n"])
def test_a_client_may_leave_at_any_time(cloud: Cloud, sent: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A request that ends half-way is not carried out, nothing is complained of, and others are answered."""
    with ProxyDoor(cloud) as door, client_of(door) as client:
        with tunnel(door) as connection:
            connection.sendall(f"POST / HTTP/1.1\r\nHost: a\r\n{sent}".encode())
        connect(door).close()
        with connect(door) as connection:
            connection.sendall(b"CONNECT management.azure.com:443 HTTP/1.1\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        answer = client.get(
            f"{ARM}{cloud.workspace.id}?api-version=2024-10-01", headers=token(cloud), timeout=5
        )
        # These are still there when it closes.
        left = [connect(door), tunnel(door), tunnel(door)]
        left[-1].sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n")
    for connection in left:
        connection.close()
    assert answer.status_code == 200
    assert len(cloud.journal) == 1
    assert capfd.readouterr().err == ""


def test_a_client_that_trusts_somebody_else_is_not_served(door: ProxyDoor, cloud: Cloud) -> None:
    """Each proxy has an authority of its own, and a client must be told of it."""
    with ProxyDoor(cloud) as other, client_of(door) as client:
        client.verify = str(other.ca_file)
        with pytest.raises(requests.exceptions.SSLError):
            client.get(f"{ARM}{cloud.workspace.id}?api-version=2024-10-01", headers=token(cloud), timeout=5)


def test_two_proxies_lead_to_two_clouds() -> None:
    """Each has its own port and cloud, and the one refuses the other's token."""
    one, two = Cloud(), Cloud()
    with ProxyDoor(one) as first, ProxyDoor(two) as second:
        assert first.url != second.url
        for door, cloud, other in ((first, one, two), (second, two, one)):
            with client_of(door) as client:
                url = f"{ARM}{cloud.workspace.id}?api-version=2024-10-01"
                assert client.get(url, headers=token(cloud), timeout=5).status_code == 200
                assert client.get(url, headers=token(other), timeout=5).status_code == 401
    assert (len(one.journal), len(two.journal)) == (2, 2)


def test_many_connections_at_once(door: ProxyDoor, cloud: Cloud) -> None:
    """Forty clients that are all connected get each its own answers."""
    ready = threading.Barrier(40, timeout=20)

    def work(number: int) -> bool:
        with client_of(door) as client:
            url, data = blob_url(cloud, f"{number}.bin"), bytes([number]) * 10_000
            client.put(url, data=data, headers={"x-ms-blob-type": "BlockBlob"}, timeout=20)
            ready.wait()
            return client.get(url, timeout=20).content == data

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(work, range(40)))


def test_nothing_is_left_of_it(cloud: Cloud) -> None:
    """Threads, files and the port are gone at once, even while clients are still connected."""
    before = threading.active_count()
    with ProxyDoor(cloud) as door:
        folder, idle, half = door.ca_file.parent, tunnel(door), connect(door)
        half.sendall(b"CONNECT management")
        port = port_of(door)
        (key,) = folder.glob("*.key")
        assert key.stat().st_mode & 0o777 == 0o600
    assert threading.active_count() == before
    assert not folder.exists()
    with idle, half, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with pytest.raises(RuntimeError, match="not open"):
        door.environment()


def test_it_can_be_opened_again_but_not_twice(cloud: Cloud) -> None:
    """A port may be chosen, and is free again after each time."""
    with ProxyDoor(cloud) as free:
        port = port_of(free)
    door = ProxyDoor(cloud, port=port)
    for _ in range(2):
        with door:
            assert door.url == f"http://127.0.0.1:{port}"
            with pytest.raises(RuntimeError, match="open already"):
                door.__enter__()
    with (
        free,
        pytest.raises(OSError, match="in use"),
        ProxyDoor(cloud, port=port_of(free)),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    """It prints what to set; a client that knows that alone signs in; and its files are gone in the end."""
    command = [sys.executable, "-m", "phi_finetune.testing.proxy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = dict(line.strip().split("=", 1) for line in iter(process.stdout.readline, "\n"))
        status = get_workspace(printed)
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=10)
    assert (status, rest, complaints, process.returncode) == (200, "", "", 0)
    assert not Path(printed["SSL_CERT_FILE"]).parent.exists()


def get_workspace(printed: dict[str, str]) -> int:
    """Sign in and ask for the workspace with Python's urllib."""
    context = ssl.create_default_context(cafile=printed["SSL_CERT_FILE"])
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": printed["HTTPS_PROXY"]}),
        urllib.request.HTTPSHandler(context=context),
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": printed["AZURE_CLIENT_ID"],
        "client_secret": printed["AZURE_CLIENT_SECRET"],
        "scope": f"{ARM_AUDIENCE}/.default",
    }
    sign_in = f"https://login.microsoftonline.com/{printed['AZURE_TENANT_ID']}/oauth2/v2.0/token"
    with opener.open(sign_in, urllib.parse.urlencode(form).encode(), timeout=5) as answer:
        bearer = json.loads(answer.read())["access_token"]
    where = (
        f"{ARM}/subscriptions/{printed['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{printed['AZURE_RESOURCE_GROUP']}"
        f"/providers/Microsoft.MachineLearningServices/workspaces/{printed['AZUREML_WORKSPACE_NAME']}?api-version=2024-10-01"
    )
    asked = urllib.request.Request(where, headers={"Authorization": f"Bearer {bearer}"})
    with opener.open(asked, timeout=5) as answer:
        return int(answer.status)
