"""Parse and answer the calls about registries: their discovery, and what is written to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.assets.bodies import details_of
from phi_finetune.emulator.assets.refusals import invalid
from phi_finetune.emulator.assets.versions import KINDS, Kind
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.operations import Operation, poll_again
from phi_finetune.emulator.registries.changes import begin, copied
from phi_finetune.emulator.registries.registry import Registry

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = [
    "OPERATIONS",
    "discover",
    "import_asset",
    "of_registry",
    "operation",
    "put_version",
    "reference_data",
    "reserve_upload",
]

OPERATIONS = "assetstore/v1.0/operations"
_GROUP = "registries"


def of_registry(cloud: Cloud, request: Request) -> Registry:
    """The assets of the registry that a request is about."""
    return cloud.registries.store(request.params["registry"])


def discover(cloud: Cloud, request: Request) -> Response:
    """Where a registry's assets are served (wire.md 3)."""
    region = cloud.settings.region
    answer = {
        "registryName": of_registry(cloud, request).name,
        "tenantId": cloud.tenant_id,
        "primaryRegion": region,
        "regions": [region],
        "subscriptionId": cloud.registries.subscription_id,
        "resourceGroup": _GROUP,
        "primaryRegionResourceProviderUri": f"https://cert-{region}.experiments.azureml.net/",
    }
    return json_answer(200, answer)


def reserve_upload(cloud: Cloud, request: Request) -> Response:
    """A container and a signature for what a version is to hold; 409 where there is such a version.

    The client takes the 409 to mean that nothing is left to upload.
    """
    store = of_registry(cloud, request)
    store.check_writable()
    asset_id = str(request.json().get("assetId") or "")
    kind = _kind(asset_id)
    name, version = request.params["name"], request.params["version"]
    if store.kinds[kind].find(name, version) is not None:
        raise ServiceError(409, "UserError", f"Asset with ID {asset_id} already exists.")
    reference = cloud.storage.blob_reference(cloud.storage.open_container())
    return json_answer(200, {"assetId": asset_id, "blobReferenceForConsumption": reference})


def reference_data(cloud: Cloud, request: Request) -> Response:
    """A signature with which a version's files can be read."""
    body, store = request.json(), of_registry(cloud, request)
    store.get(_kind(str(body.get("assetId") or "")), request.params["name"], request.params["version"])
    container, path = cloud.storage.place(str(body.get("blobUri") or ""))
    reference = cloud.storage.blob_reference(container, path, permissions="rl")
    return json_answer(200, {"blobReferenceForConsumption": reference})


def put_version(kind: Kind, cloud: Cloud, request: Request) -> Response:
    """Begin to make or change a version: 202, and where to ask how far it is (service.md)."""
    store, name, version = of_registry(cloud, request), request.params["name"], request.params["version"]
    store.check_writable()
    details = store.prepare(kind, name, version, details_of(kind, request.json()))
    started = begin(cloud, store, kind, name, version, details)
    cloud.registries.written[started.id] = store.id_of(kind, name, version)
    return _accepted(cloud, started)


def import_asset(cloud: Cloud, request: Request) -> Response:
    """Begin to copy an asset of the workspace, files and all: what the client calls sharing."""
    store, body = of_registry(cloud, request), request.json().get("properties") or {}
    store.check_writable()
    source_id = str(body.get("sourceAssetId") or "")
    source = cloud.assets.find(_kind(source_id), source_id)
    name = str(body.get("destinationName") or source.name)
    version = str(body.get("destinationVersion") or source.version)
    details = copied(cloud, store, source, name, version)
    return _accepted(cloud, begin(cloud, store, source.kind, name, version, details))


def operation(cloud: Cloud, request: Request) -> Response:
    """How far a change has come: 202 while it is under way, then the id of what was put (service.md).

    After an import the body is empty: the client would go on to upload a reference, and fail (assumed).
    """
    found = cloud.operations.find(request.params["operation"])
    status = found.watch()
    if found.error:
        raise found.error
    if status != "Succeeded":
        return _accepted(cloud, found)
    asset_id = cloud.registries.written.get(found.id)
    return json_answer(200, {"assetId": asset_id}) if asset_id else empty(200)


def _accepted(cloud: Cloud, under_way: Operation) -> Response:
    where = f"{cloud.workspace.api}/{OPERATIONS}/{under_way.id}"
    return empty(202, {"Location": where, **poll_again(cloud.clock)})


def _kind(asset_id: str) -> Kind:
    for kind in KINDS:
        if f"/{kind}/" in asset_id.lower():
            return kind
    raise invalid(f"{asset_id} is not the id of an asset.")
