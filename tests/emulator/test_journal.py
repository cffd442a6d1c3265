from __future__ import annotations

import pytest
from asking import ask
from azure.ai.ml.entities import AmlCompute

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.testing import FakeAzure


@pytest.fixture
def cloud() -> Cloud:
    """A cloud that was asked four things, the last two of them the same."""
    cloud = Cloud()
    ask(cloud, "GET", "jobs")
    ask(cloud, "GET", "jobs/none")
    ask(cloud, "DELETE", "computes/none")
    ask(cloud, "DELETE", "computes/none")
    return cloud


def test_it_is_filtered_by_each_part(cloud: Cloud) -> None:
    """Each filter alone, and two of them at once, give the entries that fit."""
    journal = cloud.journal
    assert [entry.status for entry in journal.filter(method="GET")] == [200, 404]
    assert len(journal.filter(path="*/JOBS*")) == 2
    assert len(journal.filter(path="*/jobs")) == 1
    assert len(journal.filter(host="management.*")) == 4
    assert len(journal.filter(host="*.inference.ml.azure.com")) == 0
    assert [entry.path.rpartition("/")[2] for entry in journal.filter(status=404)] == ["none"]
    assert len(journal.filter(route="DELETE *")) == 2
    assert len(journal.filter(method="GET", status=200)) == 1
    assert list(journal.filter()) == list(journal)


def test_a_filtered_journal_stands_for_itself(cloud: Cloud) -> None:
    """Clearing it takes nothing from the journal that it came from."""
    cloud.journal.filter(method="GET").clear()
    assert len(cloud.journal) == 4


def test_it_reads_as_a_list(cloud: Cloud) -> None:
    """One line a request, without the workspace's long address; repeated lines stand once."""
    assert str(cloud.journal).splitlines() == [
        "200 GET management.azure.com/*/jobs",
        "404 GET management.azure.com/*/jobs/none",
        "204 DELETE management.azure.com/*/computes/none  (2 times)",
    ]
    assert str(cloud.journal.filter(method="PATCH")) == "no requests"


def test_what_came_in_order_is_as_expected(cloud: Cloud) -> None:
    """Others may come in between, one request answers one expectation, and a printed line is a form."""
    cloud.journal.expect("GET */jobs", "DELETE */computes/*")
    cloud.journal.expect("DELETE */computes/*", "DELETE */computes/*")
    cloud.journal.expect(*(str(entry) for entry in cloud.journal))
    cloud.journal.expect()


@pytest.mark.parametrize(
    "forms",
    [
        ["PUT */jobs/*"],
        ["DELETE */computes/*", "GET */jobs"],
        ["DELETE *", "DELETE *", "DELETE *"],
    ],
)
def test_what_did_not_come_in_order_is_an_error(cloud: Cloud, forms: list[str]) -> None:
    """What never came, came too early, or came too seldom."""
    with pytest.raises(AssertionError, match=r"1 of \d expected requests did not come in this order"):
        cloud.journal.expect(*forms)


def test_the_difference_is_readable(cloud: Cloud) -> None:
    """The message sets what was expected against what came."""
    with pytest.raises(AssertionError) as raised:
        cloud.journal.expect("GET */jobs/*", "PUT */jobs/*")
    assert str(raised.value).splitlines() == [
        "1 of 2 expected requests did not come in this order (- expected, + came besides):",
        "+ 200 GET management.azure.com/*/jobs",
        "  GET */jobs/*",
        "    404 GET management.azure.com/*/jobs/none",
        "- PUT */jobs/*",
        "+ 204 DELETE management.azure.com/*/computes/none  (2 times)",
    ]


def test_it_tells_what_a_real_client_did() -> None:
    """The requests of azure-ai-ml come in the order in which it makes a cluster and deletes it."""
    with FakeAzure() as azure:
        client = azure.ml_client()
        client.compute.begin_create_or_update(
            AmlCompute(name="gpu", size="Standard_NC24ads_A100_v4")
        ).result()
        client.compute.begin_delete("gpu").result()
        azure.journal.expect("PUT */computes/gpu", "GET */computeOperationsStatus/*", "DELETE */computes/gpu")
        assert not azure.journal.filter(method="POST")
