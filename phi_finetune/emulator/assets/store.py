"""The assets of one place, a workspace or a registry: what both do alike."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets import components, environments
from phi_finetune.emulator.assets.references import Reference
from phi_finetune.emulator.assets.versions import (
    KINDS,
    LOCATIONS,
    TYPES,
    AssetVersion,
    ComponentVersion,
    Details,
    EnvironmentVersion,
    FilesVersion,
    Kind,
    Versions,
    check_change,
)
from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ANONYMOUS_COMPONENT", "DEFAULT_VERSION", "AssetStore"]

DEFAULT_VERSION = "azureml_default"
"""The version that the client asks for where its user names none; components only (wire.md 3)."""

ANONYMOUS_COMPONENT = "azureml_anonymous"
"""The name of every component that its user gave no name (service.md)."""

_NAME = re.compile(r"(?![-_.])[a-zA-Z0-9\-_.]{1,255}(?<!\.)")
"""pain.md, "Names"."""

_FOLDERS = ("mlflow_model", "triton_model", "uri_folder", "mltable")

_CLASSES: Mapping[Kind, type[AssetVersion]] = {
    "codes": FilesVersion,
    "components": ComponentVersion,
    "data": FilesVersion,
    "environments": EnvironmentVersion,
    "models": FilesVersion,
}


class AssetStore(ABC):
    """Every version of every asset in one place.

    Args:
        cloud: The cloud that the place is in.
        author: Who is said to have made what is made there.
    """

    def __init__(self, cloud: Cloud, author: str) -> None:
        self._cloud = cloud
        self._author = author
        self.kinds: Mapping[Kind, Versions] = MappingProxyType({kind: Versions(kind) for kind in KINDS})

    @abstractmethod
    def id_of(self, kind: Kind, name: str, version: str | None = None) -> str:
        """The id that a name, or a version of it, has here, whether it is there or not."""

    @abstractmethod
    def type_of(self, kind: Kind, *, version: bool) -> str:
        """What answers call the type of a name, or of a version."""

    @abstractmethod
    def absent(self, kind: Kind, name: str, version: str | None = None) -> ServiceError:
        """What is answered where a name, or a version of it, is not there: 404."""

    @abstractmethod
    def resolve(self, uri: str, *, folder: bool) -> str:
        """The whole form of a location.

        Raises:
            ServiceError: 400 or 404, where nothing here can be there.
        """

    def check_writable(self) -> None:
        """Refuse to write where nobody may.

        Raises:
            ServiceError: 403.
        """
        return

    def names(self, kind: Kind) -> Sequence[str]:
        """Every name of a kind that can be seen here."""
        return self.kinds[kind].names

    def seen(self, kind: Kind, name: str) -> Sequence[AssetVersion]:
        """The versions of a name that can be seen here, the oldest first; none for an unknown one."""
        return self.kinds[kind].of(name)

    def listed(self, kind: Kind, name: str) -> Sequence[AssetVersion]:
        """The versions of a name, as its list has them, the oldest first.

        Raises:
            ServiceError: 404 for an unknown name, where that is an error.
        """
        return self.of(kind, name)

    def of(self, kind: Kind, name: str) -> Sequence[AssetVersion]:
        """Every version of a name, the oldest first: at least one.

        Raises:
            ServiceError: 404, where there is none.
        """
        found = self.seen(kind, name)
        if not found:
            raise self.absent(kind, name)
        return found

    def get(self, kind: Kind, name: str, version: str) -> AssetVersion:
        """A version, archived or not; of a component also its default one, which is the latest.

        Raises:
            ServiceError: 404, where there is none.
        """
        if kind == "components" and version == DEFAULT_VERSION:
            return self.latest(kind, name)
        for one in self.seen(kind, name):
            if one.version == version:
                return one
        raise self.absent(kind, name, version)

    def latest(self, kind: Kind, name: str) -> AssetVersion:
        """The version made last, not the highest (service.md); an archived one only where all are.

        Raises:
            ServiceError: 404, where there is none.
        """
        versions = self.of(kind, name)
        active = [one for one in versions if not one.archived]
        return (active or versions)[-1]

    def named(self, kind: Kind, reference: Reference) -> AssetVersion:
        """What a reference leads to, if this is where it leads.

        Raises:
            ServiceError: 404, where there is no such version, or another label than ``latest`` is named.
        """
        if reference.version is not None:
            return self.get(kind, reference.name, reference.version)
        if reference.label == "latest":
            return self.latest(kind, reference.name)
        raise self.absent(kind, reference.name, reference.label)

    def put(self, kind: Kind, name: str, version: str, details: Details) -> tuple[AssetVersion, bool]:
        """Make a version, or change what can be changed of it; and whether it is new.

        A version may be any text. The service is reported to take whole numbers only for models
        (azureml-examples issue 2725, 2023); Azure's documentation has no such rule, so none is kept here.

        Raises:
            ServiceError: 400, where its name, or what it is, is not valid; 409, where what it is would change.
                A component that would change is refused with 400 (service.md).
        """
        return self.commit(kind, name, version, self.prepare(kind, name, version, details))

    def prepare(self, kind: Kind, name: str, version: str, details: Details) -> Details:
        """The details as they would be kept; nothing is kept yet.

        Raises:
            ServiceError: As for :meth:`put`.
        """
        if not _NAME.fullmatch(name):
            raise ServiceError(
                400, "UserError", f"The asset name {name} is not valid: it must match {_NAME.pattern}."
            )
        whole = replace(details, content=self._content(kind, name, version, details.content))
        self._existing(kind, name, version, whole)
        return whole

    def commit(self, kind: Kind, name: str, version: str, details: Details) -> tuple[AssetVersion, bool]:
        """Keep prepared details; and whether the version is new.

        Raises:
            ServiceError: 409 or 400, where another change was faster.
        """
        existing, now = self._existing(kind, name, version, details), self._cloud.clock.now()
        if existing is None:
            return self.add(kind, name, version, details, now), True
        if kind == "components" and existing.details.anonymous:
            return existing, False
        return self.kinds[kind].change(existing, details, now), False

    def add(self, kind: Kind, name: str, version: str, details: Details, created: datetime) -> AssetVersion:
        """Keep a version that is valid and not there yet."""
        new = _CLASSES[kind](
            id=self.id_of(kind, name, version),
            kind=kind,
            name=name,
            version=version,
            details=details,
            created=created,
            author=self._author,
            read=self._cloud.storage.read,
        )
        self.kinds[kind].add(new)
        return new

    def _content(self, kind: Kind, name: str, version: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        if kind == "components":
            return {"componentSpec": components.settle(self._cloud, name, version, content["componentSpec"])}
        if kind == "environments":
            environments.check_name(name)
            return environments.settle(content)
        location = LOCATIONS[kind]
        folder = kind in TYPES and content[TYPES[kind]] in _FOLDERS
        return {**content, location: self.resolve(content[location], folder=folder)}

    def _existing(self, kind: Kind, name: str, version: str, details: Details) -> AssetVersion | None:
        if kind == "components" and name == ANONYMOUS_COMPONENT:
            return self._twin(details)
        existing = self.kinds[kind].find(name, version)
        if existing is None:
            return None
        if kind == "components":
            components.check_change(existing, details)
        else:
            check_change(existing, details)
        return existing

    def _twin(self, details: Details) -> AssetVersion | None:
        """The anonymous component with the same content: it keeps the guid that it was given (service.md)."""
        known = self.kinds["components"].of(ANONYMOUS_COMPONENT)
        return next((one for one in known if components.same(one.content, details.content)), None)
