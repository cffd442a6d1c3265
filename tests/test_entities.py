"""The private names of azure-ai-ml that ``_azure/entities.py`` uses: a release without one fails here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.ai.ml import Input
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import (
    AmlCompute,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    ProbeSettings,
)

import phi_finetune as pf
from phi_finetune._azure import entities
from phi_finetune._azure.registry import find_component

MODEL = "azureml://registries/azureml/models/Phi-4/versions/8"


def test_a_clusters_body() -> None:
    """``_to_rest_object`` gives what research has seen on the wire."""
    cluster = AmlCompute(
        name="gpu",
        size="Standard_NC24ads_A100_v4",
        min_instances=0,
        max_instances=2,
        idle_time_before_scale_down=120,
        tier="dedicated",
        location="eastus",
        tags={"a": "b"},
    )
    body = entities.cluster_body(cluster)
    assert (body["location"], body["tags"]) == ("eastus", {"a": "b"})
    assert body["properties"]["computeType"] == "AmlCompute"
    assert body["properties"]["properties"] == {
        "vmSize": "Standard_NC24ads_A100_v4",
        "vmPriority": "Dedicated",
        "scaleSettings": {"maxNodeCount": 2, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT2M"},
        "remoteLoginPortPublicAccess": "NotSpecified",
        "enableNodePublicIp": True,
        "osType": "Linux",
    }


@pytest.mark.parametrize(("tier", "priority"), [("dedicated", "dedicated"), ("low_priority", "lowpriority")])
def test_a_clusters_priority(tier: str, priority: str) -> None:
    """Both tiers go out in a spelling that the service takes, whatever its case."""
    cluster = AmlCompute(name="gpu", size="Standard_NC24ads_A100_v4", tier=tier)
    assert entities.cluster_body(cluster)["properties"]["properties"]["vmPriority"].lower() == priority


@pytest.mark.parametrize(("auth", "mode"), [("key", "Key"), ("aad_token", "AADToken")])
def test_an_endpoints_body(auth: str, mode: str) -> None:
    """``_to_rest_online_endpoint``."""
    endpoint = ManagedOnlineEndpoint(name="answers", auth_mode=auth, description="d", tags={"a": "b"})
    body = entities.endpoint_body(endpoint, "eastus")
    assert body["location"] == "eastus"
    assert body["tags"] == {"a": "b"}
    assert body["identity"]["type"] == "SystemAssigned"
    assert (body["properties"]["authMode"].lower(), body["properties"]["description"]) == (mode.lower(), "d")


def test_a_deployments_body() -> None:
    """``_to_rest_object`` with a location."""
    deployment = ManagedOnlineDeployment(
        name="default",
        endpoint_name="answers",
        model=MODEL,
        instance_type="Standard_NC24ads_A100_v4",
        instance_count=2,
        request_settings=OnlineRequestSettings(
            request_timeout_ms=90_000, max_concurrent_requests_per_instance=3
        ),
        liveness_probe=ProbeSettings(initial_delay=600),
        tags={"a": "b"},
    )
    body = entities.deployment_body(deployment, "eastus")
    properties = body["properties"]
    assert (body["location"], body["tags"]) == ("eastus", {"a": "b"})
    assert body["sku"] == {"name": "Default", "capacity": 2}
    assert (properties["endpointComputeType"], properties["model"]) == ("Managed", MODEL)
    assert properties["instanceType"] == "Standard_NC24ads_A100_v4"
    assert properties["requestSettings"] == {
        "requestTimeout": "PT1M30S",
        "maxConcurrentRequestsPerInstance": 3,
    }
    assert properties["livenessProbe"]["initialDelay"] == "PT10M"


def test_a_models_body() -> None:
    """``_to_rest_object`` of a model version."""
    uri = "azureml://jobs/tune/outputs/trained_model"
    model = Model(name="m", version="1", path=uri, type="mlflow_model", description="d", tags={"a": "b"})
    properties = entities.model_body(model)["properties"]
    assert (properties["modelType"], properties["modelUri"]) == ("mlflow_model", uri)
    assert (properties["description"], properties["tags"]) == ("d", {"a": "b"})


def test_bodies_are_plain_json() -> None:
    """What is sent is what was looked at: text, numbers, lists and dictionaries alone."""
    body = entities.endpoint_body(ManagedOnlineEndpoint(name="answers"), "eastus")
    assert json.loads(json.dumps(body)) == body


def test_a_component_can_be_called_as_a_step(workspace: pf.Workspace) -> None:
    """The registry's answer becomes a component with all its inputs, and is not used up by it."""
    answer = find_component(workspace._handle(), "azureml", "chat_completion_pipeline", None)
    before = json.dumps(answer, sort_keys=True)
    for _ in range(2):
        component: Any = entities.component_entity(answer)
        assert set(component.inputs) == set(answer["properties"]["componentSpec"]["inputs"])
        assert len(component.inputs) == 69
        step = component(mlflow_model_path=Input(type="mlflow_model", path=MODEL))
        assert "mlflow_model_folder" in step.outputs
    assert json.dumps(answer, sort_keys=True) == before


def test_a_pipeline_of_it_serialises(workspace: pf.Workspace) -> None:
    """The decorator, the step and ``_to_rest_object`` of the job fit together."""
    answer = find_component(workspace._handle(), "azureml", "chat_completion_pipeline", None)
    component: Any = entities.component_entity(answer)

    def tune() -> dict[str, Any]:
        step = component(mlflow_model_path=Input(type="mlflow_model", path=MODEL), seed=7)
        return {"trained_model": step.outputs.mlflow_model_folder}

    rest: Any = pipeline(tune)()._to_rest_object()
    (node,) = rest.properties.jobs.values()
    assert node["componentId"] == answer["id"]
    assert node["inputs"]["seed"] == {"value": "7", "job_input_type": "literal"}
