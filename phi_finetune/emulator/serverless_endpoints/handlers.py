"""Parse and answer the calls about serverless endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.online_endpoints.following import follow
from phi_finetune.emulator.serverless_endpoints.bodies import endpoint_body, endpoint_spec
from phi_finetune.emulator.serverless_endpoints.endpoint import ServerlessEndpoint

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["delete", "get", "list_all", "list_keys", "patch", "put", "regenerate_keys"]


def get(cloud: Cloud, request: Request) -> Response:
    """A serverless endpoint."""
    return json_answer(200, endpoint_body(_found(cloud, request)))


def list_all(cloud: Cloud, request: Request) -> Response:
    """All serverless endpoints."""
    return page(request, [endpoint_body(one) for one in cloud.serverless_endpoints.all()])


def put(cloud: Cloud, request: Request) -> Response:
    """Make or change a serverless endpoint: 201 or 200, with both headers (assumed: as for online endpoints)."""
    endpoint, new = cloud.serverless_endpoints.put(
        request.params["serverless"], endpoint_spec(request.json())
    )
    return json_answer(201 if new else 200, endpoint_body(endpoint), follow(cloud, endpoint.operation))


def patch(cloud: Cloud, request: Request) -> Response:
    """Change the tags of a serverless endpoint (REST reference of 2024-10-01)."""
    tags = request.json().get("tags") or {}
    return json_answer(
        200, endpoint_body(cloud.serverless_endpoints.retag(request.params["serverless"], tags))
    )


def delete(cloud: Cloud, request: Request) -> Response:
    """Delete a serverless endpoint: 202 with both headers, 204 where there is none (azure-ai-ml 1.35.2)."""
    operation = cloud.serverless_endpoints.delete(request.params["serverless"])
    return empty(202, follow(cloud, operation)) if operation else empty(204)


def list_keys(cloud: Cloud, request: Request) -> Response:
    """The two keys."""
    return json_answer(200, _keys_body(cloud.serverless_endpoints.keys.of(_found(cloud, request))))


def regenerate_keys(cloud: Cloud, request: Request) -> Response:
    """Replace a key, at once, and show both (REST reference of 2024-10-01)."""
    wanted = request.json()
    keys = cloud.serverless_endpoints.keys.regenerate(
        _found(cloud, request), str(wanted.get("keyType")), wanted.get("keyValue")
    )
    return json_answer(200, _keys_body(keys))


def _found(cloud: Cloud, request: Request) -> ServerlessEndpoint:
    return cloud.serverless_endpoints.find(request.params["serverless"])


def _keys_body(keys: Mapping[str, str]) -> dict[str, str]:
    return {"primaryKey": keys["Primary"], "secondaryKey": keys["Secondary"]}
