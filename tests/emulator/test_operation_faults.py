from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from asking import ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute, ManagedOnlineEndpoint
from azure.core.exceptions import HttpResponseError

from phi_finetune.errors import DeadlineExceeded
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, EndlessOperation, OperationFails

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


def test_an_endless_operation_never_ends(azure: FakeAzure, client: MLClient) -> None:
    """The client polls until something else goes wrong; nothing is finished by then (reliability.md 1.2)."""
    azure.faults.next(EndlessOperation())
    poller = client.compute.begin_create_or_update(AmlCompute(name="gpu", size=SIZE))
    azure.clock.advance(timedelta(days=365))
    assert not poller.done()
    azure.faults.next(Answer("GET */computeOperationsStatus/*", 400))
    with pytest.raises(HttpResponseError):
        poller.result()
    assert azure.computes["gpu"].provisioning_state == "Creating"


def test_a_look_at_an_endless_operation_takes_a_minute(azure: FakeAzure) -> None:
    """So a wait with a time limit comes to an end."""
    azure.faults.next(EndlessOperation())
    with pytest.raises(DeadlineExceeded):
        azure.workspace().gpu_compute("gpu", size=SIZE).ensure(timeout=timedelta(minutes=30))
    assert 30 * 60 <= azure.clock.monotonic() <= 33 * 60


def test_reads_of_an_endless_operation_take_no_time_where_pauses_do() -> None:
    """Under another progression than the instant one, looking moves nothing."""
    with FakeAzure(progression="realistic") as azure:
        azure.faults.next(EndlessOperation())
        ask(azure.cloud, "PUT", "onlineEndpoints/phi-test", {"properties": {"authMode": "Key"}})
        for _ in range(3):
            assert azure.endpoints["phi-test"].operation.watch() == "InProgress"
        assert azure.clock.monotonic() == 0


def test_a_failed_operation_says_why(azure: FakeAzure, client: MLClient) -> None:
    """The client raises with the service's words, and the cluster stays as failed (reliability.md 1.2)."""
    azure.faults.next(OperationFails(code="AllocationFailed", message="No room in the region."))
    with pytest.raises(HttpResponseError, match=r"No room in the region\."):
        client.compute.begin_create_or_update(AmlCompute(name="gpu", size=SIZE)).result()
    assert azure.computes["gpu"].provisioning_state == "Failed"


def test_a_failed_deletion_deletes_nothing(azure: FakeAzure, client: MLClient) -> None:
    """What the operation was to do is not done; the next one does it."""
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    azure.faults.next(OperationFails())
    with pytest.raises(HttpResponseError, match="internal server error"):
        client.online_endpoints.begin_delete("phi-test").result()
    assert list(azure.endpoints) == ["phi-test"]
    client.online_endpoints.begin_delete("phi-test").result()
    assert not azure.endpoints


def test_a_fault_waits_for_its_kind_of_operation(azure: FakeAzure, client: MLClient) -> None:
    """An endpoint is made while the fault waits for a cluster."""
    azure.faults.next(OperationFails(kind="compute*"))
    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    assert azure.faults.unmet == (OperationFails(kind="compute*"),)
    with pytest.raises(HttpResponseError):
        client.compute.begin_create_or_update(AmlCompute(name="gpu", size=SIZE)).result()
    assert not azure.faults.unmet
