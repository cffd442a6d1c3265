"""Serverless endpoints as JSON: read from requests, written to answers (wire.md 11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi_finetune.emulator.core.system_data import system_data
from phi_finetune.emulator.online_endpoints.refusals import bad_request
from phi_finetune.emulator.serverless_endpoints.endpoint import AuthMode, ServerlessEndpoint, ServerlessSpec

__all__ = ["endpoint_body", "endpoint_spec"]

_TYPE = "Microsoft.MachineLearningServices/workspaces/serverlessEndpoints"
_AUTH_MODES: Mapping[str, AuthMode] = {"key": "Key", "aad": "AAD", "keyandaad": "KeyAndAAD"}


def endpoint_spec(body: Mapping[str, Any]) -> ServerlessSpec:
    """What a PUT asks for. Without an auth mode, as the client sends it, keys are taken (wire.md 11).

    Raises:
        ServiceError: 400 for an unknown auth mode or sku; the wording is ours.
    """
    sku = (body.get("sku") or {}).get("name", "Consumption")
    if sku != "Consumption":
        raise bad_request(f"The sku {sku} is not supported for serverless endpoints; it must be Consumption.")
    properties = body.get("properties") or {}
    sent = str(properties.get("authMode") or "Key")
    auth_mode = _AUTH_MODES.get(sent.lower())
    if auth_mode is None:
        raise bad_request(f"The auth mode {sent} is not one of {', '.join(_AUTH_MODES.values())}.")
    return ServerlessSpec(
        model_id=str((properties.get("modelSettings") or {}).get("modelId") or ""),
        auth_mode=auth_mode,
        content_safety=(properties.get("contentSafety") or {}).get("contentSafetyStatus") or "Enabled",
        tags=body.get("tags") or {},
    )


def endpoint_body(endpoint: ServerlessEndpoint) -> dict[str, Any]:
    """What GET of an endpoint answers (REST reference of 2024-10-01)."""
    cloud, spec = endpoint.cloud, endpoint.spec
    return {
        "id": cloud.arm_id("serverlessEndpoints", endpoint.name),
        "name": endpoint.name,
        "type": _TYPE,
        "location": cloud.settings.region,
        "kind": "ServerlessEndpoint",
        "sku": {"name": "Consumption"},
        "tags": dict(spec.tags),
        "properties": {
            "authMode": spec.auth_mode,
            "contentSafety": {"contentSafetyStatus": spec.content_safety},
            "endpointState": endpoint.endpoint_state,
            "inferenceEndpoint": {"uri": endpoint.uri, "headers": {}} if endpoint.uri else None,
            "marketplaceSubscriptionId": endpoint.marketplace_subscription_id,
            "modelSettings": {"modelId": spec.model_id},
            "provisioningState": endpoint.provisioning_state,
        },
        "systemData": system_data(endpoint.created, endpoint.modified),
    }
