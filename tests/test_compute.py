from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asking import ask
from tuning import SIZE, Heard, content, finetune, sent

import phi_finetune as pf
from phi_finetune.errors import (
    ComputeFailed,
    ConfigurationError,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    QuotaExceeded,
    SizeNotAllowed,
)
from phi_finetune.events import AdoptedExisting, ComputeReady, Created, Deleted, Warned
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, ProvisioningFails

T4 = "Standard_NC4as_T4_v3"
SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/gpu"


def puts(azure: FakeAzure) -> int:
    """How often a cluster was asked for."""
    return len(sent(azure, "PUT", "*/computes/*"))


# Getting and creating


def test_a_cluster_is_created_as_described(fake_azure: FakeAzure) -> None:
    """What was described goes out in one request, dedicated, and tagged as ours."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    cluster = ws.gpu_compute("gpu", size=SIZE, max_nodes=3, idle_time=timedelta(minutes=5)).ensure()
    assert (cluster.size, cluster.min_nodes, cluster.max_nodes) == (SIZE, 0, 3)
    assert (cluster.provisioning_state, cluster.nodes, cluster.low_priority) == ("Succeeded", 0, False)
    (put,) = sent(fake_azure, "PUT", "*/computes/gpu")
    body = content(put)
    inner = body["properties"]["properties"]
    assert (inner["vmSize"], inner["vmPriority"]) == (SIZE, "Dedicated")
    assert inner["scaleSettings"] == {
        "minNodeCount": 0,
        "maxNodeCount": 3,
        "nodeIdleTimeBeforeScaleDown": "PT5M",
    }
    assert body["tags"] == {"made-by": "phi-finetune"}
    assert [type(event) for event in heard if event.resource == "cluster gpu"][-2:] == [Created, ComputeReady]


def test_a_cluster_that_is_there_is_adopted(fake_azure: FakeAzure) -> None:
    """A second call changes nothing, and says what it left as it is."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    ws.gpu_compute("gpu", size=SIZE).ensure()
    found = ws.gpu_compute("gpu", size=SIZE.upper(), max_nodes=2).ensure()
    assert (found.max_nodes, puts(fake_azure)) == (1, 1)
    assert len(heard.of(AdoptedExisting)) == 1
    (warning,) = heard.of(Warned)
    assert "max_nodes is 1, asked for was 2" in warning.message


def test_a_cluster_that_is_there_needs_no_size(workspace: pf.Workspace) -> None:
    """Its own size is taken, in the catalogue's spelling."""
    workspace.gpu_compute("gpu", size=SIZE).ensure()
    assert workspace.gpu_compute("gpu").ensure().size == SIZE


