"""Assets as JSON: read from requests, written to answers (service.md gives the shapes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from phi_finetune.emulator.assets.refusals import invalid
from phi_finetune.emulator.assets.store import AssetStore
from phi_finetune.emulator.assets.versions import (
    LOCATIONS,
    TYPES,
    AssetVersion,
    Details,
    Kind,
    next_version,
)
from phi_finetune.emulator.core.clock import timestamp

__all__ = ["container_body", "details_of", "version_body"]

_DEFAULT_TYPE: Mapping[Kind, str] = {"models": "custom_model", "data": "uri_folder"}

_CONTENT: Mapping[Kind, tuple[str, ...]] = {
    "codes": ("codeUri",),
    "components": ("componentSpec",),
    "data": ("dataUri", "dataType", "referencedUris"),
    "environments": ("image", "condaFile", "build", "inferenceConfig", "osType", "autoRebuild"),
    "models": ("modelUri", "modelType", "flavors", "jobName", "system_metadata"),
}
"""What a kind has, and others have not (Azure's pages on its REST API)."""

_DATA_TYPES = ("uri_file", "uri_folder", "mltable")

_NEEDED: Mapping[Kind, str] = {**LOCATIONS, "components": "componentSpec"}
_BOTH_AT_CREATION = ("components",)
"""service.md: who changed it is there only once somebody has; of components it is there from the start."""


def details_of(kind: Kind, body: Mapping[str, Any]) -> Details:
    """What a PUT says of a version.

    Raises:
        ServiceError: 400, where it lacks what its kind cannot be without, or is of no known type.
    """
    sent = body.get("properties") or {}
    needed = _NEEDED.get(kind)
    if needed is not None and not sent.get(needed):
        raise invalid(f"{needed} is required.")
    content = {key: sent[key] for key in _CONTENT[kind] if sent.get(key) is not None}
    if kind in TYPES:
        content[TYPES[kind]] = content.get(TYPES[kind]) or _DEFAULT_TYPE[kind]
    if kind == "data" and content["dataType"] not in _DATA_TYPES:
        raise invalid(f"The dataType {content['dataType']} is not one of {', '.join(_DATA_TYPES)}.")
    return Details(
        content=content,
        description=sent.get("description"),
        tags=sent.get("tags") or {},
        # The client sends a number among them (hash_version), and asks for it as a text.
        properties={key: str(value) for key, value in (sent.get("properties") or {}).items()},
        archived=sent.get("isArchived") is True,
        anonymous=sent.get("isAnonymous") is True,
        stage=sent.get("stage"),
    )


def version_body(store: AssetStore, one: AssetVersion) -> dict[str, Any]:
    """What GET of a version answers."""
    details = one.details
    return {
        "id": one.id,
        "name": one.version,
        "type": store.type_of(one.kind, version=True),
        "properties": {
            # service.md: a component's description is in its spec.
            "description": None if one.kind == "components" else details.description,
            "tags": dict(details.tags),
            "properties": dict(details.properties),
            "isArchived": details.archived,
            "isAnonymous": details.anonymous,
            "autoDeleteSetting": None,
            "stage": details.stage,
            "intellectualProperty": None,
            "provisioningState": "Succeeded",
            # wire.md 8: the client fails without flavors.
            **({"flavors": {}, "jobName": None} if one.kind == "models" else {}),
            **one.content,
        },
        "systemData": _system_data(one),
    }


def container_body(store: AssetStore, versions: Sequence[AssetVersion]) -> dict[str, Any]:
    """What GET of a name answers, for all its versions, the oldest first."""
    first = versions[0]
    latest = store.latest(first.kind, first.name)
    type_of = {"dataType": latest.content["dataType"]} if first.kind == "data" else {}
    return {
        "id": store.id_of(first.kind, first.name),
        "name": first.name,
        "type": store.type_of(first.kind, version=False),
        "properties": {
            "description": None,
            "tags": None,
            "properties": None,
            "isArchived": all(one.archived for one in versions),
            "latestVersion": latest.version,
            "nextVersion": next_version(versions),
            **type_of,
        },
        "systemData": _system_data(first),
    }


def _system_data(one: AssetVersion) -> dict[str, str]:
    data = {
        "createdAt": timestamp(one.created),
        "createdBy": one.author,
        "createdByType": "User",
        "lastModifiedAt": timestamp(one.modified or one.created),
    }
    if one.modified is None and one.kind not in _BOTH_AT_CREATION:
        return data
    return {**data, "lastModifiedBy": one.author, "lastModifiedByType": "User"}
