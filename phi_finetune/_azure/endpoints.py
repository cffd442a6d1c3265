"""Online endpoints and deployments by plain REST; azure-ai-ml only puts their requests together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from phi_finetune._azure.client import Client
from phi_finetune._azure.operations import Failed, apply, delete, follow, state, wait_gone
from phi_finetune._azure.paths import segment
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import azure_ai_ml_errors, expect
from phi_finetune._waiting import Look, Patience, wait_for
from phi_finetune.errors import NotFound

if TYPE_CHECKING:
    from azure.ai.ml.entities import ProbeSettings

    from phi_finetune.deployments import DeploymentSpec, Probe

__all__ = [
    "create_endpoint",
    "delete_deployment",
    "delete_endpoint",
    "find_deployment",
    "find_endpoint",
    "get_endpoint",
    "keys",
    "list_deployments",
    "list_endpoints",
    "logs",
    "put_deployment",
    "put_traffic",
    "tag_endpoint",
    "wait_endpoint_gone",
    "wait_until_healthy",
]

API = "2022-02-01-preview"
DEPLOYMENT_API = "2023-04-01-preview"


def find_endpoint(client: Client, name: str) -> dict[str, Any] | None:
    """An endpoint as ARM describes it; None where there is none."""
    return client.find(_path(name), api=API, resource=f"endpoint {name}", doing="look up the endpoint")


def get_endpoint(client: Client, name: str) -> dict[str, Any]:
    """An endpoint as ARM describes it.

    Raises:
        NotFound: There is none.
    """
    next_call = "ws.endpoints() lists what there is"
    resource = f"endpoint {name}"
    return client.get(
        _path(name), api=API, resource=resource, doing="look up the endpoint", next_call=next_call
    )


def list_endpoints(client: Client) -> list[dict[str, Any]]:
    """Every endpoint of the workspace."""
    return client.listed("/onlineEndpoints", api=API, resource=client.resource, doing="list the endpoints")


def list_deployments(client: Client, endpoint: str) -> list[dict[str, Any]]:
    """Every deployment of an endpoint."""
    return client.listed(
        f"{_path(endpoint)}/deployments",
        api=DEPLOYMENT_API,
        resource=f"endpoint {endpoint}",
        doing="list the deployments",
    )


def find_deployment(client: Client, endpoint: str, name: str) -> dict[str, Any] | None:
    """A deployment as ARM describes it; None where there is none."""
    path = f"{_path(endpoint)}/deployments/{segment(name)}"
    resource = f"deployment {name} of endpoint {endpoint}"
    return client.find(path, api=DEPLOYMENT_API, resource=resource, doing="look up the deployment")


def wait_until_healthy(client: Client, endpoint: str, name: str, timeout: timedelta) -> None:
    """Wait until a deployment that shows is healthy.

    Raises:
        Failed: It did not become so.
        DeadlineExceeded: It is not in time.
    """
    resource = f"deployment {name} of endpoint {endpoint}"

    def look() -> Look[bool]:
        body = find_deployment(client, endpoint, name)
        if body is None:
            raise NotFound("The deployment is gone", resource=resource, status_code=404)
        if state(body) in ("Failed", "Canceled"):
            raise Failed(None, f"its provisioning state is {state(body)}")
        return Look(state(body), True if state(body) == "Succeeded" else None)

    next_call = f"ws.endpoint({endpoint!r}) looks again"
    wait_for(look, Patience(resource, timeout, client.clock, client.notify, next_call))


def create_endpoint(
    client: Client, *, name: str, auth: Literal["key", "aad_token"], description: str, tags: Mapping[str, str]
) -> Answer:
    """Ask for an endpoint; the answer is given back whatever it is."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    from phi_finetune._azure.entities import endpoint_body

    location = client.facts.location
    with azure_ai_ml_errors(doing="put the endpoint's request together", resource=f"endpoint {name}"):
        entity = ManagedOnlineEndpoint(name=name, auth_mode=auth, description=description, tags=dict(tags))
        body = endpoint_body(entity, location)
    return client.rest.send("PUT", client.url + _path(name), query={"api-version": API}, body=body)


