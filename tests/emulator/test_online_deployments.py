from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st
from online import FAMILY, D, deployed, detail, put_deployment, put_endpoint, state, wait

from phi_finetune.emulator.catalogue import vm_sizes
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.faults import DeploymentFails
from phi_finetune.emulator.online_endpoints.rules import cores_needed


@pytest.fixture
def cloud() -> Cloud:
    """A cloud of its own."""
    return Cloud()


# Deployments


def test_a_deployment_comes_up_in_its_time(cloud: Cloud) -> None:
    """Image, node and weights, and the readiness probe's delay pass on the clock before it is healthy."""
    wait(cloud, put_endpoint(cloud))
    before = cloud.clock.now()
    answer = put_deployment(cloud, readinessProbe={"initialDelay": "PT10M"})
    assert (answer.status, state(cloud, D)) == (201, "Updating")
    assert wait(cloud, answer)["status"] == "Succeeded"
    assert state(cloud, D) == "Succeeded"
    assert cloud.clock.now() - before == timedelta(minutes=21)


def test_the_service_fills_in_what_was_not_sent(cloud: Cloud) -> None:
    """Probes, request and scale settings have the service's defaults (service.md; pain.md, part 2)."""
    wait(cloud, put_endpoint(cloud))
    put_deployment(
        cloud, readinessProbe={"initialDelay": "PT10M"}, requestSettings={"requestTimeout": "PT90S"}
    )
    body = ask(cloud, "GET", D).body
    properties = body["properties"]
    probe = {"period": "PT10S", "timeout": "PT2S", "successThreshold": 1, "failureThreshold": 30}
    assert properties["livenessProbe"] == {"initialDelay": "PT10S", **probe}
    assert properties["readinessProbe"] == {"initialDelay": "PT10M", **probe}
    assert properties["requestSettings"]["requestTimeout"] == "PT90S"
    assert properties["requestSettings"]["maxConcurrentRequestsPerInstance"] == 1
    assert properties["scaleSettings"] == {"scaleType": "Default"}
    assert body["sku"]["capacity"] == 1


def test_a_deployment_needs_its_endpoint_settled(cloud: Cloud) -> None:
    """No deployment is made in an endpoint that is being made or changed (pain.md O6)."""
    assert put_deployment(cloud).status == 404
    put_endpoint(cloud)
    answer = put_deployment(cloud)
    assert answer.status == 409
    assert answer.message.startswith(
        "Cannot create a deployment in endpoint phi-test because it is in Updating"
    )


def test_the_same_deployment_put_twice_is_made_once(cloud: Cloud) -> None:
    """A PUT that is sent again while the first is under way joins its operation."""
    wait(cloud, put_endpoint(cloud))
    first, again = put_deployment(cloud), put_deployment(cloud)
    assert (first.status, again.status) == (201, 200)
    assert first.headers["Azure-AsyncOperation"] == again.headers["Azure-AsyncOperation"]


def test_a_missing_deployment_is_404_in_the_services_words(cloud: Cloud) -> None:
    """GET of a deployment that is not there names it, its endpoint and the workspace."""
    put_endpoint(cloud)
    answer = ask(cloud, "GET", D)
    assert (answer.status, answer.code) == (404, "UserError")
    assert answer.message == "Deployment blue not found in endpoint phi-test, workspace phi-lab"


def test_a_model_that_is_not_there_is_refused(cloud: Cloud) -> None:
    """A deployment names a model that exists."""
    wait(cloud, put_endpoint(cloud))
    assert put_deployment(cloud, model="azureml:nobody:1").status == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "Standard_NC6"},
        {"size": "Standard_Nothing"},
        {"count": 0},
        {"count": 51},
        {"name": "b"},
        {"requestSettings": {"requestTimeout": "PT3M1S"}},
        {"requestSettings": {"maxConcurrentRequestsPerInstance": 0}},
        {"livenessProbe": {"successThreshold": 2}},
        {"livenessProbe": {"failureThreshold": 0}},
        {"readinessProbe": {"initialDelay": "PT0S"}},
    ],
    ids=str,
)
def test_what_breaks_a_rule_is_refused(cloud: Cloud, wrong: dict[str, Any]) -> None:
    """The service checks what the client does not: size, count, name, timeouts and probes (wire.md 13.10)."""
    wait(cloud, put_endpoint(cloud))
    assert put_deployment(cloud, **wrong).status == 400
    assert cloud.endpoints.deployments() == ()


