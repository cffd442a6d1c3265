"""The models and data assets of the workspace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from phi_finetune.emulator.assets.locations import resolve
from phi_finetune.emulator.assets.versions import AssetSpec, AssetVersion, Kind, Versions
from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Assets", "ModelVersion"]

ModelVersion: TypeAlias = AssetVersion
"""A version of a model: its name, version, location, type and files."""

_NAME = re.compile(r"(?![-_.])[a-zA-Z0-9\-_.]{1,255}(?<!\.)")
"""pain.md, "Names"."""

_REFERENCE = re.compile(r"(?:azureml:)?(?P<name>[^:/]+):(?P<version>[^:/]+)")
_ARM_ID = re.compile(
    r"(?:azureml:)?/subscriptions/.+/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE
)

_FOLDERS = ("mlflow_model", "triton_model", "uri_folder", "mltable")


class Assets:
    """The registered models and data of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.kinds: Mapping[Kind, Versions] = MappingProxyType(
            {"models": Versions("models"), "data": Versions("data")}
        )

    def models(self) -> dict[str, tuple[ModelVersion, ...]]:
        """All versions of every model, by name, the oldest first."""
        versions = self.kinds["models"]
        return {name: tuple(versions.of(name)) for name in versions.names}

    def model(self, name: str, version: str) -> ModelVersion:
        """A version of a model.

        Raises:
            ServiceError: 404, where there is none.
        """
        return self.get("models", name, version)

    def data(self, name: str, version: str) -> AssetVersion:
        """A version of a data asset.

        Raises:
            ServiceError: 404, where there is none.
        """
        return self.get("data", name, version)

    def get(self, kind: Kind, name: str, version: str) -> AssetVersion:
        """A version of a kind, archived or not.

        Raises:
            ServiceError: 404, where there is none.
        """
        found = self.kinds[kind].find(name, version)
        if found is None:
            raise self.absent(kind, name, version)
        return found

    def absent(self, kind: Kind, name: str, version: str | None = None) -> ServiceError:
        """What is answered where a name, or a version of it, is not there: 404 (service.md)."""
        if kind == "models" and version is None:
            return ServiceError(404, "ModelNotFound", f"Model container with name: {name} not found")
        if kind == "models":
            message = f"Model with name {name}, version {version} not found in provided workspace"
            return ServiceError(404, "ModelNotFound", message)
        where = f"azureml://locations/{self._cloud.settings.region}/workspaces/{self._cloud.workspace.guid}"
        asset_id = f"{where}/data/{name}" + (f"/versions/{version}" if version else "")
        return ServiceError(
            404, "UserError", f"Could not find asset with ID: {asset_id}", inner=("NotFoundError",)
        )

    def put(self, kind: Kind, name: str, version: str, spec: AssetSpec) -> tuple[AssetVersion, bool]:
        """Make a version, or change its description, tags or archive flag; and whether it is new.

        A version may be any text. The service is reported to take whole numbers only for models
        (azureml-examples issue 2725, 2023); Azure's documentation has no such rule, so none is kept here.

        Raises:
            ServiceError: 400, where its location or name is not valid; 409, where its location would change.
        """
        if not _NAME.fullmatch(name):
            raise ServiceError(
                400, "UserError", f"The asset name {name} is not valid: it must match {_NAME.pattern}."
            )
        versions = self.kinds[kind]
        spec = replace(spec, uri=resolve(self._cloud, spec.uri, folder=spec.type in _FOLDERS))
        existing = versions.find(name, version)
        now = self._cloud.clock.now()
        if existing is not None:
            return versions.change(existing, spec, now), False
        new = AssetVersion(name, version, spec, now, self._cloud.storage.read)
        versions.add(new)
        return new, True

    def model_files(self, reference: str) -> dict[str, bytes]:
        """The files of the model that a deployment names: by ``name:version``, ARM id, or registry asset id.

        A registry's model has no files here: the answer is empty.

        Raises:
            ServiceError: 404, where there is no such model; 400, where its files are not there, or for
                another kind of name.
        """
        if reference.startswith("azureml://registries/"):
            self._cloud.registries.model(reference)
            return {}
        found = _ARM_ID.fullmatch(reference) or _REFERENCE.fullmatch(reference)
        if found is None:
            raise ServiceError(400, "UserError", f"The model reference {reference} is not valid.")
        return self.model(found["name"], found["version"]).files()