def put_deployment(client: Client, endpoint: str, spec: DeploymentSpec) -> Answer:
    """Ask for a deployment; the answer is given back whatever it is."""
    from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings

    from phi_finetune._azure.entities import deployment_body

    location = client.facts.location
    resource = f"deployment {spec.name} of endpoint {endpoint}"
    with azure_ai_ml_errors(doing="put the deployment's request together", resource=resource):
        entity = ManagedOnlineDeployment(
            name=spec.name,
            endpoint_name=endpoint,
            model=spec.model,
            instance_type=spec.instance_type,
            instance_count=spec.instance_count,
            request_settings=OnlineRequestSettings(
                request_timeout_ms=round(spec.request_timeout.total_seconds() * 1000),
                max_concurrent_requests_per_instance=spec.max_concurrent_requests,
            ),
            liveness_probe=_probe(spec.liveness),
            readiness_probe=_probe(spec.readiness),
            tags=dict(spec.tags),
        )
        body = deployment_body(entity, location)
    url = f"{client.url}{_path(endpoint)}/deployments/{segment(spec.name)}"
    return client.rest.send("PUT", url, query={"api-version": DEPLOYMENT_API}, body=body)


def put_traffic(client: Client, name: str, traffic: Mapping[str, int], timeout: timedelta) -> dict[str, Any]:
    """Set an endpoint's traffic, leaving all else as it is, and give the endpoint once it shows it.

    A PUT replaces the whole endpoint (pain.md P3), so it is read, changed and sent back. The new split may show only
    some reads after its operation is done (pain.md P2).
    """
    resource = f"endpoint {name}"
    wanted = {key: value for key, value in traffic.items() if value}
    next_call = f"ws.endpoint({name!r}) looks again"
    patience = Patience(resource, timeout, client.clock, client.notify, next_call)
    now = wait_for(lambda: Look("there", get_endpoint(client, name)), patience)
    properties = dict(now.get("properties") or {})
    body = {
        "location": now.get("location"),
        "tags": now.get("tags") or {},
        "identity": {"type": (now.get("identity") or {}).get("type", "SystemAssigned")},
        "properties": {
            "authMode": properties.get("authMode"),
            "description": properties.get("description"),
            "properties": properties.get("properties") or {},
            "traffic": wanted,
            "mirrorTraffic": properties.get("mirrorTraffic") or {},
        },
    }

    def moved() -> dict[str, Any] | None:
        seen = find_endpoint(client, name)
        return seen if seen is not None and _split(seen) == wanted else None

    outcome = apply(
        client,
        lambda: client.rest.send("PUT", client.url + _path(name), query={"api-version": API}, body=body),
        moved,
        resource=resource,
        costs=f"{resource} goes on, with the old traffic or the new",
        next_call=next_call,
    )
    if isinstance(outcome, Answer):
        expect(outcome, 200, 201, 202, doing="set the traffic", resource=resource)
        follow(client, outcome, resource=resource, timeout=timeout, next_call=next_call)

    def shown() -> Look[dict[str, Any]]:
        seen = get_endpoint(client, name)
        if _split(seen) != wanted:
            return Look("the old traffic")
        if state(seen) == "Failed":
            raise Failed(None, "the endpoint's provisioning state is Failed")
        return Look(state(seen), None if state(seen) == "Updating" else seen)

    return wait_for(shown, patience)


def _split(body: Mapping[str, Any]) -> dict[str, int]:
    """The shares of an endpoint's traffic that are not 0."""
    split = (body.get("properties") or {}).get("traffic") or {}
    return {key: value for key, value in split.items() if value}


