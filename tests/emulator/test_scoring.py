from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asking import Answer, ask

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import Answer as Refusal
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.identity.state import ARM_AUDIENCE, ML_AUDIENCE
from phi_finetune.emulator.online_endpoints.endpoint import AuthMode
from phi_finetune.emulator.runners.runner import JobInputs, Reply, Run

PHI = "azureml://registries/azureml/models/Phi-4/versions/8"
HOST = "phi-test.eastus.inference.ml.azure.com"
E = "onlineEndpoints/phi-test"


class Scripted:
    """A runner whose model gives one reply, and remembers what it was asked."""

    def __init__(self) -> None:
        self.next = Reply(200, {"output": "The Danube."})
        self.asked: list[Any] = []

    def run(self, job: JobInputs) -> Run:
        raise NotImplementedError

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        self.asked.append(body)
        return self.next


@pytest.fixture
def runner() -> Scripted:
    """The model behind the endpoint."""
    return Scripted()


@pytest.fixture
def cloud(runner: Scripted) -> Cloud:
    """A cloud with an endpoint and its one deployment, which takes all traffic."""
    cloud = Cloud(runner=runner)
    make(cloud, {"properties": {"authMode": "Key"}}, E)
    make(
        cloud,
        {"properties": {"model": PHI, "instanceType": "Standard_NC24ads_A100_v4"}},
        f"{E}/deployments/blue",
    )
    make(cloud, {"properties": {"authMode": "Key", "traffic": {"blue": 100}}}, E)
    return cloud


def make(cloud: Cloud, body: dict[str, Any], path: str) -> None:
    """PUT something and let the time pass that it takes."""
    assert ask(cloud, "PUT", path, body).status in (200, 201)
    cloud.clock.advance(timedelta(hours=1))


def sign_in_by(cloud: Cloud, auth_mode: AuthMode) -> None:
    """Give the endpoint another way to sign in."""
    make(cloud, {"properties": {"authMode": auth_mode, "traffic": {"blue": 100}}}, E)


def key(cloud: Cloud) -> str:
    """The endpoint's first key."""
    return str(ask(cloud, "POST", f"{E}/listKeys").body["primaryKey"])


def score(
    cloud: Cloud, secret: str | None, *, path: str = "/score", body: bytes = b"{}", pin: str = ""
) -> Answer:
    """Send a request to the endpoint's own host."""
    headers = {"content-type": "application/json"}
    if secret is not None:
        headers["authorization"] = f"Bearer {secret}"
    if pin:
        headers["azureml-model-deployment"] = pin
    answer = cloud.handle(Request("POST", f"https://{HOST}{path}", headers, body))
    return Answer(answer.status, json.loads(answer.body), answer.headers)


@pytest.mark.parametrize("path", ["/score", "/v1/chat/completions"])
def test_the_model_answers(cloud: Cloud, runner: Scripted, path: str) -> None:
    """The body goes to the model, its reply comes back, and a header names the deployment."""
    answer = score(cloud, key(cloud), path=path, body=b'{"input_data": 1}')
    assert (answer.status, answer.body) == (200, {"output": "The Danube."})
    assert answer.headers["azureml-model-deployment"] == "blue"
    assert runner.asked == [{"input_data": 1}]


def test_both_keys_are_good(cloud: Cloud) -> None:
    """The second key works as the first does."""
    second = ask(cloud, "POST", f"{E}/listKeys").body["secondaryKey"]
    assert score(cloud, second).status == 200


@pytest.mark.parametrize("secret", [None, "wrong"])
def test_a_wrong_key_is_401(cloud: Cloud, secret: str | None) -> None:
    """Nobody is answered without a key of this endpoint."""
    assert score(cloud, secret).status == 401


def test_a_replaced_key_is_401(cloud: Cloud) -> None:
    """Once a key is regenerated, the old one is no longer good."""
    old = key(cloud)
    ask(cloud, "POST", f"{E}/regenerateKeys", {"keyType": "Primary"})
    assert score(cloud, old).status == 401


def test_the_key_of_another_endpoint_is_401(cloud: Cloud) -> None:
    """A key leaked from one endpoint to another is refused."""
    make(cloud, {"properties": {"authMode": "Key"}}, "onlineEndpoints/phi-other")
    other = ask(cloud, "POST", "onlineEndpoints/phi-other/listKeys").body["primaryKey"]
    assert score(cloud, other).status == 401


