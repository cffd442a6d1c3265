from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asking import Answer, ask
from azure.ai.ml import MLClient
from azure.ai.ml.entities import AmlCompute
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from finetunes import Trainer, submit
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.computes.checks import check_priority
from phi_finetune.emulator.computes.cluster import ClusterSpec
from phi_finetune.emulator.computes.durations import format_duration, parse_duration
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import ProvisioningFails
from phi_finetune.testing import FakeAzure

A100 = "Standard_NC24ads_A100_v4"
FAMILY = "standardNCADSA100v4Family"


@pytest.fixture
def cloud() -> Cloud:
    """A cloud whose sizes do not depend on the day."""
    return Cloud(Settings(start=datetime(2026, 8, 1, tzinfo=UTC)))


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace."""
    return azure.ml_client()


def put(cloud: Cloud, name: str = "gpu-cluster", size: str = A100, **scale: Any) -> Answer:
    """Ask for a cluster of two nodes at most, unless ``scale`` says otherwise."""
    priority = scale.pop("priority", "Dedicated")
    settings = {"minNodeCount": 0, "maxNodeCount": 2, "nodeIdleTimeBeforeScaleDown": "PT2M", **scale}
    properties = {"vmSize": size, "vmPriority": priority, "scaleSettings": settings}
    return ask(
        cloud,
        "PUT",
        f"computes/{name}",
        {"properties": {"computeType": "AmlCompute", "properties": properties}},
    )


def finish(cloud: Cloud, answer: Answer) -> Answer:
    """Poll the operation of an answer until it has ended."""
    while True:
        state = ask(cloud, "GET", answer.headers["Azure-AsyncOperation"])
        if state.body["status"] != "InProgress":
            return state


def test_client_makes_reads_changes_and_deletes(client: MLClient) -> None:
    """The real client takes a cluster through its whole life."""
    made = client.compute.begin_create_or_update(AmlCompute(name="gpu", size=A100, max_instances=2)).result()
    assert (made.size, made.tier, made.provisioning_state) == (A100.upper(), "dedicated", "Succeeded")
    assert (made.min_instances, made.max_instances, made.idle_time_before_scale_down) == (0, 2, 120)
    changed = client.compute.begin_create_or_update(
        AmlCompute(name="gpu", size=A100, max_instances=3)
    ).result()
    assert changed.max_instances == client.compute.get("GPU").max_instances == 3
    assert [one.name for one in client.compute.list()] == ["gpu"]
    client.compute.begin_delete("gpu").result()
    with pytest.raises(ResourceNotFoundError):
        client.compute.get("gpu")


def test_client_reads_sizes_and_usage(client: MLClient) -> None:
    """The real client reads GPUs of a size, and how much of a family's quota is used."""
    client.compute.begin_create_or_update(AmlCompute(name="gpu", size=A100, max_instances=2)).result()
    sizes = {size.name: size for size in client.compute.list_sizes()}
    assert (sizes[A100].gpus, sizes[A100].family) == (1, FAMILY)
    usage = {
        row.type.split("/", 1)[1]: row for row in client.compute.list_usage() if row.name["value"] == FAMILY
    }
    dedicated = usage["vmFamily/dedicatedCores/usages"]
    # The client keeps this one name as the service spells it.
    assert (dedicated.currentValue, dedicated.limit) == (48, 96)
    assert usage["vmFamily/lowPriorityCores/usages"].limit == -1


def test_client_sees_refusal_and_failure(azure: FakeAzure) -> None:
    """A cluster over its quota is refused at once; one whose making fails raises when it is waited for."""
    client = azure.ml_client()
    with pytest.raises(HttpResponseError, match="NCADSA100v4 family vCPU quota of 96") as refused:
        client.compute.begin_create_or_update(AmlCompute(name="gpu", size=A100, max_instances=5))
    assert refused.value.status_code == 400
    azure.faults.next(ProvisioningFails())
    poller = client.compute.begin_create_or_update(AmlCompute(name="gpu", size=A100, max_instances=2))
    with pytest.raises(HttpResponseError, match="ClusterProvisioningFailed"):
        poller.result()
    failed = client.compute.get("gpu")
    assert (failed.provisioning_state, failed.provisioning_errors) == ("Failed", "ClusterProvisioningFailed")


def test_failed_provisioning(cloud: Cloud) -> None:
    """A cluster that fails is accepted, then its operation and its state say so, and it holds no quota."""
    cloud.faults.next(ProvisioningFails("AllocationFailed", "No capacity."))
    state = finish(cloud, put(cloud))
    assert (state.body["status"], state.body["error"]["code"]) == ("Failed", "AllocationFailed")
    properties = ask(cloud, "GET", "computes/gpu-cluster").body["properties"]
    assert properties["provisioningState"] == "Failed"
    assert properties["provisioningErrors"] == [
        {"error": {"code": "AllocationFailed", "message": "No capacity."}}
    ]
    assert cloud.computes.cores_in_use(FAMILY) == 0
    assert not cloud.faults.unmet


