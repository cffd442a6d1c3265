"""What the service makes of an environment's definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi_finetune.emulator.assets.refusals import invalid

__all__ = ["check_name", "settle"]

_DEFAULTS = {"osType": "Linux", "autoRebuild": "Disabled"}
"""Azure's page "Environment Versions - Create Or Update"."""

_RESERVED = "azureml"
_DOCKERFILE = "Dockerfile"


def check_name(name: str) -> None:
    """Refuse a name that is reserved for curated environments.

    Raises:
        ServiceError: 400 (Azure's page "Manage Azure Machine Learning environments with the CLI & SDK (v2)" has
            the rule; the wording is ours).
    """
    if name.lower().startswith(_RESERVED):
        raise invalid(f"The environment name {name} begins with the reserved prefix AzureML.")


def settle(content: Mapping[str, Any]) -> dict[str, Any]:
    """An environment as it is kept, with what the service fills in.

    Raises:
        ServiceError: 400, where it has no image and no build context, or both, or a conda file and no image
            (Azure's page "CLI (v2) environment YAML schema").
    """
    image, build = content.get("image"), content.get("build")
    if bool(image) == bool(build):
        raise invalid("An environment has either an image or a build context.")
    if build and content.get("condaFile"):
        raise invalid("A conda file needs an image.")
    if build and not build.get("contextUri"):
        raise invalid("build.contextUri is required.")
    settled = {**content, **{key: content.get(key) or value for key, value in _DEFAULTS.items()}}
    if build:
        settled["build"] = {**build, "dockerfilePath": build.get("dockerfilePath") or _DOCKERFILE}
    return settled
