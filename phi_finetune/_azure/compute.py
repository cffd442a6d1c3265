"""Clusters, machine sizes and quota."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from phi_finetune._azure.client import PROVIDER, Client
from phi_finetune._azure.entities import cluster_body
from phi_finetune._azure.operations import Failed, apply, delete, follow, state, wait_gone
from phi_finetune._azure.paths import required, segment
from phi_finetune._azure.rest import Answer
from phi_finetune._azure.translate import azure_ai_ml_errors, error_parts, expect, refuse, speaks_of_quota
from phi_finetune._waiting import Look, Patience, wait_for
from phi_finetune.errors import ComputeFailed, DeadlineExceeded, QuotaExceeded

__all__ = [
    "change_cluster",
    "create_cluster",
    "delete_cluster",
    "family_usage",
    "find_cluster",
    "get_cluster",
    "list_clusters",
    "vm_sizes",
    "wait_cluster_gone",
]

API = "2023-08-01-preview"

_READ_ONLY = (
    "createdOn",
    "isAttachedCompute",
    "modifiedOn",
    "provisioningErrors",
    "provisioningState",
    "provisioningWarnings",
)
_READ_ONLY_OF_NODES = (
    "allocationState",
    "allocationStateTransitionTime",
    "currentNodeCount",
    "errors",
    "nodeStateCounts",
    "targetNodeCount",
)
_READ_ONLY_OF_IDENTITY = ("principalId", "tenantId")
"""What only the service writes (azure-ai-ml 1.35.2, ``arm_ml_service``); all else is sent back as it was read."""


def find_cluster(client: Client, name: str) -> dict[str, Any] | None:
    """A cluster as ARM describes it; None where there is none."""
    return client.find(_path(name), api=API, resource=f"cluster {name}", doing="look up the cluster")


def get_cluster(client: Client, name: str) -> dict[str, Any]:
    """A cluster as ARM describes it.

    Raises:
        NotFound: There is none.
    """
    return client.get(
        _path(name),
        api=API,
        resource=f"cluster {name}",
        doing="look up the cluster",
        next_call=f'ws.gpu_compute("{name}", size=...).ensure() creates it',
    )


def list_clusters(client: Client) -> list[dict[str, Any]]:
    """Every compute of the workspace."""
    return client.listed("/computes", api=API, resource=client.resource, doing="list the computes")


def vm_sizes(client: Client) -> list[dict[str, Any]]:
    """The machine sizes of the workspace's region, asked once."""
    sizes: list[dict[str, Any]] = client.remember("vmSizes", lambda: _list_sizes(client))
    return sizes


def family_usage(client: Client, family: str, *, low_priority: bool) -> tuple[int, int] | None:
    """Cores in use and the limit for a family (or for low priority); None where the region does not list it."""
    url = f"{_location_url(client)}/usages"
    wanted = "TotalLowPriorityCores" if low_priority else family
    for page in client.rest.pages(url, query={"api-version": API}):
        answer = expect(page, 200, doing="read the quota", resource=client.resource)
        for item in answer.json().get("value", ()):
            # A family has two rows of one name, told apart by their type alone.
            low = "lowpriority" in str(item.get("type", "")).lower()
            if low == low_priority and _same(str((item.get("name") or {}).get("value", "")), wanted):
                return int(item["currentValue"]), int(item["limit"])
    return None


def create_cluster(
    client: Client,
    *,
    name: str,
    size: str,
    min_nodes: int,
    max_nodes: int,
    idle_time: timedelta,
    low_priority: bool,
    tags: dict[str, str],
    timeout: timedelta,
) -> dict[str, Any]:
    """Create a cluster, and wait until it can take jobs.

    Raises:
        QuotaExceeded: The service refused it for quota, at once or later.
        ComputeFailed: It was accepted and could not be provisioned.
    """
    from azure.ai.ml.entities import AmlCompute

    resource = f"cluster {name}"
    location = client.facts.location
    with azure_ai_ml_errors(doing="put the cluster's request together", resource=resource):
        cluster = AmlCompute(
            name=name,
            size=size,
            min_instances=min_nodes,
            max_instances=max_nodes,
            idle_time_before_scale_down=round(idle_time.total_seconds()),
            tier="low_priority" if low_priority else "dedicated",
            location=location,
            tags=tags,
        )
        body = cluster_body(cluster)
    return _put(client, name, body, timeout, doing="create the cluster")