def test_failed_cluster_can_be_asked_for_again(cloud: Cloud) -> None:
    """A PUT on a failed cluster makes it anew."""
    cloud.faults.next(ProvisioningFails())
    finish(cloud, put(cloud))
    again = put(cloud)
    assert (again.status, again.body["properties"]["provisioningState"]) == (200, "Creating")
    assert finish(cloud, again).body["status"] == "Succeeded"


def test_states_on_the_way(cloud: Cloud) -> None:
    """A new cluster is Creating, without nodes, until time or a reader has passed; then it has succeeded."""
    made = put(cloud)
    assert made.status == 201
    assert made.body["properties"]["provisioningState"] == "Creating"
    assert made.body["properties"]["properties"]["currentNodeCount"] is None
    assert made.body["properties"]["properties"]["vmSize"] == A100.upper()
    cloud.clock.advance(timedelta(minutes=1))
    found = ask(cloud, "GET", "computes/GPU-Cluster").body["properties"]
    assert found["provisioningState"] == "Succeeded"
    assert found["properties"]["nodeStateCounts"]["idleNodeCount"] == 0


def test_reading_is_enough_to_wait(cloud: Cloud) -> None:
    """Whoever only reads the cluster sees every state once, and is told to ask again at once."""
    put(cloud)
    answers = [ask(cloud, "GET", "computes/gpu-cluster") for _ in range(2)]
    assert [one.body["properties"]["provisioningState"] for one in answers] == ["Creating", "Succeeded"]
    assert ["retry-after-ms" in one.headers for one in answers] == [True, False]


def test_minimum_stays_up(cloud: Cloud) -> None:
    """A cluster with a minimum keeps so many nodes, idle."""
    finish(cloud, put(cloud, minNodeCount=1))
    nodes = cloud.computes.find("gpu-cluster").nodes
    assert (nodes.running, nodes.idle, nodes.current) == (0, 1, 1)


def test_nodes_come_and_go_with_work() -> None:
    """A cluster has a node while a job runs on it, idle for its idle time after, and then none."""
    cloud = Cloud(runner=Trainer())
    finish(cloud, put(cloud, nodeIdleTimeBeforeScaleDown="PT30M"))
    compute = cloud.computes.find("gpu-cluster")
    submit(cloud, "tune", compute="GPU-Cluster")
    cloud.clock.advance(timedelta(hours=1))
    assert (compute.nodes.running, compute.nodes.idle) == (1, 0)
    cloud.clock.advance(timedelta(hours=23))
    assert cloud.jobs.find("tune").status == "Completed"
    ended = cloud.jobs.find("tune").ended
    assert ended is not None
    assert cloud.clock.now() - ended > timedelta(minutes=30)
    assert compute.nodes.current == 0


def test_client_lists_nodes() -> None:
    """The real client lists the nodes that are up, and which step each runs.

    azure-ai-ml 1.35.2 leaves the attributes of its own class None; what came is beside them.
    """
    with FakeAzure(runner=Trainer()) as azure:
        compute = azure.ml_client().compute
        cluster = AmlCompute(name="gpu-cluster", size=A100, min_instances=2, max_instances=2)
        compute.begin_create_or_update(cluster).result()
        assert [vars(node)["nodeState"] for node in compute.list_nodes("gpu-cluster")] == ["idle", "idle"]
        submit(azure.cloud, "tune", compute="gpu-cluster")
        azure.clock.advance(timedelta(minutes=30))
        busy, idle = (vars(node) for node in compute.list_nodes("gpu-cluster"))
        assert (busy["nodeState"], busy["runId"]) == ("running", azure.jobs["tune"].children[0].id)
        assert (idle["nodeState"], idle["runId"]) == ("idle", None)
        assert busy["nodeId"] != idle["nodeId"]


def test_node_lingers() -> None:
    """Between the end of the work and the end of the idle time a node is up and idle."""
    cloud = Cloud(runner=Trainer())
    finish(cloud, put(cloud, nodeIdleTimeBeforeScaleDown="PT24H"))
    submit(cloud, "tune", compute="gpu-cluster")
    cloud.clock.advance(timedelta(hours=10))
    nodes = ask(cloud, "GET", "computes/gpu-cluster").body["properties"]["properties"]
    assert nodes["currentNodeCount"] == nodes["nodeStateCounts"]["idleNodeCount"] == 1


