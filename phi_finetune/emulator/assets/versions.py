"""Named assets with versions: how they are kept, changed, and numbered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from phi_finetune.emulator.core.errors import ServiceError

__all__ = [
    "KINDS",
    "LOCATIONS",
    "TYPES",
    "AssetVersion",
    "ComponentVersion",
    "Details",
    "EnvironmentVersion",
    "FilesVersion",
    "Kind",
    "Versions",
    "check_change",
    "next_version",
]

Kind = Literal["codes", "components", "data", "environments", "models"]

KINDS: tuple[Kind, ...] = ("codes", "components", "data", "environments", "models")

LOCATIONS: Mapping[Kind, str] = {"codes": "codeUri", "data": "dataUri", "models": "modelUri"}
"""The property that says where an asset's files are."""

TYPES: Mapping[Kind, str] = {"data": "dataType", "models": "modelType"}
"""The property that says of which type it is."""

_FIXED: Mapping[Kind, tuple[str, ...]] = {
    "codes": ("codeUri",),
    "data": ("dataUri", "dataType"),
    "environments": ("image", "condaFile", "build", "inferenceConfig", "osType"),
    "models": ("modelUri", "modelType"),
}
"""The properties that are refused where they would change (wire.md 13.12); for environments, assumed."""


@dataclass(frozen=True)
class Details:
    """What a PUT says of a version.

    Attributes:
        content: What the version is, by its names on the wire: ``modelUri``, ``componentSpec`` and so on. It
            never changes.
        description: Free text.
        tags: Tags.
        properties: Properties.
        archived: Whether lists leave it out.
        anonymous: Whether a client made the name up.
        stage: How far it is, in its owner's words; models only.
    """

    content: Mapping[str, Any]
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    archived: bool = False
    anonymous: bool = False
    stage: str | None = None


@dataclass(frozen=True)
class AssetVersion:
    """One version of an asset.

    Attributes:
        id: Its ARM id, or its asset id where it is in a registry.
        kind: What it is.
        name: The name, which all its versions share.
        version: The version: a number or not.
        details: What was said of it.
        created: When it was made.
        author: Who made it.
        read: Gets the files at a location.
        modified: When it was changed last; None until a change.
    """

    id: str
    kind: Kind
    name: str
    version: str
    details: Details
    created: datetime
    author: str
    read: Callable[[str], Mapping[str, bytes]] = field(repr=False, compare=False)
    modified: datetime | None = None

    @property
    def content(self) -> Mapping[str, Any]:
        """What it is, by its names on the wire."""
        return self.details.content

    @property
    def description(self) -> str | None:
        """Free text."""
        return self.details.description

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags."""
        return self.details.tags

    @property
    def archived(self) -> bool:
        """Whether lists leave it out."""
        return self.details.archived


@dataclass(frozen=True)
class FilesVersion(AssetVersion):
    """One version of a model, of data or of code: files, and where they are."""

    @property
    def uri(self) -> str:
        """Where its files are, in the long form."""
        return str(self.content[LOCATIONS[self.kind]])

    @property
    def type(self) -> str:
        """``mlflow_model``, ``uri_file`` and so on; empty for code."""
        return str(self.content.get(TYPES.get(self.kind, ""), ""))

    def files(self) -> Mapping[str, bytes]:
        """The content of its files, by their path in it.

        Raises:
            ServiceError: 400, where nothing is there, which is not checked when a version is made.
        """
        return self.read(self.uri)


@dataclass(frozen=True)
class EnvironmentVersion(AssetVersion):
    """One version of an environment: an image, or what one is built of."""

    @property
    def image(self) -> str | None:
        """The base image; None where it is built of a context."""
        return self.content.get("image")

    @property
    def conda_file(self) -> str | None:
        """The conda specification, as YAML."""
        return self.content.get("condaFile")

    @property
    def build_context(self) -> str | None:
        """Where the folder with its Dockerfile is."""
        return (self.content.get("build") or {}).get("contextUri")


@dataclass(frozen=True)
class ComponentVersion(AssetVersion):
    """One version of a component."""

    @property
    def spec(self) -> Mapping[str, Any]:
        """The componentSpec as the service holds it: every number and boolean in it is a text (service.md)."""
        spec: Mapping[str, Any] = self.content["componentSpec"]
        return spec


def _collision(article: str, noun: str, fixed: str) -> str:
    return (
        f"{article} {noun} with this name and version already exists. If you are trying to create a new {noun}, "
        f"use a different name or version. If you are trying to update an existing {noun}, the existing "
        f"{fixed} cannot be changed. Only tags, description, and isArchived can be updated."
    )


_COLLISION: Mapping[Kind, str] = {
    "codes": _collision("A", "code", "code's asset path"),
    "data": _collision("A", "data version", "asset's data uri"),
    "environments": _collision("An", "environment", "environment's definition"),
    "models": _collision("A", "model", "model's asset path"),
}
"""The service's words, as its users quote them: those on data whole, the beginning and the end of those on
models. Those on code and environments are assumed to be alike."""


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

    def all(self) -> Sequence[AssetVersion]:
        """Every version of every name."""
        return tuple(one for versions in self._by_name.values() for one in versions)

    def find(self, name: str, version: str) -> AssetVersion | None:
        """One version, archived or not."""
        return next((one for one in self._by_name.get(name, ()) if one.version == version), None)

    def add(self, new: AssetVersion) -> None:
        """Keep a version that is not there yet."""
        self._by_name.setdefault(new.name, []).append(new)

    def change(self, existing: AssetVersion, details: Details, when: datetime) -> AssetVersion:
        """Write a version anew. Of its content only a component's changes; its properties stay."""
        kept = replace(
            details,
            content=details.content if self._kind == "components" else existing.content,
            properties=existing.details.properties,
            anonymous=existing.details.anonymous,
            stage=details.stage or existing.details.stage,
        )
        changed = replace(existing, details=kept, modified=when)
        versions = self._by_name[existing.name]
        versions[versions.index(existing)] = changed
        return changed

    def archive(self, name: str, archived: bool, when: datetime) -> None:
        """Archive every version of a name, or restore every one."""
        for one in self.of(name):
            self.change(one, replace(one.details, archived=archived), when)


def check_change(existing: AssetVersion, details: Details) -> None:
    """Refuse to change where a version is, its type or its definition.

    Raises:
        ServiceError: 409.
    """
    if any(details.content.get(key) != existing.content.get(key) for key in _FIXED[existing.kind]):
        raise ServiceError(409, "UserError", _COLLISION[existing.kind])


def next_version(versions: Sequence[AssetVersion]) -> str:
    """The number after the highest; versions that are no numbers do not count (service.md)."""
    numbers = [int(one.version) for one in versions if one.version.isdecimal()]
    return str(max(numbers, default=0) + 1)
