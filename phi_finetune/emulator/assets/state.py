"""The assets of the workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from phi_finetune.emulator.assets import references
from phi_finetune.emulator.assets.locations import resolve
from phi_finetune.emulator.assets.refusals import not_found
from phi_finetune.emulator.assets.store import AssetStore
from phi_finetune.emulator.assets.versions import (
    AssetVersion,
    ComponentVersion,
    EnvironmentVersion,
    FilesVersion,
    Kind,
)
from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Assets", "ComponentVersion", "DataVersion", "EnvironmentVersion", "ModelVersion"]

ModelVersion: TypeAlias = FilesVersion
"""A version of a model: its name, version, location, type and files."""

DataVersion: TypeAlias = FilesVersion
"""A version of a data asset: its name, version, location, type and files."""

_V = TypeVar("_V", bound=AssetVersion)

_TYPE = "Microsoft.MachineLearningServices/workspaces"
_AUTHOR = "phi@example.com"
_CURATED = "azureml"
"""The registry whose environments a workspace sees as its own (Azure's page on curated environments)."""


class Assets(AssetStore):
    """The models, data, environments, code and components of one cloud's workspace."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud, _AUTHOR)

    def models(self) -> dict[str, tuple[ModelVersion, ...]]:
        """All versions of every model, by name, the oldest first."""
        return self._all("models", FilesVersion)

    def datasets(self) -> dict[str, tuple[DataVersion, ...]]:
        """All versions of every data asset, by name, the oldest first."""
        return self._all("data", FilesVersion)

    def environments(self) -> dict[str, tuple[EnvironmentVersion, ...]]:
        """All versions of every environment, by name, the oldest first."""
        return self._all("environments", EnvironmentVersion)

    def components(self) -> dict[str, tuple[ComponentVersion, ...]]:
        """All versions of every component, by name, the oldest first."""
        return self._all("components", ComponentVersion)

    def model(self, name: str, version: str) -> ModelVersion:
        """A version of a model.

        Raises:
            ServiceError: 404, where there is none.
        """
        return _of_class(self.get("models", name, version), FilesVersion)

    def data(self, name: str, version: str) -> DataVersion:
        """A version of a data asset.

        Raises:
            ServiceError: 404, where there is none.
        """
        return _of_class(self.get("data", name, version), FilesVersion)

    def component(self, reference: str) -> ComponentVersion:
        """A component of the workspace or of a registry.

        Args:
            reference: An ARM id, a registry's asset id, ``name:version`` or ``name@latest``, with or without
                ``azureml:`` before it.

        Raises:
            ServiceError: 404, where there is none; 400, for another kind of name.
        """
        return _of_class(self.find("components", reference), ComponentVersion)

    def environment(self, reference: str) -> EnvironmentVersion:
        """An environment of the workspace or of a registry.

        Args:
            reference: As for :meth:`component`.

        Raises:
            ServiceError: 404, where there is none; 400, for another kind of name.
        """
        return _of_class(self.find("environments", reference), EnvironmentVersion)

    def code(self, reference: str) -> FilesVersion:
        """A snapshot of code.

        Args:
            reference: As for :meth:`component`.

        Raises:
            ServiceError: 404, where there is none; 400, for another kind of name.
        """
        return _of_class(self.find("codes", reference), FilesVersion)

    def code_files(self, reference: str) -> Mapping[str, bytes]:
        """The files of a snapshot of code, by their path in it.

        Raises:
            ServiceError: 404, where there is no such code; 400, where its files are not there, or for another
                kind of name.
        """
        return self.code(reference).files()

    def model_files(self, reference: str) -> Mapping[str, bytes]:
        """The files of the model that a deployment names: by ``name:version``, ARM id, or registry asset id.

        The models of Azure's own registries have no files here, but for those that were added: the answer is empty.

        Raises:
            ServiceError: 404, where there is no such model; 400, where its files are not there, or for
                another kind of name.
        """
        model = _of_class(self.find("models", reference), FilesVersion)
        return self._cloud.registries.files_of(model.id) if model.uri == model.id else model.files()

    def model_type(self, reference: str) -> str:
        """The type of the model that a deployment names: ``mlflow_model`` and so on.

        Raises:
            ServiceError: 404, where there is no such model; 400, for another kind of name.
        """
        return _of_class(self.find("models", reference), FilesVersion).type

    def find(self, kind: Kind, reference: str) -> AssetVersion:
        """What a reference leads to, in the workspace or in a registry.

        Raises:
            ServiceError: 404, where there is none; 400, for another kind of name.
        """
        named = references.parse(kind, reference)
        store: AssetStore = self
        if named.registry is not None:
            store = self._cloud.registries.store(named.registry)
        return store.named(kind, named)

    def code_with_hash(self, digest: str, hash_version: str | None) -> Sequence[AssetVersion]:
        """The code whose content has a digest, whatever its name, the oldest first."""
        wanted = {"hash_sha256": digest, "hash_version": hash_version}
        codes = self.kinds["codes"].all()
        return [one for one in codes if wanted.items() <= dict(one.details.properties).items()]

    def names(self, kind: Kind) -> Sequence[str]:
        """Every name of a kind that can be seen here: those of curated environments too, after one's own."""
        own = super().names(kind)
        if kind != "environments":
            return own
        return [*own, *(name for name in self._curated.names(kind) if name not in own)]

    def seen(self, kind: Kind, name: str) -> Sequence[AssetVersion]:
        """The versions of a name, the oldest first; where it has none here, those of a curated environment."""
        own = super().seen(kind, name)
        return own if own or kind != "environments" else self._curated.seen(kind, name)

    def id_of(self, kind: Kind, name: str, version: str | None = None) -> str:
        """The ARM id of a name, or of a version of it."""
        return self._cloud.arm_id(kind, name, *(("versions", version) if version else ()))

    def type_of(self, kind: Kind, *, version: bool) -> str:
        """What answers call the type of a name, or of a version."""
        return f"{_TYPE}/{kind}/versions" if version else f"{_TYPE}/{kind}"

    def absent(self, kind: Kind, name: str, version: str | None = None) -> ServiceError:
        """What is answered where a name, or a version of it, is not there: 404 (service.md)."""
        if kind == "models" and version is None:
            return ServiceError(404, "ModelNotFound", f"Model container with name: {name} not found")
        if kind == "models":
            message = f"Model with name {name}, version {version} not found in provided workspace"
            return ServiceError(404, "ModelNotFound", message)
        where = f"azureml://locations/{self._cloud.settings.region}/workspaces/{self._cloud.workspace.guid}"
        return not_found(f"{where}/{kind}/{name}" + (f"/versions/{version}" if version else ""))

    def resolve(self, uri: str, *, folder: bool) -> str:
        """The whole form of a location in the workspace (wire.md 8, service.md).

        Raises:
            ServiceError: 400 or 404, where nothing can be there.
        """
        return resolve(self._cloud, uri, folder=folder)

    @property
    def _curated(self) -> AssetStore:
        return self._cloud.registries.store(_CURATED)

    def _all(self, kind: Kind, of: type[_V]) -> dict[str, tuple[_V, ...]]:
        versions = self.kinds[kind]
        return {name: tuple(_of_class(one, of) for one in versions.of(name)) for name in versions.names}


def _of_class(found: AssetVersion, of: type[_V]) -> _V:
    if not isinstance(found, of):
        raise TypeError(f"{found.id} is not a {of.__name__}")
    return found
