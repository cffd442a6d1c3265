"""How clients name an asset: every form in which the real client sends one (wire.md 3, 5 and 9)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from phi_finetune.emulator.assets.versions import Kind
from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["Reference", "parse"]

_TAIL = r"(?P<kind>\w+)/(?P<name>[^/]+)/(?:versions/(?P<version>[^/]+)|labels/(?P<label>[^/]+))/?"
_FORMS = (
    re.compile(rf"azureml://registries/(?P<registry>[^/]+)/{_TAIL}", re.IGNORECASE),
    re.compile(rf"(?:azureml:)?/+subscriptions/.+/workspaces/[^/]+/{_TAIL}", re.IGNORECASE),
    re.compile(rf"azureml://locations/[^/]+/workspaces/[^/]+/{_TAIL}", re.IGNORECASE),
    re.compile(r"(?:azureml:)?(?P<name>[^:/@]+)(?::(?P<version>[^:/@]+)|@(?P<label>[^:/@]+))"),
)


@dataclass(frozen=True)
class Reference:
    """What a name leads to.

    Attributes:
        name: The asset's name.
        version: Its version; None where a label is named.
        label: ``latest``, or None where a version is named.
        registry: The registry that it is in; None for the workspace.
    """

    name: str
    version: str | None
    label: str | None
    registry: str | None


def parse(kind: Kind, text: str) -> Reference:
    """Read a name: a registry's asset id, an ARM id, a workspace's asset id, ``name:version``, ``name@latest``.

    Raises:
        ServiceError: 400, where it is none of these, or names another kind of asset.
    """
    for form in _FORMS:
        found = form.fullmatch(text)
        if found is None:
            continue
        parts = {key: unquote(value) if value else None for key, value in found.groupdict().items()}
        if (parts.get("kind") or kind).lower() != kind:
            break
        return Reference(
            name=unquote(found["name"]),
            version=parts["version"],
            label=parts["label"],
            registry=parts.get("registry"),
        )
    raise ServiceError(400, "UserError", f"The reference {text} does not name {_NOUNS[kind]}.")


_NOUNS: dict[Kind, str] = {
    "codes": "code",
    "components": "a component",
    "data": "a data asset",
    "environments": "an environment",
    "models": "a model",
}
