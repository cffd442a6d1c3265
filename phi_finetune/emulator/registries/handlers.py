"""Parse and answer the calls about registries: their discovery, and their assets and versions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.listing import View, newest_first
from phi_finetune.emulator.catalogue import CatalogueComponent, CatalogueModel
from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.registries.state import Kind, Published

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["discover", "get_container", "get_version", "list_containers", "list_versions"]

_GROUP = "registries"


def discover(cloud: Cloud, request: Request) -> Response:
    """Where a registry's assets are served (wire.md 3)."""
    registry = request.params["registry"]
    cloud.registries.check(registry)
    region = cloud.settings.region
    answer = {
        "registryName": registry,
        "tenantId": cloud.tenant_id,
        "primaryRegion": region,
        "regions": [region],
        "subscriptionId": cloud.registries.subscription_id,
        "resourceGroup": _GROUP,
        "primaryRegionResourceProviderUri": f"https://cert-{region}.experiments.azureml.net/",
    }
    return json_answer(200, answer)


def list_containers(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """The names of a registry, each with its latest version."""
    published = cloud.registries.published(request.params["registry"], kind)
    by_name = groupby(sorted(published, key=lambda one: one.name), key=lambda one: one.name)
    view = View.of(request)
    containers = [_container(list(versions)) for _, versions in by_name]
    return page(request, [one for one in containers if view.shows(one["properties"]["isArchived"])])


def get_container(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """One name, with its latest version; 404 where it has none."""
    return json_answer(
        200, _container(cloud.registries.versions(request.params["registry"], kind, request.params["name"]))
    )


def list_versions(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """The versions of a name: active ones, the newest first, unless asked otherwise (wire.md 3)."""
    published = cloud.registries.published(request.params["registry"], kind, request.params["name"])
    view = View.of(request)
    shown = [one for one in published if view.shows(one.archived)]
    return page(request, [_version(one) for one in newest_first(request, shown)])


def get_version(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """One version, archived or not."""
    params = request.params
    return json_answer(
        200, _version(cloud.registries.get(params["registry"], kind, params["name"], params["version"]))
    )


def _container(versions: Sequence[Published]) -> dict[str, Any]:
    active = [one for one in versions if not one.archived]
    latest = (active or versions)[-1]
    return {
        "id": f"azureml://registries/{latest.registry}/{latest.kind}/{latest.name}",
        "name": latest.name,
        "type": latest.kind,
        "properties": {
            "description": None,
            "tags": {},
            "properties": {},
            "isArchived": not active,
            "latestVersion": latest.version,
            "nextVersion": _next(versions),
        },
        "systemData": _system_data(versions[0]),
    }


def _next(versions: Sequence[Published]) -> str:
    numbers = [int(one.version) for one in versions if one.version.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _version(one: Published) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.version,
        "type": one.kind,
        "properties": {
            "description": None,
            "isArchived": one.archived,
            "isAnonymous": False,
            **_content(one),
        },
        "systemData": _system_data(one),
    }


def _content(one: Published) -> dict[str, Any]:
    content = one.content
    if isinstance(content, CatalogueComponent):
        return {"tags": {}, "properties": {}, "componentSpec": content.spec}
    return {
        "tags": content.tags,
        "properties": content.properties,
        "modelType": content.model_type,
        "modelUri": one.id,
        # wire.md 3: the client fails without it.
        "flavors": {},
        **_metadata(content),
    }


def _metadata(model: CatalogueModel) -> dict[str, Any]:
    # A model that was published before there was such metadata has no key for it.
    return {"system_metadata": model.system_metadata} if model.system_metadata else {}


def _system_data(one: Published) -> dict[str, str]:
    when = timestamp(one.created)
    by = {"createdBy": "Microsoft", "createdByType": "User", "lastModifiedBy": "Microsoft"}
    return {"createdAt": when, "lastModifiedAt": when, "lastModifiedByType": "User", **by}