def test_a_token_of_the_endpoint_is_good_until_it_expires(cloud: Cloud) -> None:
    """An endpoint of auth mode AMLToken takes its own tokens, for an hour."""
    sign_in_by(cloud, "AMLToken")
    token = ask(cloud, "POST", f"{E}/token").body["accessToken"]
    assert score(cloud, token).status == 200
    cloud.clock.advance(timedelta(hours=1))
    assert score(cloud, token).status == 401


def test_an_entra_token_must_be_for_azure_ml(cloud: Cloud) -> None:
    """An endpoint of auth mode AADToken takes tokens for ml.azure.com, and none for other audiences."""
    sign_in_by(cloud, "AADToken")
    assert score(cloud, cloud.identity.issue(ML_AUDIENCE)[0]).status == 200
    assert score(cloud, cloud.identity.issue(ARM_AUDIENCE)[0]).status == 401
    assert score(cloud, key_of_state(cloud)).status == 401


def key_of_state(cloud: Cloud) -> str:
    """The key of an endpoint that does not list it."""
    return cloud.endpoints.find("phi-test").keys["Primary"]


def test_without_traffic_nobody_answers(cloud: Cloud) -> None:
    """404 where no deployment has a positive weight, unless one is pinned."""
    make(cloud, {"properties": {"authMode": "Key"}}, E)
    answer = score(cloud, key(cloud))
    assert answer.status == 404
    assert "No valid deployment to route to" in answer.message
    assert score(cloud, key(cloud), pin="blue").status == 200


def test_an_unknown_deployment_cannot_be_pinned(cloud: Cloud) -> None:
    """404 where the header names a deployment that is not there."""
    assert score(cloud, key(cloud), pin="green").status == 404


def test_a_deployment_that_is_not_up_cannot_be_pinned(cloud: Cloud) -> None:
    """404 while the pinned deployment is still being made."""
    ask(
        cloud,
        "PUT",
        f"{E}/deployments/green",
        {"properties": {"model": PHI, "instanceType": "Standard_NC24ads_A100_v4"}},
    )
    assert score(cloud, key(cloud), pin="green").status == 404


def test_an_endpoint_that_was_deleted_answers_404(cloud: Cloud) -> None:
    """A key that was good once still finds its cloud, and nothing there."""
    secret = key(cloud)
    ask(cloud, "DELETE", E)
    cloud.clock.advance(timedelta(hours=1))
    assert cloud.owns(Request("POST", f"https://{HOST}/score", {"authorization": f"Bearer {secret}"}))
    assert score(cloud, secret).status == 404


def test_an_error_of_the_container_is_424(cloud: Cloud, runner: Scripted) -> None:
    """The container's own status and reason are in two headers (pain.md Q5)."""
    runner.next = Reply(400, {"error": "no input_data"})
    answer = score(cloud, key(cloud))
    assert (answer.status, answer.body) == (424, {"error": "no input_data"})
    assert answer.headers["ms-azureml-model-error-statuscode"] == "400"
    assert answer.headers["ms-azureml-model-error-reason"] == "Bad Request"


def test_an_answer_that_takes_too_long_is_408(cloud: Cloud, runner: Scripted) -> None:
    """The caller waits for the request timeout; the container's log shows success (pain.md Q4)."""
    runner.next = Reply(200, {}, log="generated 9000 tokens", lasts=timedelta(minutes=2))
    before = cloud.clock.now()
    assert score(cloud, key(cloud)).status == 408
    assert cloud.clock.now() - before == timedelta(seconds=5)
    content = ask(cloud, "POST", f"{E}/deployments/blue/getLogs", {"tail": 2}).body["content"]
    assert "generated 9000 tokens" in content
    assert '"POST /score HTTP/1.1" 200 120000 ms' in content


def test_an_answer_takes_its_time(cloud: Cloud, runner: Scripted) -> None:
    """What the container needs passes on the clock."""
    runner.next = replace(runner.next, lasts=timedelta(seconds=3))
    before = cloud.clock.now()
    assert score(cloud, key(cloud)).status == 200
    assert cloud.clock.now() - before == timedelta(seconds=3)


def test_too_many_requests_are_429(cloud: Cloud) -> None:
    """A fault on the scoring path answers as the endpoint does under load, with its headers."""
    cloud.faults.next(
        Refusal("POST *.inference.ml.azure.com/score", 429, "TooManyRequests", headers={"Retry-After": "7"})
    )
    answer = score(cloud, key(cloud))
    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (429, "TooManyRequests", "7")
    assert score(cloud, key(cloud)).status == 200


def test_a_body_that_is_no_json_is_left_to_the_model(cloud: Cloud, runner: Scripted) -> None:
    """The endpoint does not look into the body."""
    score(cloud, key(cloud), body=b"plain text")
    assert runner.asked == ["plain text"]
