from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests
from asking import ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, ManagedOnlineEndpoint, Model
from azure.core.exceptions import (
    ClientAuthenticationError,
    DecodeError,
    IncompleteReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseTimeoutError,
)
from urllib3.util import Timeout

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.doors.failures import WaitsForEver
from phi_finetune.emulator.identity.state import ARM_AUDIENCE
from phi_finetune.errors import HostRefused
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import AnswerLost, ExpiredToken, HalfBody, Silence, Wrong

FOLDER = "azureml://datastores/workspaceblobstore/paths/models/mine"
SIZE = "Standard_NC24ads_A100_v4"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


def make_model(client: MLClient) -> None:
    """Register a model's version, which is one PUT."""
    client.models.create_or_update(Model(name="mine", version="1", path=FOLDER))


def get_workspace(
    azure: FakeAzure, timeout: float | tuple[float | None, float | None] | Timeout | None
) -> int:
    """Ask for the workspace, with requests alone, and give the status."""
    headers = {"Authorization": f"Bearer {azure.cloud.identity.issue(ARM_AUDIENCE)[0]}"}
    url = f"https://management.azure.com{azure.cloud.workspace.id}?api-version=2024-10-01"
    # requests takes urllib3's Timeout too; its stubs do not say so.
    return requests.get(url, headers=headers, timeout=timeout).status_code  # type: ignore[arg-type]


def statuses(azure: FakeAzure, method: str) -> list[int | None]:
    """What the requests of a method were answered with; None for one whose answer was lost."""
    return [entry.status for entry in azure.journal.filter(method=method)]


# Silence


def test_a_silent_service_was_reached(azure: FakeAzure, client: MLClient) -> None:
    """A PUT is carried out, waits for azure-core's 300 s in vain, and is sent again (reliability.md 1.1)."""
    azure.faults.next(Silence("PUT */models/*"))
    before = azure.clock.monotonic()
    make_model(client)
    assert statuses(azure, "PUT") == [None, 200]
    assert 300 <= azure.clock.monotonic() - before < 310


def test_silence_may_swallow_the_request(azure: FakeAzure, client: MLClient) -> None:
    """A request that is not applied came, but nothing was made of it: the second PUT makes the version."""
    azure.faults.next(Silence("PUT */models/*", applied=False))
    make_model(client)
    assert statuses(azure, "PUT") == [None, 201]


def test_a_post_is_not_sent_again_after_silence(azure: FakeAzure, client: MLClient) -> None:
    """azure-core says that no answer came in time."""
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    azure.faults.next(Silence("POST */listKeys"))
    with pytest.raises(ServiceResponseTimeoutError, match="read timeout=300"):
        client.online_endpoints.get_keys("phi-test")


def test_no_connection_in_time(azure: FakeAzure, client: MLClient) -> None:
    """azure-core says that no connection was made in time, and nothing came."""
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    azure.faults.next(Silence("POST */listKeys", after="connect"))
    with pytest.raises(ServiceRequestTimeoutError, match="connect timeout=300"):
        client.online_endpoints.get_keys("phi-test")
    assert statuses(azure, "POST") == []


@pytest.mark.parametrize("timeout", [(3, 7), Timeout(connect=3, read=7)])
def test_the_clients_own_timeout_passes(azure: FakeAzure, timeout: tuple[float, float] | Timeout) -> None:
    """What passes on the clock is the timeout for connecting or for reading that the client gave."""
    azure.faults.next(Silence("GET *", after="connect"))
    with pytest.raises(requests.exceptions.ConnectTimeout):
        get_workspace(azure, timeout)
    assert azure.clock.monotonic() == 3
    azure.faults.next(Silence("GET *"))
    with pytest.raises(requests.exceptions.ReadTimeout):
        get_workspace(azure, timeout)
    assert azure.clock.monotonic() == 3 + 7


@pytest.mark.parametrize("timeout", [None, (5, None)])
def test_a_client_without_a_timeout_would_wait_for_ever(
    azure: FakeAzure, timeout: tuple[float | None, float | None] | None
) -> None:
    """A client with no read timeout is told so instead of being kept."""
    azure.faults.next(Silence("GET *"))
    with pytest.raises(WaitsForEver, match=r"GET to management\.azure\.com has no timeout"):
        get_workspace(azure, timeout)


def test_a_reset_may_come_before_anything_is_done(azure: FakeAzure, client: MLClient) -> None:
    """A lost answer that is not applied leaves nothing behind: the second PUT makes the version."""
    azure.faults.next(AnswerLost("PUT */models/*", applied=False))
    make_model(client)
    assert statuses(azure, "PUT") == [None, 201]


# Half a body