def test_low_priority_is_taken_only_when_asked_for(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Machines that may be taken away are asked for by name."""
    cluster = workspace.gpu_compute("cheap", size=SIZE, low_priority=True).ensure()
    assert cluster.low_priority
    assert fake_azure.computes["cheap"].priority == "LowPriority"


def test_an_absent_cluster_needs_a_size(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Without one there is nothing to create it with."""
    with pytest.raises(ConfigurationError, match="no size was given") as caught:
        workspace.gpu_compute("gpu").ensure()
    assert caught.value.resource == "cluster gpu"
    assert puts(fake_azure) == 0


def test_a_cluster_of_another_size_is_not_taken(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Asked for one size and found another: both are named, and nothing is changed."""
    workspace.gpu_compute("gpu", size=T4).ensure()
    with pytest.raises(ConfigurationError, match=f"it has {T4}, asked for was {SIZE}"):
        workspace.gpu_compute("gpu", size=SIZE).ensure()
    assert puts(fake_azure) == 1


def test_what_only_a_service_can_fail_is_told(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A cluster that was accepted and could not be made gives the service's own reason."""
    fake_azure.faults.next(ProvisioningFails("AllocationFailed", "No capacity in this region."))
    with pytest.raises(ComputeFailed) as caught:
        workspace.gpu_compute("gpu", size=SIZE).ensure()
    assert (caught.value.code, caught.value.resource) == ("AllocationFailed", "cluster gpu")
    assert "No capacity in this region." in str(caught.value)
    assert "delete it" in (caught.value.next_call or "")


def test_a_quota_that_shows_only_later_is_a_quota(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Provisioning that fails for quota is told apart from other failures."""
    fake_azure.faults.next(ProvisioningFails("ClusterCoreQuotaReached", "The quota was reached."))
    with pytest.raises(QuotaExceeded, match="ClusterCoreQuotaReached"):
        workspace.gpu_compute("gpu", size=SIZE).ensure()


def test_a_failed_cluster_is_not_adopted(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """One that is there but failed is named, with the way to begin anew; that way works."""
    fake_azure.faults.next(ProvisioningFails())
    cluster = workspace.gpu_compute("gpu", size=SIZE)
    with pytest.raises(ComputeFailed):
        cluster.ensure()
    with pytest.raises(ComputeFailed, match="is there, but failed") as caught:
        cluster.ensure()
    assert caught.value.next_call == 'ws.gpu_compute("gpu").delete(), then ensure() again'
    cluster.delete()
    assert cluster.ensure().provisioning_state == "Succeeded"


def test_waiting_for_a_cluster_has_a_limit(workspace: pf.Workspace) -> None:
    """A cluster that takes longer goes on, and the error says so."""
    with pytest.raises(DeadlineExceeded) as caught:
        workspace.gpu_compute("gpu", size=SIZE).ensure(timeout=timedelta(seconds=5))
    assert "cluster gpu may be there, and bill for the nodes that it keeps" in str(caught.value)
    assert workspace.gpu_compute("gpu", size=SIZE).ensure().name == "gpu"


# What is refused beforehand


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("Standard_NC6", "Azure stopped running it on 2023-09-06"),
        ("Standard_NC6s_v3", "Azure stopped running it on 2025-09-30"),
        ("Standard_DS3_v2", "it has no GPU"),
        ("Standard_NC999", "does not offer Standard_NC999"),
    ],
)
def test_a_size_that_cannot_train_is_refused(
    fake_azure: FakeAzure, workspace: pf.Workspace, size: str, told: str
) -> None:
    """Retired, without GPU or unknown: nothing is asked for, and the sizes that are offered are listed."""
    with pytest.raises(SizeNotAllowed, match=told) as caught:
        workspace.gpu_compute("gpu", size=size).ensure()
    assert (caught.value.size, puts(fake_azure)) == (size, 0)
    assert SIZE in caught.value.allowed
    assert size not in caught.value.allowed


@pytest.mark.parametrize(
    "how",
    [
        lambda ws: ws.gpu_compute("gpu", size=T4).ensure(ws.foundation_model("Phi-4")),
        lambda ws: finetune(ws, on=ws.gpu_compute("gpu", size=T4)).submit(),
        lambda ws: finetune(ws, on=ws.gpu_compute("gpu", size=T4)).plan(),
        lambda ws: finetune(ws, on=pf.GpuCompute.serverless(T4)).submit(),
    ],
)
def test_the_fine_tune_list_is_checked_before_anything_is_created(
    fake_azure: FakeAzure, workspace: pf.Workspace, how: Callable[[pf.Workspace], object]
) -> None:
    """A size that the model does not permit is refused with those it does, and no cluster is asked for."""
    with pytest.raises(SizeNotAllowed, match="may not be fine-tuned on") as caught:
        how(workspace)
    assert caught.value.allowed == workspace.foundation_model("Phi-4").finetune_sizes
    assert sent(fake_azure, "PUT", "*") == []


def test_an_adopted_cluster_is_checked_as_well(workspace: pf.Workspace) -> None:
    """A cluster named without its size is compared with the model's list once its size is known."""
    workspace.gpu_compute("gpu", size=T4).ensure()
    with pytest.raises(SizeNotAllowed, match=T4):
        workspace.gpu_compute("gpu").ensure(workspace.foundation_model("Phi-4"))


def test_quota_is_looked_at_first() -> None:
    """Too few cores are noticed before anything is asked for, with the numbers."""
    with FakeAzure(quota={"standardNCADSA100v4Family": 24}) as azure:
        with pytest.raises(QuotaExceeded) as caught:
            azure.workspace().gpu_compute("gpu", size=SIZE, max_nodes=2).ensure()
        assert puts(azure) == 0
    error = caught.value
    assert (error.family, error.needed, error.available) == ("standardNCADSA100v4Family", 48, 24)
    assert "48 cores of standardNCADSA100v4Family; 0 of 24 are in use" in str(error)
    assert "low_priority=True" in (error.next_call or "")


def test_an_idle_cluster_counts_against_the_quota() -> None:
    """What idle clusters hold is taken off, as the service does it."""
    with FakeAzure(quota={"standardNCADSA100v4Family": 48}) as azure:
        ws = azure.workspace()
        ws.gpu_compute("first", size=SIZE, max_nodes=2).ensure()
        with pytest.raises(QuotaExceeded, match="48 of 48 are in use"):
            ws.gpu_compute("second", size=SIZE).ensure()
        assert ws.gpu_compute("third", size=SIZE, low_priority=True).ensure().low_priority


def test_low_priority_has_a_quota_of_its_own() -> None:
    """The pool of low-priority cores is the one that is asked."""
    with (
        FakeAzure(low_priority_quota=10) as azure,
        pytest.raises(QuotaExceeded, match="24 low-priority cores; 0 of 10") as caught,
    ):
        azure.workspace().gpu_compute("gpu", size=SIZE, low_priority=True).ensure()
    assert "low_priority=True" not in (caught.value.next_call or "")


def test_quota_that_only_the_service_knows_of(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A refusal of the request itself is a quota error where its words say so."""
    message = "The specified subscription has a total vCPU quota of 0 and cannot accomodate for the nodes."
    fake_azure.faults.next(Answer("PUT */computes/gpu", 400, "ClusterMinNodesExceedCoreQuota", message))
    with pytest.raises(QuotaExceeded) as caught:
        workspace.gpu_compute("gpu", size=SIZE).ensure()
    assert message in str(caught.value)
    assert "https://aka.ms/azuremlquota" in (caught.value.next_call or "")


@pytest.mark.parametrize("name", ["x", "9lives", "-gpu", "gpu-", "a" * 33, "gpu cluster"])
def test_a_name_that_azure_refuses_is_refused_here(fake_azure: FakeAzure, name: str) -> None:
    """The rule is told, and nothing is sent."""
    with pytest.raises(InvalidParameter, match="is no name for a cluster") as caught:
        fake_azure.workspace().gpu_compute(name, size=SIZE).ensure()
    assert (caught.value.name, caught.value.value, len(fake_azure.journal)) == ("name", name, 0)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"min_nodes": -1}, "max_nodes"),
        ({"min_nodes": 3, "max_nodes": 2}, "max_nodes"),
        ({"max_nodes": 0}, "max_nodes"),
        ({"idle_time": timedelta(seconds=10)}, "idle_time"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(workspace: pf.Workspace, settings: Any, name: str) -> None:
    """A cluster that could never be is refused as it is described."""
    with pytest.raises(InvalidParameter) as caught:
        workspace.gpu_compute("gpu", size=SIZE, **settings)
    assert caught.value.name == name
    assert caught.value.allowed


# Serverless


def test_serverless_compute_creates_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """There is nothing to ensure, and the job names the size."""
    compute = pf.GpuCompute.serverless(SIZE)
    assert compute.ensure() is compute
    finetune(workspace, on=compute).submit()
    assert fake_azure.computes == {}
    (put,) = sent(fake_azure, "PUT", "*/jobs/*")
    (node,) = content(put)["properties"]["jobs"].values()
    assert node["inputs"]["compute_finetune"]["value"] == "serverless"
    assert node["inputs"]["instance_type_finetune"]["value"] == SIZE


# Afterwards


def test_a_cluster_can_be_scaled(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """What is not named stays, and nothing else of the cluster changes."""
    cluster = workspace.gpu_compute("gpu", size=SIZE, idle_time=timedelta(minutes=7)).ensure()
    scaled = cluster.scale(max_nodes=3)
    assert (scaled.min_nodes, scaled.max_nodes, scaled.idle_time) == (0, 3, timedelta(minutes=7))
    assert cluster.scale(min_nodes=1).nodes == 1
    assert fake_azure.computes["gpu"].spec.tags == {"made-by": "phi-finetune"}


def test_scaling_leaves_all_else_of_a_cluster(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Another's tags, subnet, identity and ssh user outlive it, and the cluster does not become ours."""
    body = theirs(tags={"team": "search"})
    assert ask(fake_azure.cloud, "PUT", "computes/theirs", body).status == 201
    fake_azure.clock.advance(timedelta(minutes=5))
    before = ask(fake_azure.cloud, "GET", "computes/theirs").body
    workspace.gpu_compute("theirs").scale(max_nodes=3)
    after = ask(fake_azure.cloud, "GET", "computes/theirs").body
    assert after["tags"] == {"team": "search"}
    assert after["identity"] == before["identity"]
    settings, old = after["properties"]["properties"], before["properties"]["properties"]
    assert settings.pop("scaleSettings") == {**old.pop("scaleSettings"), "maxNodeCount": 3}
    for one in (settings, old):
        one.pop("allocationStateTransitionTime")
    assert settings == old
    assert settings["subnet"] == {"id": SUBNET}
    assert settings["userAccountCredentials"] == {
        "adminUserName": "me",
        "adminUserSshPublicKey": "ssh-rsa AAAA",
    }
    (_, put) = sent(fake_azure, "PUT", "*/computes/theirs")
    assert "provisioningState" not in content(put)["properties"]
    assert "currentNodeCount" not in content(put)["properties"]["properties"]
    assert content(put)["identity"] == {"type": "SystemAssigned"}


def theirs(tags: dict[str, str]) -> dict[str, Any]:
    """A cluster of another tool, with all that it may have."""
    properties = {
        "vmSize": SIZE,
        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT30M"},
        "subnet": {"id": SUBNET},
        "userAccountCredentials": {"adminUserName": "me", "adminUserSshPublicKey": "ssh-rsa AAAA"},
        "remoteLoginPortPublicAccess": "Disabled",
        "enableNodePublicIp": False,
    }
    compute = {"computeType": "AmlCompute", "description": "for the nightly index", "disableLocalAuth": False}
    return {
        "location": "eastus",
        "tags": tags,
        "identity": {"type": "SystemAssigned"},
        "properties": {**compute, "properties": properties},
    }


def test_scaling_needs_a_cluster(workspace: pf.Workspace) -> None:
    """One that is not there is not created by scaling it."""
    with pytest.raises(NotFound):
        workspace.gpu_compute("gpu", size=SIZE).scale(max_nodes=2)


def test_deleting_is_seen_through(fake_azure: FakeAzure) -> None:
    """Deletion ends when the cluster is gone; deleting it again is as good."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    cluster = ws.gpu_compute("gpu", size=SIZE).ensure()
    cluster.delete()
    assert fake_azure.computes == {}
    cluster.delete()
    assert len(heard.of(Deleted)) == 1


def test_a_cluster_between_jobs_costs_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It has nodes while the job runs, and none once its idle time is over."""
    cluster = workspace.gpu_compute("gpu", size=SIZE).ensure()
    job = finetune(workspace, on=cluster).submit()
    fake_azure.clock.advance(timedelta(minutes=10))
    assert cluster.refresh().nodes == 1
    job.wait()
    fake_azure.clock.advance(cluster.idle_time)
    assert cluster.refresh().nodes == 0


def test_a_size_says_what_it_has(workspace: pf.Workspace) -> None:
    """GPUs, memory, cores and a price, from the region and the catalogue."""
    sku = workspace.gpu_compute("gpu", size="standard_nc48ads_a100_v4").sku()
    assert (sku.name, sku.gpus, sku.gpu_model, sku.gpu_memory_gib) == (
        "Standard_NC48ads_A100_v4",
        2,
        "A100",
        80,
    )
    assert sku.price_usd_per_hour == 7.346
    with pytest.raises(ConfigurationError, match="size is not known"):
        workspace.gpu_compute("gpu").sku()


def test_a_cluster_made_elsewhere_is_read(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A cluster of another tool is adopted with its own settings."""
    properties = {
        "vmSize": SIZE.upper(),
        "vmPriority": "LowPriority",
        "scaleSettings": {"minNodeCount": 1, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT1H30M"},
    }
    body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": properties}}
    assert ask(fake_azure.cloud, "PUT", "computes/theirs", body).status == 201
    fake_azure.clock.advance(timedelta(minutes=5))
    found = workspace.gpu_compute("theirs").ensure()
    assert (found.size, found.low_priority, found.min_nodes) == (SIZE, True, 1)
    assert found.idle_time == timedelta(hours=1, minutes=30)