def test_what_is_on_kubernetes_stays_out(cloud: Cloud) -> None:
    """An endpoint on a compute of one's own and a deployment there are not emulated, which is no fault of theirs."""
    assert put_endpoint(cloud, "kube", compute=cloud.arm_id("computes", "kube")).status == 501
    wait(cloud, put_endpoint(cloud))
    answer = put_deployment(cloud, endpointComputeType="Kubernetes")
    assert (answer.status, answer.message) == (501, "The emulator has no online deployments on Kubernetes.")
    assert cloud.endpoints.deployments() == ()


def test_too_little_quota_is_refused_with_the_reserve_in_words_of_the_service() -> None:
    """One instance of a size that is not exempt takes the cores of two (pain.md O2)."""
    cloud = Cloud(Settings(quota={"standardFSv2Family": 6}))
    wait(cloud, put_endpoint(cloud))
    answer = put_deployment(cloud, size="Standard_F4s_v2")
    assert (answer.status, answer.code, answer.message) == (400, "BadRequest", "The request is invalid.")
    assert "Not enough quota available for Standard_F4s_v2" in detail(answer)
    assert "Current usage/limit: 0/6. Additional needed: 8 " in detail(answer)


def test_an_exempt_size_takes_its_cores_only() -> None:
    """A GPU size without the reserve fits where its own cores do, once."""
    cloud = Cloud(Settings(quota={FAMILY: 24}))
    deployed(cloud, "blue")
    answer = put_deployment(cloud, "green")
    assert "Current usage/limit: 24/24. Additional needed: 24 " in detail(answer)


def test_quota_comes_back_with_the_deletion() -> None:
    """The cores of a deleted deployment are free again."""
    cloud = Cloud(Settings(quota={FAMILY: 24}))
    deployed(cloud, "blue")
    wait(cloud, ask(cloud, "DELETE", D))
    assert put_deployment(cloud, "green").status == 201


def test_an_endpoint_has_twenty_deployments_at_most() -> None:
    """The deployment over the limit is refused."""
    cloud = Cloud(Settings(quota={FAMILY: 1000}))
    wait(cloud, put_endpoint(cloud))
    for number in range(20):
        assert put_deployment(cloud, f"blue-{number}").status == 201
    assert "20 deployments" in put_deployment(cloud, "one-more").message


def test_scaling_takes_a_while_and_keeps_traffic(cloud: Cloud) -> None:
    """Another number of instances is a change of its own kind, during which the deployment still answers."""
    deployed(cloud, "blue", traffic={"blue": 100})
    answer = ask(cloud, "PATCH", D, {"sku": {"capacity": 2}})
    assert (answer.status, state(cloud, D)) == (200, "Scaling")
    assert cloud.endpoints.find("phi-test").turn() is not None
    wait(cloud, answer)
    assert ask(cloud, "GET", D).body["sku"]["capacity"] == 2


def test_the_instance_type_of_a_deployment_stays(cloud: Cloud) -> None:
    """A deployment moves to no other size."""
    deployed(cloud, "blue")
    assert put_deployment(cloud, size="Standard_DS3_v2").status == 400


def test_another_model_rolls_the_deployment_out_anew(cloud: Cloud) -> None:
    """A change of more than the instances brings the containers up once more."""
    deployed(cloud, "blue")
    answer = put_deployment(
        cloud, environmentVariables={"A": "B"}, requestSettings={"requestTimeout": "PT1M"}
    )
    assert answer.status == 200
    before = cloud.clock.now()
    assert put_deployment(cloud, "blue", count=2).status == 409
    wait(cloud, answer)
    assert cloud.clock.now() - before > timedelta(minutes=10)


def test_a_failed_deployment_says_why(cloud: Cloud) -> None:
    """The operation has the fault's code and message, the state is Failed, the log has its words last."""
    cloud.faults.next(DeploymentFails(message="It crashed.", log="No module named 'x'"))
    wait(cloud, put_endpoint(cloud))
    ended = wait(cloud, put_deployment(cloud))
    assert ended == {"status": "Failed", "error": {"code": "ResourceNotReady", "message": "It crashed."}}
    assert state(cloud, D) == "Failed"
    content = ask(cloud, "POST", f"{D}/getLogs", {"tail": 1}).body["content"]
    assert content.rstrip().endswith("No module named 'x'")
    assert "UserContainerStart: Failed" in content


