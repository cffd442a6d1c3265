"""What the registries hold: Azure's own, which clients can only read, and those that a test has of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from phi_finetune.emulator.assets import environments, references
from phi_finetune.emulator.assets.refusals import not_found
from phi_finetune.emulator.assets.versions import AssetVersion, Details, Kind
from phi_finetune.emulator.catalogue import (
    CatalogueComponent,
    CatalogueEnvironment,
    CatalogueModel,
    curated_environments,
    pipeline_components,
    registry_models,
)
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.registries.registry import Registry

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Registries"]

_Content: TypeAlias = CatalogueComponent | CatalogueEnvironment | CatalogueModel

_MAIN = "azureml"
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_APART = timedelta(days=30)
"""When a version was made is not known; the order in which they were made is, and the client asks for it."""


class Registries:
    """The registries that a cloud sees.

    They are ``azureml``, ``azureml-phi``, which shows the Phi models too, and those that the settings name.

    Raises:
        ValueError: The settings name one that is there.

    Attributes:
        written: What a client has put, by the id of the operation.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.written: dict[str, str] = {}
        self._models = registry_models()
        self._files: dict[str, Mapping[str, bytes]] = {}
        self._components = pipeline_components()
        public = {_MAIN, *(registry for model in self._models for registry in model.registries)}
        self._registries = {name: Registry(cloud, name, public=True) for name in public}
        for name in cloud.settings.registries:
            if name.lower() in self._registries:
                raise ValueError(f"there is a registry {name!r} already")
            self._registries[name.lower()] = Registry(cloud, name, public=False)
        curated = curated_environments()
        self._environments = len(curated)
        everything: list[_Content] = [*self._models, *self._components, *curated]
        for content in everything:
            self._show(content)

    @property
    def subscription_id(self) -> str:
        """The subscription that the registries are in.

        In Azure a registry has a subscription of its own. Here it is the cloud's, so that a request names the
        emulator that it is for.
        """
        return self._cloud.subscription_id

    def store(self, name: str) -> Registry:
        """A registry by its name, in any case.

        Raises:
            ServiceError: 404, where there is none; the wording is ours.
        """
        found = self._registries.get(name.lower())
        if found is None:
            raise ServiceError(
                404, "UserError", f"The registry {name} was not found.", inner=("NotFoundError",)
            )
        return found

    def publish(self, kind: Literal["components", "models"], name: str, version: str, like: str) -> None:
        """Let Azure's registries have a version that is active and, until the next one, the newest of its name.

        Args:
            kind: What it is.
            name: The name of something that is there.
            version: The new version.
            like: The version that it is a copy of.

        Raises:
            ValueError: There is no version ``like``, or there is a version ``version`` already.
        """
        versions = {one.version: one for one in self._contents(kind) if one.name == name}
        if like not in versions:
            raise ValueError(f"there is no version {like!r} of {name!r}: {', '.join(versions) or 'none'}")
        if version in versions:
            raise ValueError(f"there is a version {version!r} of {name!r} already")
        new, order = versions[like], 1 + max(one.created_order for one in self._contents(kind))
        if isinstance(new, CatalogueComponent):
            spec = {**new.spec, "version": version}
            component = replace(new, version=version, created_order=order, spec=spec)
            self._components.append(component)
            self._show(component)
        else:
            model = replace(new, version=version, created_order=order, archived=False)
            self._models.append(model)
            self._show(model)

    def add_model(self, name: str, files: Mapping[str, bytes], *, context_length: int | None) -> None:
        """Let Azure's registry have a model for chat whose files are at hand, in one version.

        Raises:
            ValueError: There is a model of that name already.
        """
        if any(one.name.lower() == name.lower() for one in self._models):
            raise ValueError(f"there is a model {name!r} already")
        tasks = {"fineTuningTasks": ["chat-completion"], "inferenceTasks": ["chat-completion"]}
        window = {} if context_length is None else {"textContextWindow": context_length}
        order = 1 + max(one.created_order for one in self._models)
        facts = {"tasks": tasks, "displayName": name, **window}
        model = CatalogueModel(name, "1", False, "system", {}, {}, facts, order, "custom_model", (_MAIN,))
        self._models.append(model)
        self._show(model)
        self._files[self.store(_MAIN).id_of("models", name, "1")] = files

    def files_of(self, asset_id: str) -> Mapping[str, bytes]:
        """The files of a model of Azure's own registries: none, but for those that were added."""
        return self._files.get(asset_id, {})

    def publish_environment(self, name: str, version: str, image: str) -> None:
        """Let Azure's registry have a curated environment, or another version of one.

        Raises:
            ValueError: There is that version already.
        """
        if self.store(_MAIN).kinds["environments"].find(name, version) is not None:
            raise ValueError(f"there is a version {version!r} of {name!r} already")
        self._environments += 1
        self._show(CatalogueEnvironment(name, version, image, "", self._environments))

    def component(self, asset_id: str) -> CatalogueComponent:
        """A component of Azure's own registry by its asset id.

        Raises:
            ServiceError: 404, where there is none.
        """
        found = self._find("components", asset_id)
        for one in self._components:
            if (one.name, one.version) == (found.name, found.version):
                return one
        raise not_found(asset_id)

    def model(self, asset_id: str) -> CatalogueModel:
        """A model of Azure's own registries by its asset id.

        Raises:
            ServiceError: 404, where there is none.
        """
        found = self._find("models", asset_id)
        for one in self._models:
            if (one.name, one.version) == (found.name, found.version):
                return one
        raise not_found(asset_id)

    def _contents(
        self, kind: Literal["components", "models"]
    ) -> Sequence[CatalogueComponent | CatalogueModel]:
        return self._components if kind == "components" else self._models

    def _find(self, kind: Kind, asset_id: str) -> AssetVersion:
        try:
            named = references.parse(kind, asset_id)
        except ServiceError as error:
            raise not_found(asset_id) from error
        if named.registry is None or not self.store(named.registry).public:
            raise not_found(asset_id)
        return self.store(named.registry).named(kind, named)

    def _show(self, content: _Content) -> None:
        created = _FIRST + content.created_order * _APART
        if isinstance(content, CatalogueModel):
            for registry in content.registries:
                store = self.store(registry)
                details = _model(content, store.id_of("models", content.name, content.version))
                store.add("models", content.name, content.version, details, created)
        elif isinstance(content, CatalogueComponent):
            details = Details({"componentSpec": content.spec})
            self.store(_MAIN).add("components", content.name, content.version, details, created)
        else:
            details = Details(environments.settle({"image": content.image}), content.description)
            self.store(_MAIN).add("environments", content.name, content.version, details, created)


def _model(content: CatalogueModel, uri: str) -> Details:
    # A model that was published before there was such metadata has no key for it.
    metadata = {"system_metadata": content.system_metadata} if content.system_metadata else {}
    return Details(
        content={"modelType": content.model_type, "modelUri": uri, **metadata},
        tags=content.tags,
        properties=content.properties,
        archived=content.archived,
    )