def change_cluster(
    client: Client,
    cluster: Mapping[str, Any],
    *,
    timeout: timedelta,
    doing: str,
    scale: Mapping[str, object] = {},
    tags: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Change a cluster's scale or tags, leaving all else of it as it is, and wait until it can take jobs.

    A PUT replaces the whole cluster, with its subnet, identity, ssh user and everybody's tags; so what was read is
    changed and sent back.

    Args:
        client: The handle.
        cluster: The cluster, as it was just read.
        timeout: How long to wait for it.
        doing: What that is, for errors.
        scale: What of its ``scaleSettings`` changes.
        tags: The tags that are added or changed.

    Raises:
        QuotaExceeded: The service refused it for quota, at once or later.
        ComputeFailed: It was accepted and could not be done.
    """
    body = _writable(cluster)
    settings = body["properties"]["properties"]
    settings["scaleSettings"] = {**(settings.get("scaleSettings") or {}), **scale}
    body["tags"] = {**(body.get("tags") or {}), **tags}
    return _put(client, str(required(cluster, "name", "cluster")), body, timeout, doing=doing)


def _writable(body: Mapping[str, Any]) -> dict[str, Any]:
    compute: Mapping[str, Any] = body.get("properties") or {}
    outer = {key: value for key, value in compute.items() if key not in _READ_ONLY}
    inner = (compute.get("properties") or {}).items()
    outer["properties"] = {key: value for key, value in inner if key not in _READ_ONLY_OF_NODES}
    kept = {key: body[key] for key in ("location", "tags", "sku") if body.get(key) is not None}
    identity = (body.get("identity") or {}).items()
    sent = {key: value for key, value in identity if key not in _READ_ONLY_OF_IDENTITY}
    return {**kept, **({"identity": sent} if sent else {}), "properties": outer}


def _put(
    client: Client, name: str, body: Mapping[str, Any], timeout: timedelta, *, doing: str
) -> dict[str, Any]:
    resource = f"cluster {name}"
    next_call = f'look again: ws.gpu_compute("{name}").refresh()'
    costs = f"{resource} may be there, and bill for the nodes that it keeps"
    wanted = _scale(body)

    def made() -> dict[str, Any] | None:
        seen = find_cluster(client, name)
        return seen if seen is not None and _scale(seen) == wanted and _has_tags(seen, body) else None

    outcome = apply(
        client,
        lambda: client.rest.send("PUT", client.url + _path(name), query={"api-version": API}, body=body),
        made,
        resource=resource,
        costs=costs,
        next_call=next_call,
    )
    if isinstance(outcome, Answer) and outcome.status not in (200, 201):
        _refuse_cluster(outcome, resource, doing)
    try:
        if isinstance(outcome, Answer):
            follow(client, outcome, resource=resource, timeout=timeout, next_call=next_call)
        return _ready(client, name, timeout, next_call)
    except Failed as failure:
        raise _failed(resource, failure.code, failure.message) from None
    except DeadlineExceeded as error:
        error.costs = costs
        raise


def _has_tags(seen: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    return dict(body.get("tags") or {}).items() <= dict(seen.get("tags") or {}).items()


def _scale(body: Mapping[str, Any]) -> tuple[object, ...]:
    """What tells that a cluster is as it was asked for: its size, and how far it shrinks and grows."""
    inner = (body.get("properties") or {}).get("properties") or {}
    scale = inner.get("scaleSettings") or {}
    return str(inner.get("vmSize")).lower(), scale.get("minNodeCount"), scale.get("maxNodeCount")


def delete_cluster(client: Client, name: str, timeout: timedelta) -> bool:
    """Delete a cluster and see it gone; False where it was not there."""
    resource = f"cluster {name}"
    return delete(
        client,
        _path(name),
        query={"api-version": API, "underlyingResourceAction": "Delete"},
        resource=resource,
        costs=f"{resource} may still be there, and bill for the nodes that it keeps",
        next_call=f'ws.gpu_compute("{name}").delete()',
        timeout=timeout,
    )


def wait_cluster_gone(client: Client, name: str, timeout: timedelta) -> None:
    """Wait until a cluster that is being deleted is gone.

    Raises:
        DeadlineExceeded: It is still there.
    """
    next_call = f'ws.gpu_compute("{name}").delete()'
    wait_gone(client, _path(name), api=API, resource=f"cluster {name}", timeout=timeout, next_call=next_call)


def _ready(client: Client, name: str, timeout: timedelta, next_call: str) -> dict[str, Any]:
    """The cluster once it is made, and shows, which may be a little after its operation is done."""
    resource = f"cluster {name}"

    def look() -> Look[dict[str, Any]]:
        seen = get_cluster(client, name)
        return Look(state(seen), None if state(seen) in ("Creating", "Updating") else seen)

    body = wait_for(look, Patience(resource, timeout, client.clock, client.notify, next_call))
    properties = body.get("properties") or {}
    # A PUT may succeed and leave a failed cluster behind without any error (pain.md I2; wire.md 4, failure c).
    if properties.get("provisioningState") == "Failed":
        errors = properties.get("provisioningErrors") or []
        inner = (errors[0].get("error") or {}) if errors else {}
        raise _failed(resource, inner.get("code"), inner.get("message") or "the service gives no reason")
    return body


def _refuse_cluster(answer: Answer, resource: str, doing: str) -> None:
    code, message = error_parts(answer.body)
    if answer.status == 400 and speaks_of_quota(code, message):
        raise _failed(resource, code, message)
    refuse(answer, doing=doing, resource=resource)


def _failed(resource: str, code: str | None, message: str) -> ComputeFailed | QuotaExceeded:
    kind = QuotaExceeded if speaks_of_quota(code, message) else ComputeFailed
    return kind(
        f"Could not make {resource}",
        resource=resource,
        why=f"{code}: {message}" if code else message,
        costs="nothing: it has no nodes",
        next_call="ask for quota at https://aka.ms/azuremlquota, or take another size, fewer nodes or low_priority=True"
        if kind is QuotaExceeded
        else "delete it, then ensure() again",
        code=code,
    )


def _list_sizes(client: Client) -> list[dict[str, Any]]:
    answer = client.rest.send("GET", f"{_location_url(client)}/vmSizes", query={"api-version": API})
    body = expect(answer, 200, doing="list the machine sizes", resource=client.resource).json()
    return list(body.get("value") or body.get("aMLCompute") or ())


def _location_url(client: Client) -> str:
    subscription = f"{client.cloud.arm}/subscriptions/{client.subscription_id}"
    return f"{subscription}{PROVIDER}/locations/{client.facts.location}"


def _same(one: str, other: str) -> bool:
    return one.replace(" ", "").lower() == other.replace(" ", "").lower()


def _path(name: str) -> str:
    return f"/computes/{segment(name)}"