def test_the_location_of_a_failed_deployment_has_its_error(cloud: Cloud) -> None:
    """Who follows the other header gets the error as a refusal."""
    cloud.faults.next(DeploymentFails(code="ImageBuildFailure"))
    wait(cloud, put_endpoint(cloud))
    began = put_deployment(cloud)
    wait(cloud, began)
    assert ask(cloud, "GET", began.headers["Location"]).code == "ImageBuildFailure"


def test_a_failed_deployment_can_be_put_again(cloud: Cloud) -> None:
    """A second PUT of a failed deployment tries once more."""
    cloud.faults.next(DeploymentFails())
    wait(cloud, put_endpoint(cloud))
    wait(cloud, put_deployment(cloud))
    assert wait(cloud, put_deployment(cloud))["status"] == "Succeeded"


@pytest.mark.parametrize(
    ("code", "lasts", "stage"),
    [
        ("OutOfQuota", timedelta(minutes=1), "SystemSetup"),
        ("ImageBuildFailure", timedelta(minutes=5), "UserContainerImagePull"),
        ("ResourceNotReady", timedelta(minutes=16, seconds=10), "UserContainerStart"),
    ],
)
def test_each_failure_comes_in_its_stage(cloud: Cloud, code: str, lasts: timedelta, stage: str) -> None:
    """Quota fails before the image, the image before the container, the container when its probes give up."""
    cloud.faults.next(DeploymentFails(code=code))
    wait(cloud, put_endpoint(cloud))
    before = cloud.clock.now()
    wait(cloud, put_deployment(cloud))
    assert cloud.clock.now() - before == lasts
    content = ask(cloud, "POST", f"{D}/getLogs", {}).body["content"]
    assert [line for line in content.splitlines() if line.endswith(": Failed")] == [f"{stage}: Failed"]


def test_logs_grow_with_the_rollout(cloud: Cloud) -> None:
    """Each container's log says what has been done by now, and no more."""
    wait(cloud, put_endpoint(cloud))
    put_deployment(cloud)
    log = f"{D}/getLogs"
    assert "UserContainerImagePull: Waiting" in ask(cloud, "POST", log, {}).body["content"]
    cloud.clock.advance(timedelta(minutes=6))
    initializer = ask(cloud, "POST", log, {"containerType": "StorageInitializer"}).body["content"]
    assert "Downloading model" in initializer
    assert "complete" not in initializer
    assert "ModelDownload: InProgress" in initializer
    cloud.clock.advance(timedelta(minutes=10))
    assert "Server is ready" in ask(cloud, "POST", log, {"containerType": "InferenceServer"}).body["content"]


def test_a_deployment_that_takes_traffic_cannot_be_deleted(cloud: Cloud) -> None:
    """Its traffic must go first."""
    deployed(cloud, "blue", traffic={"blue": 100})
    answer = ask(cloud, "DELETE", D)
    assert answer.status == 400
    assert "takes 100 % of the traffic" in answer.message
    wait(cloud, put_endpoint(cloud, traffic={"blue": 0}))
    assert ask(cloud, "DELETE", D).status == 202


def test_deleting_a_deployment_again_follows_the_first_deletion(cloud: Cloud) -> None:
    """Two DELETEs are one operation."""
    deployed(cloud, "blue")
    first, again = ask(cloud, "DELETE", D), ask(cloud, "DELETE", D)
    assert first.headers["Azure-AsyncOperation"] == again.headers["Azure-AsyncOperation"]
    assert state(cloud, D) == "Deleting"


def test_a_missing_deployment_is_deleted_without_error(cloud: Cloud) -> None:
    """DELETE of what is not there answers 204."""
    put_endpoint(cloud)
    assert ask(cloud, "DELETE", D).status == 204


@given(st.sampled_from(vm_sizes()), st.integers(1, 50))
def test_the_reserve_is_one_in_five_rounded_up(size: Any, instances: int) -> None:
    """A size that is not exempt takes a fifth of the instances more, in whole instances."""
    cores = cores_needed(size, instances)
    reserve = cores / size.vcpus - instances
    assert reserve == 0 if size.exempt else 0 <= reserve - instances / 5 < 1
