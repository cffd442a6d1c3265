"""Parse and answer the calls about datastores."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.storage.state import BLOBSTORE

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["get_datastore", "list_datastores", "list_secrets"]


def list_datastores(cloud: Cloud, request: Request) -> Response:
    """The datastores; ``isDefault=true`` leaves the default one (wire.md 5, download of outputs)."""
    default_only = request.query.get("isDefault", "").lower() == "true"
    names = [BLOBSTORE] if default_only else list(cloud.storage.datastores)
    return page(request, [_body(cloud, name) for name in names])


def get_datastore(cloud: Cloud, request: Request) -> Response:
    """One datastore."""
    return json_answer(200, _body(cloud, request.params["datastore"]))


def list_secrets(cloud: Cloud, request: Request) -> Response:
    """A SAS for the datastore's container, as long-lived as was asked for; 400 where it has no secrets (assumed)."""
    if not _has_secrets(cloud):
        raise ServiceError(400, "UserError", "No secrets for credentials of type None.")
    hours = request.json().get("expireAfterHours") or 1
    if not isinstance(hours, int) or hours < 1:
        raise ServiceError(400, "UserError", "expireAfterHours must be a whole number of hours, at least 1.")
    token = cloud.storage.sas(timedelta(hours=hours), datastore=request.params["datastore"])
    return json_answer(200, {"secretsType": "Sas", "sasToken": token})


def _body(cloud: Cloud, name: str) -> dict[str, Any]:
    container = cloud.storage.datastore(name)
    when = timestamp(cloud.storage.created)
    return {
        "id": cloud.arm_id("datastores", name),
        "name": name,
        "type": "Microsoft.MachineLearningServices/workspaces/datastores",
        "properties": {
            "description": None,
            "tags": {},
            "properties": None,
            "isDefault": name == BLOBSTORE,
            # wire.md 5 and 13.6: without credentials the client signs in to the storage itself.
            "credentials": {"credentialsType": "Sas" if _has_secrets(cloud) else "None"},
            "datastoreType": "AzureBlob",
            "accountName": cloud.storage.account,
            "containerName": container.name,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "None",
        },
        "systemData": {"createdAt": when, "lastModifiedAt": when},
    }


def _has_secrets(cloud: Cloud) -> bool:
    return cloud.settings.datastores_auth == "accessKey"