def tag_endpoint(client: Client, name: str, tags: Mapping[str, str], timeout: timedelta) -> dict[str, Any]:
    """Add tags to an endpoint, or change them, and give the endpoint once it shows them; all others stay."""
    resource = f"endpoint {name}"
    next_call = f"ws.endpoint({name!r}) looks again"
    # Whether a PATCH takes the place of all tags is not written anywhere, so all are sent.
    every = {**(get_endpoint(client, name).get("tags") or {}), **tags}
    query = {"api-version": API}
    answer = client.rest.send("PATCH", client.url + _path(name), query=query, body={"tags": every})
    expect(answer, 200, 202, doing="tag the endpoint", resource=resource)
    try:
        follow(client, answer, resource=resource, timeout=timeout, next_call=next_call)
    except Failed as failure:
        costs = f"{resource} goes on, as it was"
        raise failure.as_error("Could not tag the endpoint", resource, costs, next_call) from None

    def shown() -> Look[dict[str, Any]]:
        seen = get_endpoint(client, name)
        has: Mapping[str, Any] = seen.get("tags") or {}
        return Look("the old tags", seen if all(has.get(key) == tags[key] for key in tags) else None)

    return wait_for(shown, Patience(resource, timeout, client.clock, client.notify, next_call))


def keys(client: Client, name: str) -> tuple[str, str]:
    """An endpoint's two keys."""
    answer = client.rest.send("POST", f"{client.url}{_path(name)}/listKeys", query={"api-version": API})
    body = expect(answer, 200, doing="fetch the endpoint's keys", resource=f"endpoint {name}").json()
    return str(body.get("primaryKey")), str(body.get("secondaryKey"))


def logs(client: Client, endpoint: str, deployment: str, *, lines: int, container: str | None = None) -> str:
    """The last lines that a deployment's container wrote."""
    url = f"{client.url}{_path(endpoint)}/deployments/{segment(deployment)}/getLogs"
    body: dict[str, object] = {"tail": lines}
    if container is not None:
        body["containerType"] = container
    answer = client.rest.send("POST", url, query={"api-version": DEPLOYMENT_API}, body=body)
    resource = f"deployment {deployment} of endpoint {endpoint}"
    return str(
        expect(answer, 200, doing="read the container's log", resource=resource).json().get("content") or ""
    )


def delete_endpoint(client: Client, name: str, timeout: timedelta) -> bool:
    """Delete an endpoint with its deployments, and see it gone; False where it was not there."""
    next_call = f"ws.endpoint({name!r}).delete() again: it costs money until it is gone"
    return _delete(client, _path(name), API, f"endpoint {name}", next_call, timeout)


def delete_deployment(client: Client, endpoint: str, name: str, timeout: timedelta) -> bool:
    """Delete a deployment, and see it gone; False where it was not there."""
    path = f"{_path(endpoint)}/deployments/{segment(name)}"
    resource = f"deployment {name} of endpoint {endpoint}"
    call = f"ws.endpoint({endpoint!r}).delete_deployment({name!r})"
    next_call = f"{call} again: it costs money until it is gone"
    return _delete(client, path, DEPLOYMENT_API, resource, next_call, timeout)


def wait_endpoint_gone(client: Client, name: str, timeout: timedelta) -> None:
    """Wait until an endpoint that is being deleted is gone.

    Raises:
        DeadlineExceeded: It is still there.
    """
    next_call = f"ws.endpoint({name!r}).delete()"
    wait_gone(client, _path(name), api=API, resource=f"endpoint {name}", timeout=timeout, next_call=next_call)


def _delete(client: Client, path: str, api: str, resource: str, next_call: str, timeout: timedelta) -> bool:
    return delete(
        client,
        path,
        query={"api-version": api},
        resource=resource,
        costs=f"{resource} may still be there, and bill",
        next_call=next_call,
        timeout=timeout,
    )


def _path(name: str) -> str:
    return f"/onlineEndpoints/{segment(name)}"


def _probe(probe: Probe) -> ProbeSettings:
    from azure.ai.ml.entities import ProbeSettings

    return ProbeSettings(
        initial_delay=_seconds(probe.initial_delay),
        period=_seconds(probe.period),
        timeout=_seconds(probe.timeout),
        success_threshold=probe.success_threshold,
        failure_threshold=probe.failure_threshold,
    )


def _seconds(time: timedelta) -> int:
    return round(time.total_seconds())
