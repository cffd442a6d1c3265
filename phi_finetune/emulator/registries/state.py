"""What the registries hold. Clients can only read them; :meth:`Registries.publish` is for tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.catalogue import (
    CatalogueComponent,
    CatalogueModel,
    pipeline_components,
    registry_models,
)
from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["DEFAULT_VERSION", "Kind", "Published", "Registries"]

Kind = Literal["components", "models"]

DEFAULT_VERSION = "azureml_default"
"""The version that the client asks for where its user names none; components only (wire.md 3)."""

_ASSET_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/(?P<kind>components|models)/(?P<name>[^/]+)/versions/(?P<version>[^/]+)/?"
)

_MAIN = "azureml"
_FIRST = datetime(2024, 1, 1, tzinfo=UTC)
_APART = timedelta(days=30)
"""When a version was made is not known; the order in which they were made is, and the client asks for it."""


@dataclass(frozen=True)
class Published:
    """One version of an asset in a registry.

    Attributes:
        registry: The registry it is seen through.
        kind: What it is.
        content: The model or component itself.
        archived: Whether lists leave it out.
        created: When it was published.
    """

    registry: str
    kind: Kind
    content: CatalogueComponent | CatalogueModel
    archived: bool
    created: datetime

    @property
    def name(self) -> str:
        """The name, which all its versions share."""
        return self.content.name

    @property
    def version(self) -> str:
        """The version: a number or not."""
        return self.content.version

    @property
    def id(self) -> str:
        """The asset id."""
        return f"azureml://registries/{self.registry}/{self.kind}/{self.name}/versions/{self.version}"


class Registries:
    """The registries that a cloud sees: ``azureml``, and ``azureml-phi``, which shows the Phi models too."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._models = registry_models()
        self._components = pipeline_components()
        self._names = {_MAIN, *(registry for model in self._models for registry in model.registries)}

    @property
    def subscription_id(self) -> str:
        """The subscription that the registries are in.

        In Azure a registry has a subscription of its own. Here it is the cloud's, so that a request names the
        emulator that it is for.
        """
        return self._cloud.subscription_id

    def check(self, registry: str) -> None:
        """Refuse a registry that is not there. The wording is ours.

        Raises:
            ServiceError: 404.
        """
        if registry.lower() not in self._names:
            raise ServiceError(
                404, "UserError", f"The registry {registry} was not found.", inner=("NotFoundError",)
            )

    def publish(self, kind: Kind, name: str, version: str, like: str) -> None:
        """Add a version that is active and, until the next one, the newest of its name.

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
            self._components.append(replace(new, version=version, created_order=order, spec=spec))
        else:
            self._models.append(replace(new, version=version, created_order=order, archived=False))

    def published(self, registry: str, kind: Kind, name: str | None = None) -> Sequence[Published]:
        """Every version of a kind, or of one name, the oldest first; none for an unknown name (service.md).

        Raises:
            ServiceError: 404 for an unknown registry.
        """
        self.check(registry)
        found = self._seen_through(registry.lower(), kind)
        return [one for one in found if name is None or one.name == name]

    def versions(self, registry: str, kind: Kind, name: str) -> Sequence[Published]:
        """Every version of a name, the oldest first: at least one.

        Raises:
            ServiceError: 404, where there is none.
        """
        found = self.published(registry, kind, name)
        if not found:
            raise _absent(f"azureml://registries/{registry}/{kind}/{name}")
        return found

    def get(self, registry: str, kind: Kind, name: str, version: str) -> Published:
        """One version, archived or not.

        Raises:
            ServiceError: 404, in the words of the asset store.
        """
        versions = self.published(registry, kind, name)
        if kind == "components" and version == DEFAULT_VERSION and versions:
            return versions[-1]
        for one in versions:
            if one.version == version:
                return one
        raise _absent(f"azureml://registries/{registry}/{kind}/{name}/versions/{version}")

    def component(self, asset_id: str) -> CatalogueComponent:
        """A component by its asset id.

        Raises:
            ServiceError: 404, where there is none.
        """
        content = self._by_id(asset_id, "components")
        if not isinstance(content, CatalogueComponent):
            raise _absent(asset_id)
        return content

    def model(self, asset_id: str) -> CatalogueModel:
        """A model by its asset id.

        Raises:
            ServiceError: 404, where there is none.
        """
        content = self._by_id(asset_id, "models")
        if not isinstance(content, CatalogueModel):
            raise _absent(asset_id)
        return content

    def _contents(self, kind: Kind) -> Sequence[CatalogueComponent | CatalogueModel]:
        return self._components if kind == "components" else self._models

    def _by_id(self, asset_id: str, kind: Kind) -> CatalogueComponent | CatalogueModel:
        found = _ASSET_ID.fullmatch(asset_id)
        if found is None or found["kind"] != kind:
            raise _absent(asset_id)
        return self.get(found["registry"], kind, found["name"], found["version"]).content

    def _seen_through(self, registry: str, kind: Kind) -> list[Published]:
        if kind == "components":
            components = self._components if registry == _MAIN else []
            return [Published(registry, kind, one, False, _made(one.created_order)) for one in components]
        models = [model for model in self._models if registry in model.registries]
        return [Published(registry, kind, one, one.archived, _made(one.created_order)) for one in models]


def _made(order: int) -> datetime:
    return _FIRST + order * _APART


def _absent(asset_id: str) -> ServiceError:
    return ServiceError(
        404, "UserError", f"Could not find asset with ID: {asset_id}", inner=("NotFoundError",)
    )
