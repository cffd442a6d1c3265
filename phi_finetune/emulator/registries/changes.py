"""What is written to a registry: each write is an operation that takes its time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.assets.refusals import invalid
from phi_finetune.emulator.assets.versions import LOCATIONS, AssetVersion, Details, FilesVersion, Kind
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.registries.registry import Registry

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["begin", "copied"]

_WRITING = timedelta(seconds=30)
"""How long it takes until a registry has what was written to it (assumed)."""

_COPIED = ("data", "environments", "models")
"""What the client can share with a registry."""


def begin(cloud: Cloud, store: Registry, kind: Kind, name: str, version: str, details: Details) -> Operation:
    """Begin to keep a version whose details are prepared; it is there when the operation has ended."""

    def finish() -> ServiceError | None:
        try:
            store.commit(kind, name, version, details)
        except ServiceError as error:
            return error
        return None

    return cloud.operations.start("assetstoreOperations", _WRITING, finish)


def copied(cloud: Cloud, store: Registry, source: AssetVersion, name: str, version: str) -> Details:
    """The details of a copy of an asset, with its files in the registry's storage.

    Raises:
        ServiceError: 409, where the registry has such a version; 400 for code and components, and where the
            files are not there.
    """
    if source.kind not in _COPIED:
        raise invalid(f"The {source.kind} of a workspace cannot be copied to a registry.")
    if store.kinds[source.kind].find(name, version) is not None:
        raise ServiceError(
            409, "UserError", f"Asset with ID {store.id_of(source.kind, name, version)} already exists."
        )
    details = source.details
    if isinstance(source, FilesVersion) and source.uri.startswith("azureml://"):
        uri = cloud.storage.store_files(source.files(), folder=source.uri.endswith("/"))
        details = replace(details, content={**details.content, LOCATIONS[source.kind]: uri})
    return store.prepare(source.kind, name, version, details)