def test_missing_compute(cloud: Cloud) -> None:
    """A missing compute is a 404 without a body; deleting it changes nothing and is no error."""
    missing = ask(cloud, "GET", "computes/nothing")
    assert (missing.status, missing.body) == (404, None)
    assert ask(cloud, "DELETE", "computes/nothing").status == 204


def test_deletion(cloud: Cloud) -> None:
    """A cluster is Deleting for a while, refuses changes meanwhile, and then is gone with its quota."""
    finish(cloud, put(cloud))
    deleted = ask(cloud, "DELETE", "computes/gpu-cluster?underlyingResourceAction=Delete")
    assert (deleted.status, deleted.body) == (202, None)
    assert cloud.computes.find("gpu-cluster").provisioning_state == "Deleting"
    assert put(cloud).status == 409
    assert ask(cloud, "DELETE", "computes/gpu-cluster").status == 202
    assert finish(cloud, deleted).body["status"] == "Succeeded"
    assert not cloud.computes.exists("gpu-cluster")
    assert cloud.computes.cores_in_use(FAMILY) == 0


@pytest.mark.parametrize("name", ["ab", "x" * 33, "1gpu", "gpu_cluster", "gpu-", "gpu cluster"])
def test_bad_names(cloud: Cloud, name: str) -> None:
    """A name that breaks the rules is refused in the service's words."""
    refused = put(cloud, name.replace(" ", "%20"))
    assert (refused.status, refused.message[:24]) == (400, "Compute name is invalid.")


@pytest.mark.parametrize("name", ["gpu", "gpu-cluster-big", "a" + "1" * 31])
def test_good_names(cloud: Cloud, name: str) -> None:
    """A name within the rules is taken."""
    assert put(cloud, name).status == 201


@pytest.mark.parametrize("size", ["Standard_NC24", "Standard_NC6s_v3", "Standard_Nothing"])
def test_sizes_that_are_not_there(cloud: Cloud, size: str) -> None:
    """A size that is unknown or retired is refused, and not listed."""
    refused = put(cloud, size=size)
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")
    assert size not in {one.name for one in cloud.computes.sizes}


def test_size_before_its_retirement() -> None:
    """A size can be had until the day it retires."""
    before = Cloud(Settings(start=datetime(2025, 9, 29, tzinfo=UTC), quota={"standardNCSv3Family": 24}))
    assert put(before, size="Standard_NC6s_v3").status == 201


@pytest.mark.parametrize(
    "scale",
    [
        {"maxNodeCount": 0},
        {"minNodeCount": -1},
        {"minNodeCount": 3},
        {"maxNodeCount": "2"},
        {"nodeIdleTimeBeforeScaleDown": "120"},
        {"priority": "Cheap"},
    ],
)
def test_bad_settings(cloud: Cloud, scale: dict[str, Any]) -> None:
    """Counts, times and priorities that make no sense are refused, and no cluster is left."""
    assert put(cloud, **scale).status == 400
    assert cloud.computes.all() == ()


def test_other_kinds_of_compute(cloud: Cloud) -> None:
    """A compute instance is not in the emulator, which says so."""
    body = {"properties": {"computeType": "ComputeInstance", "properties": {}}}
    assert ask(cloud, "PUT", "computes/mine", body).status == 501


def test_quota_too_small_for_one_node(cloud: Cloud) -> None:
    """Where not one node fits, the words are those that users report."""
    refused = put(cloud, size="Standard_ND96asr_v4")
    assert (refused.status, refused.code) == (400, "ClusterMinNodesExceedCoreQuota")
    words = "family vCPU quota of 0 and cannot accomodate for at least 1 requested managed compute nodes"
    assert f"has a Standard NDASv4_A100 {words} which maps to 96 vCPUs" in refused.message


def test_idle_cluster_holds_quota(cloud: Cloud) -> None:
    """A cluster at zero nodes still counts with all of its nodes, until it is made smaller."""
    assert put(cloud, "first", maxNodeCount=3).status == 201
    refused = put(cloud, "second")
    assert (refused.status, refused.code) == (400, "ClusterCoreQuotaReached")
    assert put(cloud, "first", maxNodeCount=2).status == 200
    assert put(cloud, "second").status == 201
    assert cloud.computes.cores_in_use(FAMILY) == cloud.computes.quota(FAMILY) == 96


def test_growing_over_the_quota(cloud: Cloud) -> None:
    """A change is held against the quota too, without the cluster's own cores."""
    put(cloud, maxNodeCount=4)
    assert put(cloud, maxNodeCount=5).code == "ClusterCoreQuotaReached"
    assert put(cloud, maxNodeCount=4).status == 200


