"""Parse and answer the calls about the assets of the workspace or of a registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from phi_finetune.emulator.assets.bodies import container_body, details_of, version_body
from phi_finetune.emulator.assets.listing import View, fits, newest_first
from phi_finetune.emulator.assets.store import AssetStore
from phi_finetune.emulator.assets.versions import Kind
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.paging import page

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = [
    "StoreOf",
    "get_container",
    "get_version",
    "list_code",
    "list_containers",
    "list_versions",
    "of_workspace",
    "put_container",
    "put_version",
    "start_pending_upload",
]

StoreOf: TypeAlias = "Callable[[Cloud, Request], AssetStore]"
"""Gives the assets of the workspace, or of the registry that a request is about."""


def of_workspace(cloud: Cloud, _: Request) -> AssetStore:
    """The assets of the workspace."""
    return cloud.assets


def list_containers(kind: Kind, store_of: StoreOf, cloud: Cloud, request: Request) -> Response:
    """The names of a kind, each with its latest version."""
    view, store = View.of(request), store_of(cloud, request)
    containers = [container_body(store, store.of(kind, name)) for name in store.names(kind)]
    return page(request, [one for one in containers if view.shows(one["properties"]["isArchived"])])


def get_container(kind: Kind, store_of: StoreOf, cloud: Cloud, request: Request) -> Response:
    """One name, with its latest and next version."""
    store = store_of(cloud, request)
    return json_answer(200, container_body(store, store.of(kind, request.params["name"])))


def put_container(kind: Kind, store_of: StoreOf, cloud: Cloud, request: Request) -> Response:
    """Archive all versions of a name, or restore them (Azure's page on creating data assets)."""
    store, name = store_of(cloud, request), request.params["name"]
    store.check_writable()
    if not store.kinds[kind].of(name):
        raise store.absent(kind, name)
    properties = request.json().get("properties") or {}
    store.kinds[kind].archive(name, properties.get("isArchived") is True, cloud.clock.now())
    return json_answer(200, container_body(store, store.of(kind, name)))


def list_versions(kind: Kind, store_of: StoreOf, cloud: Cloud, request: Request) -> Response:
    """The versions of a name, the newest first, or those of one stage, or with some properties (service.md)."""
    view, store, stage = View.of(request), store_of(cloud, request), request.query.get("stage")
    wanted = request.query.get("properties")
    shown = [
        one
        for one in store.listed(kind, request.params["name"])
        if view.shows(one.archived)
        and stage in (None, one.details.stage)
        and fits(wanted, one.details.properties)
    ]
    return page(request, [version_body(store, one) for one in newest_first(request, shown)])


def get_version(kind: Kind, store_of: StoreOf, cloud: Cloud, request: Request) -> Response:
    """One version, archived or not."""
    store = store_of(cloud, request)
    found = store.get(kind, request.params["name"], request.params["version"])
    return json_answer(200, version_body(store, found))


def put_version(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """Make a version in the workspace (201), or change its description, tags or archive flag (200)."""
    name, version = request.params["name"], request.params["version"]
    made, new = cloud.assets.put(kind, name, version, details_of(kind, request.json()))
    return json_answer(201 if new else 200, version_body(cloud.assets, made))


def list_code(cloud: Cloud, request: Request) -> Response:
    """The versions of a name of code; with a hash, the code that has it, whatever its name.

    The client asks so before it uploads, with a name that it has just made up; that names do not count then is
    assumed.
    """
    wanted = request.query.get("hash")
    if wanted is None:
        return list_versions("codes", of_workspace, cloud, request)
    version = request.query.get("hashVersion")
    found = cloud.assets.code_with_hash(wanted, version)
    return page(request, [version_body(cloud.assets, one) for one in found])


def start_pending_upload(cloud: Cloud, request: Request) -> Response:
    """A container of its own, and a signature for it, for the client to upload code into."""
    container = cloud.storage.open_container()
    answer = {
        "pendingUploadId": cloud.ids.guid(),
        "pendingUploadType": "TemporaryBlobReference",
        "blobReferenceForConsumption": cloud.storage.blob_reference(container),
    }
    return json_answer(200, answer)
