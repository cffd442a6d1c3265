"""Parse and answer the calls about clusters (service.md gives the shapes)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.computes.cluster import ClusterSpec, Compute, Priority
from phi_finetune.emulator.computes.durations import format_duration, parse_duration
from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.operations import poll_again
from phi_finetune.emulator.core.paging import page

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["delete", "get", "list_clusters", "list_nodes", "put"]

_IDLE = timedelta(seconds=120)
_MAX_NODES = 4
"""What the client sends where its user says nothing (pain.md, "Compute, jobs, runs")."""


def list_clusters(cloud: Cloud, request: Request) -> Response:
    """All clusters of the workspace."""
    return page(request, [_body(cloud, compute) for compute in cloud.computes.all()])


def get(cloud: Cloud, request: Request) -> Response:
    """One cluster; whoever waits for it by reading it sees it get on."""
    name = request.params["compute"]
    under_way = cloud.computes.find(name).operation.watch() == "InProgress"
    # Found anew, since a deletion may just have ended.
    compute = cloud.computes.find(name)
    return json_answer(200, _body(cloud, compute), poll_again(cloud.clock) if under_way else None)


def list_nodes(cloud: Cloud, request: Request) -> Response:
    """The nodes of a cluster that are up, with the run of each that is at work (shape: azure-ai-ml 1.35.2)."""
    compute = cloud.computes.find(request.params["compute"])
    up = compute.nodes
    at_work = [
        step.id
        for step in cloud.jobs.steps_on(compute.name)
        if step.ended is None
        for _ in range(step.slot.nodes)
    ]
    runs = [*at_work[: up.running], *[None] * up.idle]
    nodes = [_node(compute, number, run) for number, run in enumerate(runs)]
    return json_answer(200, {"nodes": nodes, "nextLink": None})


def put(cloud: Cloud, request: Request) -> Response:
    """Make or change a cluster: 201 or 200, and an operation to poll."""
    compute, new = cloud.computes.put(request.params["compute"], _spec(request.json()))
    headers = cloud.operations.headers(compute.operation)
    return json_answer(201 if new else 200, _body(cloud, compute), headers)


def delete(cloud: Cloud, request: Request) -> Response:
    """Delete a cluster: 202 and an operation to poll; 204 where there is none (ARM's rule for DELETE)."""
    operation = cloud.computes.delete(request.params["compute"])
    if operation is None:
        return empty(204)
    return empty(202, cloud.operations.headers(operation))


def _spec(body: dict[str, Any]) -> ClusterSpec:
    compute = body.get("properties") or {}
    kind = str(compute.get("computeType"))
    if kind.lower() != "amlcompute":
        raise ServiceError(501, "NotImplemented", f"The emulator makes clusters (AmlCompute), not {kind}.")
    properties = compute.get("properties") or {}
    scale = properties.get("scaleSettings") or {}
    idle = scale.get("nodeIdleTimeBeforeScaleDown")
    return ClusterSpec(
        vm_size=str(properties.get("vmSize")),
        priority=_priority(str(properties.get("vmPriority") or "Dedicated")),
        min_nodes=_count(scale.get("minNodeCount"), 0),
        max_nodes=_count(scale.get("maxNodeCount"), _MAX_NODES),
        idle=parse_duration(str(idle)) if idle else _IDLE,
        description=compute.get("description"),
        tags=body.get("tags") or {},
        remote_login=str(properties.get("remoteLoginPortPublicAccess") or "NotSpecified"),
        public_ip=properties.get("enableNodePublicIp") is not False,
        local_auth=compute.get("disableLocalAuth") is False,
        subnet=(properties.get("subnet") or {}).get("id"),
        identity=body.get("identity"),
        user_account=_user_account(properties),
    )


def _user_account(properties: dict[str, Any]) -> dict[str, Any] | None:
    # That a password is not given back is assumed.
    account = properties.get("userAccountCredentials") or {}
    return {key: value for key, value in account.items() if key != "adminUserPassword"} or None


def _count(value: object, default: int) -> int:
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise ServiceError(
            400, "InvalidPropertyValue", f"The specified node count {value} is not a whole number."
        )
    return value


def _priority(text: str) -> Priority:
    # wire.md 4: the client writes Lowpriority.
    known: dict[str, Priority] = {"dedicated": "Dedicated", "lowpriority": "LowPriority"}
    if text.lower() not in known:
        raise ServiceError(
            400,
            "InvalidPropertyValue",
            f"The specified value {text} for property Cluster.Properties.VMPriority is not supported.",
        )
    return known[text.lower()]


def _body(cloud: Cloud, compute: Compute) -> dict[str, Any]:
    spec = compute.spec
    return {
        "id": cloud.arm_id("computes", compute.name),
        "name": compute.name,
        "type": "Microsoft.MachineLearningServices/workspaces/computes",
        "location": cloud.settings.region,
        "tags": dict(spec.tags),
        **_identity(cloud, compute),
        "properties": {
            "createdOn": timestamp(compute.created),
            "modifiedOn": timestamp(compute.modified),
            "disableLocalAuth": not spec.local_auth,
            "description": spec.description,
            "resourceId": None,
            "computeType": "AmlCompute",
            "computeLocation": cloud.settings.region,
            "provisioningState": compute.provisioning_state,
            "provisioningErrors": _errors(compute),
            "provisioningWarnings": {},
            "isAttachedCompute": False,
            "properties": _cluster(compute),
        },
    }


def _identity(cloud: Cloud, compute: Compute) -> dict[str, Any]:
    identity = compute.spec.identity
    if identity is None:
        return {}
    if "systemassigned" not in str(identity.get("type")).lower():
        return {"identity": dict(identity)}
    # Azure makes the principal of an identity of the system; this one is the subscription's only user.
    principal = {"principalId": cloud.identity.object_id, "tenantId": cloud.tenant_id}
    return {"identity": {**identity, **principal}}


def _node(compute: Compute, number: int, run: str | None) -> dict[str, Any]:
    # Addresses and ports are made up; how Azure numbers its nodes is not known.
    return {
        "nodeId": f"tvmps_{compute.name}_{number}",
        "privateIpAddress": f"10.0.0.{4 + number}",
        "publicIpAddress": None,
        "port": 50000 + number,
        "nodeState": "running" if run else "idle",
        "runId": run,
    }


def _errors(compute: Compute) -> list[dict[str, Any]] | None:
    error = compute.operation.error
    return [{"error": {"code": error.code, "message": error.message}}] if error else None


def _cluster(compute: Compute) -> dict[str, Any]:
    spec = compute.spec
    return {
        "vmSize": compute.vm_size,
        "vmPriority": spec.priority,
        "scaleSettings": {
            "maxNodeCount": spec.max_nodes,
            "minNodeCount": spec.min_nodes,
            "nodeIdleTimeBeforeScaleDown": format_duration(spec.idle),
        },
        **({"userAccountCredentials": dict(spec.user_account)} if spec.user_account else {}),
        "subnet": {"id": spec.subnet} if spec.subnet else None,
        **_allocation(compute),
        "errors": None,
        "remoteLoginPortPublicAccess": spec.remote_login,
        "osType": "Linux",
        "virtualMachineImage": None,
        "isolatedNetwork": False,
        "enableNodePublicIp": spec.public_ip,
        "enableBatchPrivateLink": False,
        "propertyBag": {},
    }


def _allocation(compute: Compute) -> dict[str, Any]:
    if compute.provisioning_state == "Creating":
        counts = ("currentNodeCount", "targetNodeCount", "nodeStateCounts", "allocationState")
        return dict.fromkeys(counts)
    nodes = compute.nodes
    return {
        "currentNodeCount": nodes.current,
        "targetNodeCount": nodes.current,
        "nodeStateCounts": {
            "preparingNodeCount": 0,
            "runningNodeCount": nodes.running,
            "idleNodeCount": nodes.idle,
            "unusableNodeCount": 0,
            "leavingNodeCount": 0,
            "preemptedNodeCount": 0,
        },
        "allocationState": "Steady",
        "allocationStateTransitionTime": timestamp(compute.modified),
    }
