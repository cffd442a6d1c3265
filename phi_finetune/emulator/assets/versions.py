"""Named assets with versions: how they are kept, changed, and numbered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["AssetSpec", "AssetVersion", "Kind", "Versions", "next_version"]

Kind = Literal["data", "models"]


@dataclass(frozen=True)
class AssetSpec:
    """What a PUT says of a version.

    Attributes:
        uri: Where its files are; the long form once it is stored.
        type: ``mlflow_model``, ``uri_file`` and so on.
        description: Free text.
        tags: Tags.
        properties: Properties.
        archived: Whether lists leave it out.
        anonymous: Whether a client made the name up.
        job_name: The job that made it.
        flavors: What an MLflow model can be loaded as.
    """

    uri: str
    type: str
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    archived: bool = False
    anonymous: bool = False
    job_name: str | None = None
    flavors: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class AssetVersion:
    """One version of an asset. ``read`` gets the files at a location; ``modified`` is None until a change."""

    name: str
    version: str
    spec: AssetSpec
    created: datetime
    read: Callable[[str], dict[str, bytes]] = field(repr=False, compare=False)
    modified: datetime | None = None

    @property
    def uri(self) -> str:
        """Where its files are, in the long form."""
        return self.spec.uri

    @property
    def type(self) -> str:
        """``mlflow_model``, ``uri_file`` and so on."""
        return self.spec.type

    def files(self) -> dict[str, bytes]:
        """The content of its files, by their path in it.

        Raises:
            ServiceError: 400, where nothing is there, which is not checked when a version is made.
        """
        return self.read(self.uri)


_COLLISION = {
    "data": (
        "A data version with this name and version already exists. If you are trying to create a new data "
        "version, use a different name or version. If you are trying to update an existing data version, the "
        "existing asset's data uri cannot be changed. Only tags, description, and isArchived can be updated."
    ),
    "models": (
        "A model with this name and version already exists. If you are trying to create a new model, use a "
        "different name or version. If you are trying to update an existing model, the existing model's "
        "asset path cannot be changed. Only tags, description, and isArchived can be updated."
    ),
}
"""The service's words, as its users quote them; the middle of the second is assumed to be as in the first."""


class Versions:
    """All versions of all names of one kind, in the order in which they were made."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._by_name: dict[str, list[AssetVersion]] = {}

    @property
    def names(self) -> Sequence[str]:
        """Every name, the oldest first."""
        return tuple(self._by_name)

    def of(self, name: str) -> Sequence[AssetVersion]:
        """The versions of a name, the oldest first; none for an unknown one."""
        return tuple(self._by_name.get(name, ()))

    def find(self, name: str, version: str) -> AssetVersion | None:
        """One version, archived or not."""
        return next((one for one in self.of(name) if one.version == version), None)

    def add(self, new: AssetVersion) -> None:
        """Keep a version that is not there yet."""
        self._by_name.setdefault(new.name, []).append(new)

    def change(self, existing: AssetVersion, spec: AssetSpec, when: datetime) -> AssetVersion:
        """Change what can be changed of a version.

        Raises:
            ServiceError: 409, where the location or type would change (wire.md 13.12).
        """
        if (spec.uri, spec.type) != (existing.uri, existing.type):
            raise ServiceError(409, "UserError", _COLLISION[self._kind])
        kept = replace(existing.spec, description=spec.description, tags=spec.tags, archived=spec.archived)
        changed = replace(existing, spec=kept, modified=when)
        versions = self._by_name[existing.name]
        versions[versions.index(existing)] = changed
        return changed

    def archive(self, name: str, archived: bool, when: datetime) -> None:
        """Archive every version of a name, or restore every one."""
        for one in self.of(name):
            self.change(one, replace(one.spec, archived=archived), when)


def next_version(versions: Sequence[AssetVersion]) -> str:
    """The number after the highest; versions that are no numbers do not count (service.md)."""
    numbers = [int(one.version) for one in versions if one.version.isdecimal()]
    return str(max(numbers, default=0) + 1)
