"""azure-ai-ml's entities to request bodies: the one file that uses private names of azure-ai-ml.

Its public ``begin_*`` calls poll in a thread of their own without any deadline, and print; so the entity checks
and serialises, and our own transport sends. ``tests/test_entities.py`` fails when a name used here is gone.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import (
        AmlCompute,
        Component,
        ManagedOnlineDeployment,
        ManagedOnlineEndpoint,
        Model,
    )
    from azure.core.credentials import TokenCredential

__all__ = [
    "cloud_of",
    "cluster_body",
    "component_entity",
    "credential_of",
    "deployment_body",
    "endpoint_body",
    "model_body",
    "registry_of",
]


def cluster_body(cluster: AmlCompute) -> dict[str, Any]:
    """The body of PUT for a cluster."""
    return _body(cluster._to_rest_object())


def endpoint_body(endpoint: ManagedOnlineEndpoint, location: str) -> dict[str, Any]:
    """The body of PUT for an online endpoint."""
    return _body(endpoint._to_rest_online_endpoint(location))


def deployment_body(deployment: ManagedOnlineDeployment, location: str) -> dict[str, Any]:
    """The body of PUT for an online deployment."""
    return _body(deployment._to_rest_object(location=location))


def model_body(model: Model) -> dict[str, Any]:
    """The body of PUT for a model version."""
    return _body(model._to_rest_object())


def component_entity(answer: Mapping[str, Any]) -> Component:
    """A registry's component, to be called as a step of a pipeline."""
    from azure.ai.ml._restclient.arm_ml_service.models import ComponentVersion
    from azure.ai.ml.entities import PipelineComponent

    # The entity takes the answer apart as it reads it, and the answer is kept for the next job.
    return PipelineComponent._from_rest_object(ComponentVersion(copy.deepcopy(dict(answer))))


def credential_of(client: MLClient) -> TokenCredential:
    """The credential that a client was built with."""
    return client._credential


def cloud_of(client: MLClient) -> str:
    """The cloud that a client is for, as azure-ai-ml names it."""
    return str(client._cloud)


def registry_of(client: MLClient) -> str | None:
    """The registry that a client is for; None for a workspace's."""
    return client._operation_scope.registry_name


def _body(rest_object: Any) -> dict[str, Any]:
    from azure.ai.ml._restclient.arm_ml_service._utils.model_base import SdkJSONEncoder

    body: dict[str, Any] = json.loads(json.dumps(rest_object, cls=SdkJSONEncoder, exclude_readonly=True))
    return body
