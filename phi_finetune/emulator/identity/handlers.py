"""Parse and answer the calls that sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from phi_finetune.emulator.core.hosts import LOGIN
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.identity.state import SignInRefused

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["discover_instance", "discover_tenant", "machine_token", "token"]

_KEPT_S = 60
"""How long a client may keep a token, in seconds on the machine's clock. The cloud's own clock runs ahead
of that one, so a client asks again for nearly every request, and no virtual hour makes a kept token expire
unnoticed."""


def discover_instance(cloud: Cloud, request: Request) -> Response:
    """The public metadata of Entra: which hosts it has. It is the same for every tenant."""
    endpoint = f"https://{LOGIN}/common/v2.0/.well-known/openid-configuration"
    alias = {"preferred_network": LOGIN, "preferred_cache": "login.windows.net", "aliases": [LOGIN]}
    return json_answer(
        200, {"tenant_discovery_endpoint": endpoint, "api-version": "1.1", "metadata": [alias]}
    )


def discover_tenant(cloud: Cloud, request: Request) -> Response:
    """Where a tenant signs in (OpenID Connect discovery)."""
    base = f"https://{LOGIN}/{cloud.tenant_id}"
    return json_answer(
        200,
        {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_types_supported": ["code", "id_token", "token"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "tenant_region_scope": "NA",
            "cloud_instance_name": "microsoftonline.com",
        },
    )


def token(cloud: Cloud, request: Request) -> Response:
    """A token for a service principal with its secret."""
    form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
    try:
        value = cloud.identity.sign_in(
            grant=form.get("grant_type", ""),
            client_id=form.get("client_id", ""),
            secret=form.get("client_secret", ""),
            scope=form.get("scope", ""),
        )
    except SignInRefused as refusal:
        return json_answer(refusal.status, _refusal(cloud, refusal))
    return json_answer(200, {"token_type": "Bearer", "expires_in": _KEPT_S, "access_token": value})


def machine_token(cloud: Cloud, request: Request) -> Response:
    """A token of the machine's identity (Azure's page on using managed identities to get a token)."""
    if request.headers.get("metadata", "").lower() != "true":
        return json_answer(
            400, {"error": "invalid_request", "error_description": "Required metadata header not specified"}
        )
    if request.query.get("client_id", cloud.identity.client_id) != cloud.identity.client_id:
        return json_answer(400, {"error": "invalid_request", "error_description": "Identity not found"})
    resource = request.query.get("resource", "").rstrip("/")
    value, _ = cloud.identity.issue(resource)
    kept_until = int(cloud.clock.now().timestamp()) + _KEPT_S
    return json_answer(
        200,
        {
            "access_token": value,
            "client_id": cloud.identity.client_id,
            "expires_in": str(_KEPT_S),
            "expires_on": str(kept_until),
            "resource": resource,
            "token_type": "Bearer",
        },
    )


def _refusal(cloud: Cloud, refusal: SignInRefused) -> dict[str, object]:
    trace, correlation = cloud.ids.guid(), cloud.ids.guid()
    when = f"{cloud.clock.now():%Y-%m-%d %H:%M:%SZ}"
    notes = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {when}"
    return {
        "error": refusal.error,
        "error_description": f"AADSTS{refusal.number}: {refusal.message} {notes}",
        "error_codes": [refusal.number],
        "timestamp": when,
        "trace_id": trace,
        "correlation_id": correlation,
    }
