from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from azure.ai.ml.entities import AmlCompute
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import WatchedClient

SIZE = "Standard_DS3_v2"
"""A size of which every subscription has some cores; a cluster that keeps no nodes costs nothing."""


@pytest.fixture
def cluster(ml: WatchedClient, unique: Callable[[str], str], afterwards: ExitStack) -> AmlCompute:
    """A cluster that has just been made, and keeps no nodes; it is deleted in the end."""
    name = unique("c")
    wanted = AmlCompute(
        name=name, size=SIZE, min_instances=0, max_instances=2, idle_time_before_scale_down=300
    )
    afterwards.callback(lambda: ml.compute.begin_delete(name).wait())
    return ml.compute.begin_create_or_update(wanted).result()


@pytest.mark.operation("compute.begin_create_or_update:AmlCompute", "compute.get")
def test_create_and_get(ml: WatchedClient, cluster: AmlCompute) -> None:
    """A cluster is what was asked for, once its operation is done (service.md)."""
    for found in (cluster, ml.compute.get(cluster.name)):
        assert (found.type, found.provisioning_state) == ("amlcompute", "Succeeded")
        assert (found.size.lower(), found.tier.lower()) == (SIZE.lower(), "dedicated")
        assert (found.min_instances, found.max_instances) == (0, 2)
        assert found.idle_time_before_scale_down == 300


@pytest.mark.operation("compute.begin_create_or_update:AmlCompute")
def test_a_size_that_is_none_is_refused(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """The service checks what the client does not (wire.md 13.10)."""
    with pytest.raises(HttpResponseError) as refused:
        ml.compute.begin_create_or_update(AmlCompute(name=unique("c"), size="Standard_Nothing")).result()
    assert refused.value.status_code in (200, 400)  # at once, or by the operation, which is read with 200


@pytest.mark.operation("compute.begin_update")
def test_update(ml: WatchedClient, cluster: AmlCompute) -> None:
    """The number of nodes can change."""
    cluster.max_instances = 3
    ml.compute.begin_update(cluster).wait()
    assert ml.compute.get(cluster.name).max_instances == 3


@pytest.mark.operation("compute.list", "compute.list_nodes")
def test_list(ml: WatchedClient, cluster: AmlCompute) -> None:
    """The cluster is among all, and those of its type, and has no node."""
    assert cluster.name in [one.name for one in ml.compute.list()]
    assert cluster.name in [one.name for one in ml.compute.list(compute_type="AmlCompute")]
    assert list(ml.compute.list_nodes(cluster.name)) == []


@pytest.mark.operation("compute.begin_delete")
def test_delete(ml: WatchedClient, cluster: AmlCompute) -> None:
    """A deleted cluster is gone."""
    ml.compute.begin_delete(cluster.name).wait()
    with pytest.raises(ResourceNotFoundError):
        ml.compute.get(cluster.name)


@pytest.mark.operation("compute.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404 with an empty body, of which the client makes an error without a code (service.md)."""
    with pytest.raises(ResourceNotFoundError) as refused:
        ml.compute.get(unique("c"))
    assert refused.value.error is None or not refused.value.error.code


@pytest.mark.operation(
    "compute.list_sizes", partial="The sizes with GPUs that Azure ML offers, and some without."
)
def test_list_sizes(ml: WatchedClient) -> None:
    """A size tells its GPUs; its cores are sent, but azure-ai-ml 1.35.2 loses them (``v_cp_us`` is None)."""
    gpus = {size.name.lower(): size.gpus for size in ml.compute.list_sizes()}
    assert (gpus[SIZE.lower()], gpus["standard_nc24ads_a100_v4"], gpus["standard_nc48ads_a100_v4"]) == (
        0,
        1,
        2,
    )


@pytest.mark.operation("compute.list_usage")
def test_list_usage(ml: WatchedClient) -> None:
    """Every family has a limit; what is in use is sent, but azure-ai-ml 1.35.2 loses it (``current_value``)."""
    usages = list(ml.compute.list_usage())
    assert {usage.unit for usage in usages} == {"Count"}
    assert all(isinstance(usage.limit, int) for usage in usages)
    assert any("Regional" in str(usage.name) for usage in usages)
