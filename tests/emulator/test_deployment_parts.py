from __future__ import annotations

from typing import Any

import pytest
from asking import Answer, ask
from making import put_code, put_environment
from online import put_deployment, put_endpoint, wait

from phi_finetune.emulator.cloud import Cloud

SIZE = "Standard_DS3_v2"
SCRIPT = {"codeId": "azureml:snapshot:1", "scoringScript": "score.py"}
SERVER = {"livenessRoute": {"path": "/", "port": 8080}, "readinessRoute": {"path": "/", "port": 8080}}


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with an endpoint, an environment, code, and a model of each type."""
    cloud = Cloud()
    wait(cloud, put_endpoint(cloud))
    put_environment(cloud)
    put_environment(
        cloud, "server", inferenceConfig={**SERVER, "scoringRoute": {"path": "/score", "port": 8080}}
    )
    put_code(cloud, {"score.py": b"def init(): ...\ndef run(data): ...\n"})
    cloud.storage.put("m/a.bin", b"x")
    for kind in ("custom_model", "mlflow_model", "triton_model"):
        body = {"modelUri": "azureml://datastores/workspaceblobstore/paths/m", "modelType": kind}
        ask(cloud, "PUT", f"models/{kind}/versions/1", {"properties": body})
    return cloud


def deploy(cloud: Cloud, model: str | None, **properties: Any) -> Answer:
    """Ask for a deployment of one of the models, or of none."""
    reference = model and f"azureml:{model}:1"
    return put_deployment(cloud, size=SIZE, model=reference, **properties)


@pytest.mark.parametrize("model", ["mlflow_model", "triton_model"])
def test_models_that_need_no_code(cloud: Cloud, model: str) -> None:
    """Azure makes environment and script for them; they may be given all the same."""
    assert deploy(cloud, model).status == 201
    wait(cloud, ask(cloud, "DELETE", "onlineEndpoints/phi-test"))
    wait(cloud, put_endpoint(cloud))
    assert deploy(cloud, model, environmentId="azureml:tools:1", codeConfiguration=SCRIPT).status == 201


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ({}, 400, "needs an environment"),
        ({"codeConfiguration": SCRIPT}, 400, "needs an environment"),
        ({"environmentId": "azureml:tools:1"}, 400, "needs a scoring script"),
        ({"environmentId": "azureml:tools:1", "codeConfiguration": SCRIPT}, 201, ""),
        ({"environmentId": "azureml:server:1"}, 201, ""),
    ],
    ids=["nothing", "code", "environment", "both", "a server of its own"],
)
def test_a_model_of_ones_own_format(cloud: Cloud, parts: dict[str, Any], status: int, words: str) -> None:
    """It needs an environment, and a script unless the environment brings a server."""
    answer = deploy(cloud, "custom_model", **parts)
    assert answer.status == status
    if words:
        assert words in answer.message
        assert cloud.endpoints.deployments() == ()


def test_no_model_at_all(cloud: Cloud) -> None:
    """Without a model an environment is all that is needed."""
    assert deploy(cloud, None).status == 400
    assert deploy(cloud, None, environmentId="azureml:server:1").status == 201


@pytest.mark.parametrize(
    "parts",
    [
        {"environmentId": "azureml:nothing:1"},
        {"environmentId": "azureml://registries/azureml/environments/sklearn-1.5/versions/999"},
        {"codeConfiguration": {"codeId": "azureml:nothing:1", "scoringScript": "score.py"}},
        {"codeConfiguration": {"codeId": "azureml:snapshot:1"}},
    ],
    ids=["environment", "curated environment", "code", "script"],
)
def test_parts_that_are_not_there(cloud: Cloud, parts: dict[str, Any]) -> None:
    """What a deployment names must be there, also where Azure would not need it."""
    assert deploy(cloud, "mlflow_model", **parts).status == 400
    assert cloud.endpoints.deployments() == ()


def test_parts_are_answered_as_sent(cloud: Cloud) -> None:
    """A deployment tells what it was made of."""
    deploy(cloud, "custom_model", environmentId="azureml:tools:1", codeConfiguration=SCRIPT)
    properties = ask(cloud, "GET", "onlineEndpoints/phi-test/deployments/blue").body["properties"]
    assert (properties["environmentId"], properties["codeConfiguration"]) == ("azureml:tools:1", SCRIPT)
