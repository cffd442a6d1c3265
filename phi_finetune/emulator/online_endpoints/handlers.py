"""Parse and answer the calls about endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.online_endpoints.bodies import endpoint_body, endpoint_spec
from phi_finetune.emulator.online_endpoints.endpoint import KeyKind
from phi_finetune.emulator.online_endpoints.following import follow

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["delete", "get", "list_all", "list_keys", "patch", "put", "regenerate_keys", "token"]


def get(cloud: Cloud, request: Request) -> Response:
    """An endpoint."""
    endpoint = cloud.endpoints.find(request.params["endpoint"])
    return json_answer(200, endpoint_body(endpoint, endpoint.read_traffic()))


def list_all(cloud: Cloud, request: Request) -> Response:
    """All endpoints."""
    return page(request, [endpoint_body(one, one.read_traffic()) for one in cloud.endpoints.all()])


def put(cloud: Cloud, request: Request) -> Response:
    """Make or change an endpoint: 201 or 200, with both headers (service.md)."""
    endpoint, new = cloud.endpoints.put(request.params["endpoint"], endpoint_spec(request.json()))
    return json_answer(201 if new else 200, endpoint_body(endpoint), follow(cloud, endpoint.operation))


def patch(cloud: Cloud, request: Request) -> Response:
    """Change the tags; nothing else of an endpoint can be patched (REST reference of 2023-10-01)."""
    endpoint = cloud.endpoints.retag(request.params["endpoint"], request.json().get("tags") or {})
    return json_answer(200, endpoint_body(endpoint))


def delete(cloud: Cloud, request: Request) -> Response:
    """Delete an endpoint: 202 with both headers, 204 where there is none (wire.md 9)."""
    operation = cloud.endpoints.delete(request.params["endpoint"])
    return empty(202, follow(cloud, operation)) if operation else empty(204)


def list_keys(cloud: Cloud, request: Request) -> Response:
    """The two keys."""
    keys = cloud.endpoints.keys.of(cloud.endpoints.find(request.params["endpoint"]))
    return json_answer(200, {"primaryKey": keys["Primary"], "secondaryKey": keys["Secondary"]})


def regenerate_keys(cloud: Cloud, request: Request) -> Response:
    """Replace a key; done at once."""
    wanted = request.json()
    kind: KeyKind = "Secondary" if str(wanted.get("keyType")).lower() == "secondary" else "Primary"
    cloud.endpoints.keys.regenerate(
        cloud.endpoints.find(request.params["endpoint"]), kind, wanted.get("keyValue")
    )
    return empty(200)


def token(cloud: Cloud, request: Request) -> Response:
    """A token of the endpoint's own."""
    given = cloud.endpoints.keys.token(cloud.endpoints.find(request.params["endpoint"]))
    return json_answer(
        200,
        {
            "accessToken": given.value,
            "expiryTimeUtc": int(given.expires.timestamp()),
            "refreshAfterTimeUtc": int(given.refresh_after.timestamp()),
            "tokenType": "Bearer",
        },
    )
