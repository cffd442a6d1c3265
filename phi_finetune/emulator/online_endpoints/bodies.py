"""Endpoints and deployments as JSON: read from requests, written to answers (wire.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.refusals import not_emulated
from phi_finetune.emulator.core.system_data import system_data
from phi_finetune.emulator.online_endpoints.deployment import Deployment, DeploymentSpec
from phi_finetune.emulator.online_endpoints.endpoint import AuthMode, Endpoint, EndpointSpec
from phi_finetune.emulator.online_endpoints.refusals import bad_request

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["deployment_body", "deployment_spec", "endpoint_body", "endpoint_spec"]

_TYPE = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
_AUTH_MODES: Mapping[str, AuthMode] = {"key": "Key", "amltoken": "AMLToken", "aadtoken": "AADToken"}

# pain.md, "Request and probe settings"; the size is the default of the REST reference.
_REQUESTS = {"maxQueueWait": "PT0.5S", "requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1}
_PROBE = {
    "initialDelay": "PT10S",
    "period": "PT10S",
    "timeout": "PT2S",
    "successThreshold": 1,
    "failureThreshold": 30,
}
_SIZE = "Standard_F4s_v2"
_DECIDED = ("instanceType", "livenessProbe", "model", "readinessProbe", "requestSettings")


def endpoint_spec(body: Mapping[str, Any]) -> EndpointSpec:
    """What a PUT asks for.

    Raises:
        ServiceError: 400 for an unknown auth mode, in words of ours; 501 for an endpoint on Kubernetes, which
            names the compute that it is on.
    """
    properties = body.get("properties") or {}
    if properties.get("compute"):
        raise not_emulated("online endpoints on Kubernetes")
    sent = str(properties.get("authMode") or "Key")
    auth_mode = _AUTH_MODES.get(sent.lower())
    if auth_mode is None:
        raise bad_request(f"The auth mode {sent} is not one of {', '.join(_AUTH_MODES.values())}.")
    return EndpointSpec(
        auth_mode=auth_mode,
        description=properties.get("description"),
        tags=body.get("tags") or {},
        properties=properties.get("properties") or {},
        traffic=properties.get("traffic") or {},
        mirror_traffic=properties.get("mirrorTraffic") or {},
        public_access=properties.get("publicNetworkAccess") or "Enabled",
    )


def deployment_spec(body: Mapping[str, Any]) -> DeploymentSpec:
    """What a PUT asks for, with what the service fills in (service.md).

    Raises:
        ServiceError: 501 for a deployment on Kubernetes.
    """
    properties = body.get("properties") or {}
    if properties.get("endpointComputeType", "Managed") != "Managed":
        raise not_emulated("online deployments on Kubernetes")
    return DeploymentSpec(
        model=properties.get("model"),
        instance_type=properties.get("instanceType") or _SIZE,
        instances=_capacity(body),
        requests=_filled(_REQUESTS, properties.get("requestSettings")),
        liveness=_filled(_PROBE, properties.get("livenessProbe")),
        readiness=_filled(_PROBE, properties.get("readinessProbe")),
        more={key: value for key, value in properties.items() if key not in _DECIDED},
        tags=body.get("tags") or {},
    )


def endpoint_body(endpoint: Endpoint, traffic: Mapping[str, int] | None = None) -> dict[str, Any]:
    """What GET of an endpoint answers; ``traffic`` is the split to show, where it is not the true one."""
    cloud, spec = endpoint.cloud, endpoint.spec
    arm_id = cloud.arm_id("onlineEndpoints", endpoint.name)
    properties = {
        "authMode": spec.auth_mode,
        "description": spec.description,
        "properties": {**spec.properties, "azureml.onlineendpointid": arm_id.lower()},
        "scoringUri": endpoint.scoring_uri,
        "swaggerUri": f"https://{endpoint.host}/swagger.json",
        "provisioningState": endpoint.provisioning_state,
        "publicNetworkAccess": spec.public_access,
        "traffic": dict(spec.traffic if traffic is None else traffic),
        "mirrorTraffic": dict(spec.mirror_traffic),
    }
    identity = {"type": "SystemAssigned", "principalId": endpoint.principal_id, "tenantId": cloud.tenant_id}
    head = _head(cloud, arm_id, endpoint.name, _TYPE, spec.tags)
    return {
        **head,
        "identity": identity,
        "properties": properties,
        "systemData": system_data(endpoint.created, endpoint.modified),
    }


def deployment_body(deployment: Deployment) -> dict[str, Any]:
    """What GET of a deployment answers; ``scaleSettings`` must be there (wire.md 9)."""
    cloud, spec = deployment.cloud, deployment.spec
    arm_id = cloud.arm_id("onlineEndpoints", deployment.endpoint, "deployments", deployment.name)
    properties = {
        "endpointComputeType": "Managed",
        "appInsightsEnabled": False,
        "environmentVariables": {},
        "properties": {},
        "scaleSettings": {"scaleType": "Default"},
        "egressPublicNetworkAccess": "Enabled",
        **{key: value for key, value in spec.more.items() if value is not None},
        "model": spec.model,
        "instanceType": spec.instance_type,
        "requestSettings": dict(spec.requests),
        "livenessProbe": dict(spec.liveness),
        "readinessProbe": dict(spec.readiness),
        "provisioningState": deployment.provisioning_state,
    }
    head = _head(cloud, arm_id, deployment.name, f"{_TYPE}/deployments", spec.tags)
    return {
        **head,
        "sku": {"name": "Default", "tier": "Standard", "capacity": spec.instances},
        "properties": properties,
        "systemData": system_data(deployment.created, deployment.modified),
    }


def _head(cloud: Cloud, arm_id: str, name: str, kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": arm_id,
        "name": name,
        "type": kind,
        "location": cloud.settings.region,
        "kind": "Managed",
        "tags": dict(tags),
    }


def _capacity(body: Mapping[str, Any]) -> int:
    capacity = (body.get("sku") or {}).get("capacity")
    return 1 if capacity is None else int(capacity)


def _filled(defaults: Mapping[str, Any], sent: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**defaults, **{key: value for key, value in (sent or {}).items() if value is not None}}
