"""Endpoints and deployments of an emulated cloud, asked for as a client would."""

from __future__ import annotations

from typing import Any

from asking import Answer, ask

from phi_finetune.emulator.cloud import Cloud

__all__ = [
    "A100",
    "FAMILY",
    "PHI",
    "D",
    "E",
    "deployed",
    "detail",
    "put_deployment",
    "put_endpoint",
    "state",
    "wait",
]

A100 = "Standard_NC24ads_A100_v4"
FAMILY = "standardNCADSA100v4Family"
PHI = "azureml://registries/azureml/models/Phi-4/versions/8"
E = "onlineEndpoints/phi-test"
"""The path of the endpoint that most tests have."""
D = f"{E}/deployments/blue"
"""The path of its first deployment."""


def put_endpoint(cloud: Cloud, name: str = "phi-test", **properties: Any) -> Answer:
    """Ask for an endpoint."""
    body = {"location": "eastus", "tags": {}, "properties": {"authMode": "Key", **properties}}
    return ask(cloud, "PUT", f"onlineEndpoints/{name}", body)


def put_deployment(
    cloud: Cloud, name: str = "blue", *, size: str = A100, count: int = 1, **more: Any
) -> Answer:
    """Ask for a deployment of a registry's Phi-4."""
    properties = {"endpointComputeType": "Managed", "model": PHI, "instanceType": size, **more}
    body = {"sku": {"name": "Default", "capacity": count}, "properties": properties}
    return ask(cloud, "PUT", f"{E}/deployments/{name}", body)


def wait(cloud: Cloud, began: Answer) -> dict[str, Any]:
    """Poll the operation that an answer began until it has ended."""
    while True:
        status: dict[str, Any] = ask(cloud, "GET", began.headers["Azure-AsyncOperation"]).body
        if status["status"] != "InProgress":
            return status


def deployed(cloud: Cloud, *names: str, traffic: dict[str, int] | None = None) -> None:
    """Make an endpoint with deployments that are healthy, and split its traffic."""
    wait(cloud, put_endpoint(cloud))
    for name in names:
        wait(cloud, put_deployment(cloud, name))
    if traffic:
        assert wait(cloud, put_endpoint(cloud, traffic=traffic))["status"] == "Succeeded"


def state(cloud: Cloud, path: str) -> str:
    """The provisioning state of an endpoint or a deployment."""
    return str(ask(cloud, "GET", path).body["properties"]["provisioningState"])


def detail(answer: Answer) -> str:
    """The message of the first detail of a refusal."""
    return str(answer.body["error"]["details"][0]["message"])