def test_a_body_cut_short_is_incomplete(azure: FakeAzure, client: MLClient) -> None:
    """Half of the keys comes under the length of all of them, and the client notices (reliability.md 1.1)."""
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    azure.faults.next(HalfBody("POST */listKeys"))
    with pytest.raises(IncompleteReadError):
        client.online_endpoints.get_keys("phi-test")
    assert statuses(azure, "POST") == [200]


def test_a_put_whose_answer_is_cut_is_sent_again(azure: FakeAzure, client: MLClient) -> None:
    """The client sends the PUT again, and so it is applied twice (reliability.md 1.1)."""
    azure.faults.next(HalfBody("PUT */models/*"))
    make_model(client)
    assert statuses(azure, "PUT") == [201, 200]


def test_half_a_json_is_no_json(azure: FakeAzure, client: MLClient) -> None:
    """The client cannot decode it and asks no more, though the version was made (reliability.md 1.1)."""
    azure.faults.next(HalfBody("PUT */models/*", how="half-json"))
    with pytest.raises(DecodeError):
        make_model(client)
    assert statuses(azure, "PUT") == [201]
    assert [model.version for model in azure.models["mine"]] == ["1"]


def test_half_a_body_may_be_of_a_refusal(azure: FakeAzure, client: MLClient) -> None:
    """A request that is not applied gets half of a 503, which the client sends again."""
    azure.faults.next(HalfBody("PUT */models/*", how="half-json", applied=False))
    make_model(client)
    assert statuses(azure, "PUT") == [503, 201]


def test_an_answer_without_a_body_is_not_halved() -> None:
    """The fault waits for an answer that has a body."""
    cloud = Cloud()
    cloud.faults.next(HalfBody("* *"))
    assert ask(cloud, "DELETE", "computes/none").body is None
    assert cloud.faults.unmet == (HalfBody("* *"),)
    with pytest.raises(json.JSONDecodeError):
        ask(cloud, "GET", "jobs")
    assert not cloud.faults.unmet


def test_half_a_json_leaves_other_bodies_alone(azure: FakeAzure) -> None:
    """A blob is no JSON: it comes whole, and the fault waits for one."""
    azure.cloud.storage.put("log.txt", b"a line of the log")
    azure.faults.next(HalfBody("GET *", how="half-json"))
    assert requests.get(azure.cloud.storage.url("log.txt"), timeout=5).content == b"a line of the log"
    assert len(azure.faults.unmet) == 1
    assert get_workspace(azure, 5) == 200
    assert not azure.faults.unmet


def test_any_body_can_be_cut(azure: FakeAzure) -> None:
    """A blob ends half-way, under the length of the whole."""
    azure.cloud.storage.put("log.txt", b"a line of the log")
    azure.faults.next(HalfBody("GET *"))
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        requests.get(azure.cloud.storage.url("log.txt"), timeout=5)


# Tokens


def test_a_good_token_can_be_called_expired(azure: FakeAzure, client: MLClient) -> None:
    """The client raises at once: it neither signs in again nor sends again (reliability.md 0, fact 5)."""
    azure.faults.next(ExpiredToken("GET */computes/*"))
    with pytest.raises(ClientAuthenticationError, match="ExpiredAuthenticationToken"):
        client.compute.get("gpu")
    assert statuses(azure, "GET") == [401]


def test_our_library_signs_in_again(azure: FakeAzure) -> None:
    """A workspace of this library meets the same and goes on."""
    azure.faults.next(ExpiredToken("GET */computes/*"))
    azure.workspace().gpu_compute("gpu", size=SIZE).ensure()
    assert "gpu" in azure.computes
    assert 401 in statuses(azure, "GET")


# Foreign hosts


def test_a_client_follows_a_wrong_header(azure: FakeAzure, client: MLClient) -> None:
    """azure-ai-ml asks whatever host the header names (reliability.md 1.5); here, a port that nobody has."""
    azure.faults.next(
        Wrong("PUT */computes/*", header="azure-asyncoperation", value="https://127.0.0.1:1/operations/1")
    )
    with pytest.raises(ServiceRequestError, match=r"127\.0\.0\.1"):
        client.compute.begin_create_or_update(AmlCompute(name="gpu", size=SIZE)).result()
    assert "gpu" in azure.computes


def test_our_library_follows_no_foreign_host(azure: FakeAzure) -> None:
    """A workspace of this library does not go where the header points."""
    azure.faults.next(
        Wrong("PUT */computes/*", header="Azure-AsyncOperation", value="https://evil.invalid/operations/1")
    )
    with pytest.raises(HostRefused, match=r"evil\.invalid"):
        azure.workspace().gpu_compute("gpu", size=SIZE).ensure()
