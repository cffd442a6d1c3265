from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from asking import ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import ManagedOnlineEndpoint, Model
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProtocolError

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import AnswerNeverCame, NobodyListens
from phi_finetune.emulator.identity.state import ARM_AUDIENCE
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, RequestFault, Unreachable

FOLDER = "azureml://datastores/workspaceblobstore/paths/models/mine"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


def get_workspace(cloud: Cloud) -> requests.Response:
    """Ask for the workspace, with requests alone."""
    headers = {"Authorization": f"Bearer {cloud.identity.issue(ARM_AUDIENCE)[0]}"}
    return requests.get(
        f"https://management.azure.com{cloud.workspace.id}?api-version=2024-10-01", headers=headers, timeout=5
    )


def statuses(azure: FakeAzure, method: str) -> list[int | None]:
    """What the requests of a method were answered with; None for one whose answer was lost."""
    return [entry.status for entry in azure.journal if entry.method == method]


# Lost answers


def test_a_lost_answer_was_carried_out(azure: FakeAzure, client: MLClient) -> None:
    """The client sends a PUT again whose answer was lost, and so it is carried out twice (reliability.md 1.1)."""
    azure.faults.next(AnswerLost("PUT */models/*"))
    client.models.create_or_update(Model(name="mine", version="1", path=FOLDER))
    assert statuses(azure, "PUT") == [None, 200]
    assert [model.version for model in azure.models["mine"]] == ["1"]


def test_a_lost_post_is_not_sent_again(azure: FakeAzure, client: MLClient) -> None:
    """A POST is not sent again: the client raises, and the key was changed all the same."""
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    before = azure.endpoints["phi-test"].keys["Primary"]
    azure.faults.next(AnswerLost("POST */regenerateKeys"))
    with pytest.raises(ServiceResponseError, match="Connection aborted"):
        client.online_endpoints.begin_regenerate_keys("phi-test", key_type="primary")
    assert statuses(azure, "POST")[-1] is None
    assert azure.endpoints["phi-test"].keys["Primary"] != before


def test_a_lost_answer_looks_like_a_reset() -> None:
    """Code on requests alone meets what a connection that is reset gives."""
    with FakeAzure() as azure:
        azure.faults.next(AnswerLost(f"GET management.azure.com{azure.cloud.workspace.id}"))
        with pytest.raises(requests.exceptions.ConnectionError, match="Connection reset by peer") as raised:
            get_workspace(azure.cloud)
        assert isinstance(raised.value.args[0], ProtocolError)
        assert raised.value.request is not None
        assert get_workspace(azure.cloud).status_code == 200


def test_the_answer_of_a_refusal_can_be_lost_too() -> None:
    """What is lost may have been a refusal; nobody is told."""
    cloud = Cloud()
    cloud.faults.next(AnswerLost("GET */jobs/none"))
    with pytest.raises(AnswerNeverCame):
        ask(cloud, "GET", "jobs/none")
    assert [entry.status for entry in cloud.journal] == [None]
    assert "--- GET" in repr(cloud.journal)


# Refused connections


def test_an_unreachable_service_is_tried_again(azure: FakeAzure, client: MLClient) -> None:
    """The client tries a refused connection again, and nothing was carried out or noted until one was taken."""
    azure.faults.next(Unreachable("PUT */models/*"), times=2)
    client.models.create_or_update(Model(name="mine", version="1", path=FOLDER))
    assert statuses(azure, "PUT") == [201]


def test_an_unreachable_post_is_not_sent_again(azure: FakeAzure, client: MLClient) -> None:
    """A POST is not sent again, though it never left (reliability.md 1.2)."""
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    azure.faults.next(Unreachable("POST */listKeys"))
    with pytest.raises(ServiceRequestError, match="Connection refused"):
        client.online_endpoints.get_keys("phi-test")
    assert statuses(azure, "POST") == []
    client.online_endpoints.get_keys("phi-test")
    assert statuses(azure, "POST") == [200]


def test_an_unreachable_service_looks_like_a_refusal() -> None:
    """Code on requests alone meets what a host gives on which nobody listens."""
    with FakeAzure() as azure:
        azure.faults.next(Unreachable("GET management.azure.com/*"))
        with pytest.raises(requests.exceptions.ConnectionError) as raised:
            get_workspace(azure.cloud)
        reason = raised.value.args[0]
        assert isinstance(reason, MaxRetryError)
        assert isinstance(reason.reason, NewConnectionError)
        assert len(azure.journal) == 0


# The queue


def test_faults_of_one_request_come_in_order() -> None:
    """Each request meets the first fault that waits for it, and another request meets none of them."""
    cloud = Cloud()
    cloud.faults.next(Unreachable("GET */jobs"))
    cloud.faults.next(Answer("GET */jobs", 503))
    cloud.faults.next(AnswerLost("* *"))
    with pytest.raises(NobodyListens):
        ask(cloud, "GET", "jobs")
    assert ask(cloud, "GET", "jobs").status == 503
    assert list(cloud.faults.unmet) == [AnswerLost("* *")]
    with pytest.raises(AnswerNeverCame):
        ask(cloud, "GET", "computes")
    assert list(cloud.faults.unmet) == []
    assert ask(cloud, "GET", "jobs").status == 200


@pytest.mark.parametrize("fault", [AnswerLost("* *"), Unreachable("* *"), Answer("* *", 503)])
def test_an_unknown_route_meets_no_fault(fault: RequestFault) -> None:
    """What has no route is told so, whatever is queued."""
    cloud = Cloud()
    cloud.faults.next(fault)
    assert ask(cloud, "GET", "batchEndpoints").status == 501
    assert cloud.faults.unmet == (fault,)
