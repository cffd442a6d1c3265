"""Parse and answer the calls about models and data assets (service.md gives the shapes)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.listing import View, newest_first
from phi_finetune.emulator.assets.versions import AssetSpec, AssetVersion, Kind, next_version
from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.paging import page

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = [
    "get_container",
    "get_version",
    "list_containers",
    "list_versions",
    "put_container",
    "put_version",
]

_TYPE = "Microsoft.MachineLearningServices/workspaces"
_AUTHOR = "phi@example.com"
_DEFAULT_TYPE: dict[Kind, str] = {"models": "custom_model", "data": "uri_folder"}


def list_containers(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """The names of a kind, each with its latest version."""
    view, versions = View.of(request), cloud.assets.kinds[kind]
    containers = [_container(cloud, kind, versions.of(name)) for name in versions.names]
    return page(request, [one for one in containers if view.shows(one["properties"]["isArchived"])])


def get_container(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """One name, with its latest and next version."""
    return json_answer(200, _container(cloud, kind, _versions(kind, cloud, request)))


def put_container(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """Archive all versions of a name, or restore them (Azure's page on creating data assets)."""
    versions = _versions(kind, cloud, request)
    properties = request.json().get("properties") or {}
    name, archived = versions[0].name, properties.get("isArchived") is True
    cloud.assets.kinds[kind].archive(name, archived, cloud.clock.now())
    return json_answer(200, _container(cloud, kind, cloud.assets.kinds[kind].of(name)))


def list_versions(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """The versions of a name, the newest first; 404 for an unknown name (service.md)."""
    view = View.of(request)
    shown = [one for one in _versions(kind, cloud, request) if view.shows(one.spec.archived)]
    return page(request, [_version(cloud, kind, one) for one in newest_first(request, shown)])


def get_version(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """One version, archived or not."""
    found = cloud.assets.get(kind, request.params["name"], request.params["version"])
    return json_answer(200, _version(cloud, kind, found))


def put_version(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """Make a version (201), or change its description, tags or archive flag (200)."""
    spec = _spec(kind, request.json().get("properties") or {})
    version, new = cloud.assets.put(kind, request.params["name"], request.params["version"], spec)
    return json_answer(201 if new else 200, _version(cloud, kind, version))


def _versions(kind: Kind, cloud: Cloud, request: Request) -> Sequence[AssetVersion]:
    name = request.params["name"]
    versions = cloud.assets.kinds[kind].of(name)
    if not versions:
        raise cloud.assets.absent(kind, name)
    return versions


def _spec(kind: Kind, properties: dict[str, Any]) -> AssetSpec:
    uri, type_of = _keys(kind)
    if not properties.get(uri):
        raise ServiceError(
            400,
            "UserError",
            "Request is invalid and/or missing fields.",
            details=[("RequestInvalid", f"{uri} is required.")],
        )
    return AssetSpec(
        uri=str(properties[uri]),
        type=str(properties.get(type_of) or _DEFAULT_TYPE[kind]),
        description=properties.get("description"),
        tags=properties.get("tags") or {},
        properties=properties.get("properties") or {},
        archived=properties.get("isArchived") is True,
        anonymous=properties.get("isAnonymous") is True,
        job_name=properties.get("jobName"),
        flavors=properties.get("flavors") or {},
    )


def _keys(kind: Kind) -> tuple[str, str]:
    return ("modelUri", "modelType") if kind == "models" else ("dataUri", "dataType")


def _version(cloud: Cloud, kind: Kind, one: AssetVersion) -> dict[str, Any]:
    uri, type_of = _keys(kind)
    spec = one.spec
    return {
        "id": cloud.arm_id(kind, one.name, "versions", one.version),
        "name": one.version,
        "type": f"{_TYPE}/{kind}/versions",
        "properties": {
            "description": spec.description,
            "tags": dict(spec.tags),
            "properties": dict(spec.properties),
            "isArchived": spec.archived,
            "isAnonymous": spec.anonymous,
            "autoDeleteSetting": None,
            uri: spec.uri,
            type_of: spec.type,
            "stage": None,
            "intellectualProperty": None,
            **_only_models(kind, spec),
        },
        "systemData": _system_data(one),
    }


def _only_models(kind: Kind, spec: AssetSpec) -> dict[str, Any]:
    # wire.md 8: the client fails without flavors.
    return {"flavors": dict(spec.flavors), "jobName": spec.job_name} if kind == "models" else {}


def _system_data(one: AssetVersion) -> dict[str, str]:
    when = timestamp(one.modified or one.created)
    data = {
        "createdAt": timestamp(one.created),
        "createdBy": _AUTHOR,
        "createdByType": "User",
        "lastModifiedAt": when,
    }
    # service.md: who changed it is there only once somebody has.
    return data if one.modified is None else {**data, "lastModifiedBy": _AUTHOR, "lastModifiedByType": "User"}


def _container(cloud: Cloud, kind: Kind, versions: Sequence[AssetVersion]) -> dict[str, Any]:
    active = [one for one in versions if not one.spec.archived]
    # service.md: the latest version is the one made last, not the highest.
    latest = (active or versions)[-1]
    type_of = {"dataType": latest.type} if kind == "data" else {}
    return {
        "id": cloud.arm_id(kind, latest.name),
        "name": latest.name,
        "type": f"{_TYPE}/{kind}",
        "properties": {
            "description": None,
            "tags": None,
            "properties": None,
            "isArchived": not active,
            "latestVersion": latest.version,
            "nextVersion": next_version(versions),
            **type_of,
        },
        "systemData": _system_data(versions[0]),
    }