def test_quota_by_family() -> None:
    """Families are counted apart, and settings go over the defaults, in any case."""
    cloud = Cloud(Settings(quota={FAMILY.upper(): 24, "standardNDAMSv4_A100Family": 96}))
    assert put(cloud).code == "ClusterCoreQuotaReached"
    assert put(cloud, "other", size="Standard_ND96amsr_A100_v4", maxNodeCount=1).status == 201
    assert cloud.computes.quota("standardNDSH100v5Family") == 0


def test_deployments_share_the_quota(cloud: Cloud) -> None:
    """The cores of an online deployment are missing to clusters of its family, and counted as used."""
    ask(cloud, "PUT", "onlineEndpoints/river", {"location": "eastus", "properties": {"authMode": "Key"}})
    deployment = {
        "endpointComputeType": "Managed",
        "model": "azureml://registries/azureml/models/Phi-4/versions/8",
        "instanceType": A100,
    }
    body = {"location": "eastus", "sku": {"name": "Default", "capacity": 1}, "properties": deployment}
    cloud.clock.advance(timedelta(hours=1))
    assert ask(cloud, "PUT", "onlineEndpoints/river/deployments/blue", body).status == 201
    assert put(cloud, maxNodeCount=4).code == "ClusterCoreQuotaReached"
    assert put(cloud, maxNodeCount=3).status == 201
    assert cloud.computes.cores_in_use(FAMILY) + cloud.computes.cores_deployed(FAMILY) == 96


def test_quota_of_an_unknown_family() -> None:
    """A family that no size is of is a mistake in the settings, and said so with those that there are."""
    with pytest.raises(ValueError, match=rf"'NCADSA100v4'.*{FAMILY}"):
        Cloud(Settings(quota={"NCADSA100v4": 0}))


def test_deletion_by_time_alone(cloud: Cloud) -> None:
    """A deleted cluster is gone once its time has come, also for who sends no request."""
    finish(cloud, put(cloud))
    ask(cloud, "DELETE", "computes/gpu-cluster")
    cloud.clock.advance(timedelta(hours=1))
    assert cloud.computes.all() == ()


def test_low_priority_is_one_pool() -> None:
    """Low-priority clusters of all families share one pool, and leave the dedicated quota alone."""
    cloud = Cloud(Settings(low_priority_quota=60))
    assert put(cloud, "first", priority="LowPriority").status == 201
    refused = put(cloud, "second", size="Standard_DS4_v2", priority="Lowpriority")
    assert "has a total vCPU quota of 60, 48 of which are in use," in refused.message
    assert put(cloud, "third", size="Standard_DS3_v2", maxNodeCount=3, priority="lowpriority").status == 201
    assert cloud.computes.cores_in_use(FAMILY) == 0
    assert cloud.computes.cores_in_use(FAMILY, "LowPriority") == 48


def test_size_without_low_priority(cloud: Cloud) -> None:
    """A size that cannot be had as low priority is refused as such, and not as dedicated."""
    size = replace(cloud.computes.size(A100), low_priority_capable=False)
    cheap = ClusterSpec(A100, "LowPriority", 0, 2, timedelta(minutes=2))
    with pytest.raises(ServiceError, match="not allowed for LowPriority"):
        check_priority(cheap, size)
    check_priority(replace(cheap, priority="Dedicated"), size)


@pytest.mark.parametrize("change", [{"size": "Standard_NC48ads_A100_v4"}, {"priority": "LowPriority"}])
def test_what_cannot_change(cloud: Cloud, change: dict[str, str]) -> None:
    """The size and the priority of a cluster stay as they are."""
    finish(cloud, put(cloud))
    assert put(cloud, **change).status == 400
    assert cloud.computes.find("gpu-cluster").spec.priority == "Dedicated"


def test_serverless_is_always_there(cloud: Cloud) -> None:
    """Serverless compute can be run on and never looked up; a cluster exists in any case of its name."""
    assert cloud.computes.exists("Serverless")
    assert not cloud.computes.exists("gpu-cluster")
    put(cloud)
    assert cloud.computes.exists("GPU-CLUSTER")
    with pytest.raises(ServiceError):
        cloud.computes.find("serverless")


@given(st.integers(min_value=0, max_value=10**7))
def test_durations_keep_their_value(seconds: int) -> None:
    """What is written as a duration is read as the same one."""
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT120S", 120), ("PT2M", 120), ("P1DT1H", 90_000), ("PT1.5S", 1.5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """Every form that clients write is understood."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "P", "PT", "2M", "P1DT", "PTM"])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ServiceError, match="duration"):
        parse_duration(text)
