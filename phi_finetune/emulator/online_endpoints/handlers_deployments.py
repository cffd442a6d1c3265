"""Parse and answer the calls about deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.online_endpoints.bodies import deployment_body, deployment_spec
from phi_finetune.emulator.online_endpoints.containers import Container
from phi_finetune.emulator.online_endpoints.deployment import Deployment
from phi_finetune.emulator.online_endpoints.deployments import Deployments
from phi_finetune.emulator.online_endpoints.following import follow

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["delete", "get", "get_logs", "list_all", "patch", "put"]

_TAIL = 500
"""The default number of lines, as the REST reference has none."""


def get(cloud: Cloud, request: Request) -> Response:
    """A deployment."""
    return json_answer(200, deployment_body(_found(cloud, request)))


def list_all(cloud: Cloud, request: Request) -> Response:
    """All deployments of an endpoint."""
    endpoint = cloud.endpoints.find(request.params["endpoint"])
    return page(request, [deployment_body(deployment) for deployment in endpoint.deployments.values()])


def put(cloud: Cloud, request: Request) -> Response:
    """Make or change a deployment: 201 or 200, with both headers (service.md)."""
    deployment, new = _deployments(cloud, request).put(
        request.params["deployment"], deployment_spec(request.json())
    )
    return json_answer(201 if new else 200, deployment_body(deployment), follow(cloud, deployment.operation))


def patch(cloud: Cloud, request: Request) -> Response:
    """Change the tags or the number of instances (REST reference of 2023-10-01)."""
    body = request.json()
    deployment = _deployments(cloud, request).patch(
        request.params["deployment"], tags=body.get("tags"), instances=(body.get("sku") or {}).get("capacity")
    )
    return json_answer(200, deployment_body(deployment), follow(cloud, deployment.operation))


def delete(cloud: Cloud, request: Request) -> Response:
    """Delete a deployment: 202 with both headers, 204 where there is none (wire.md 9)."""
    operation = _deployments(cloud, request).delete(request.params["deployment"])
    return empty(202, follow(cloud, operation)) if operation else empty(204)


def get_logs(cloud: Cloud, request: Request) -> Response:
    """The last lines of a container's log."""
    wanted = request.json()
    initializer = str(wanted.get("containerType")).lower() == "storageinitializer"
    container: Container = "StorageInitializer" if initializer else "InferenceServer"
    content = _found(cloud, request).log(container, int(wanted.get("tail") or _TAIL))
    return json_answer(200, {"content": content})


def _deployments(cloud: Cloud, request: Request) -> Deployments:
    return cloud.endpoints.deployments_of(request.params["endpoint"])


def _found(cloud: Cloud, request: Request) -> Deployment:
    return _deployments(cloud, request).find(request.params["deployment"])
