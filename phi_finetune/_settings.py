"""Which workspace to connect to, where the arguments do not say all of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from phi_finetune.errors import ConfigurationError

__all__ = ["settings"]

_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "subscription_id": ("AZURE_SUBSCRIPTION_ID", "AZUREML_ARM_SUBSCRIPTION"),
    "resource_group": ("AZURE_RESOURCE_GROUP", "AZUREML_ARM_RESOURCEGROUP"),
    "workspace_name": ("AZUREML_WORKSPACE_NAME", "AZUREML_ARM_WORKSPACE_NAME"),
}
"""The environment variables of each setting, the first that is set wins; the second ones are those that Azure ML
sets inside a job."""

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def settings(given: Mapping[str, str | None], config: Path | None) -> dict[str, str]:
    """The three names, each from the arguments, a given file, the environment, or a ``config.json`` above.

    Raises:
        ConfigurationError: One is missing or is none, or the file cannot be read.
    """
    found = {name: value for name, value in given.items() if value}
    if config is not None:
        found = {**_read_config(config), **found}
    found = {**_environment(), **found}
    if len(found) < len(_SETTINGS) and (file := _find_config()) is not None:
        found = {**_read_config(file), **found}
    missing = [name for name in _SETTINGS if name not in found]
    if missing:
        raise ConfigurationError(
            f"It is not known which workspace to connect to: {', '.join(missing)} missing",
            why="neither an argument, nor the environment, nor a config.json gives it",
            next_call="Workspace.connect(subscription_id=..., resource_group=..., workspace_name=...), or download "
            "config.json from the studio",
        )
    for name, value in found.items():
        _check_setting(name, value)
    return found


def _environment() -> dict[str, str]:
    values = {
        name: next((os.environ[key] for key in variables if os.environ.get(key)), "")
        for name, variables in _SETTINGS.items()
    }
    return {name: value for name, value in values.items() if value}


def _find_config() -> Path | None:
    here = Path.cwd()
    for folder in (here, *here.parents):
        for file in (folder / ".azureml" / "config.json", folder / "config.json"):
            if file.is_file():
                return file
    return None


def _read_config(file: Path) -> dict[str, str]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise ConfigurationError(
            "The config.json cannot be read",
            resource=f"file {file}",
            why=why,
            next_call="download it again from the studio, or give connect() the three names",
        ) from None
    if not isinstance(value, dict):
        raise ConfigurationError("The config.json holds no object", resource=f"file {file}")
    return {name: str(value[name]) for name in _SETTINGS if value.get(name)}


def _check_setting(name: str, value: str) -> None:
    if value.startswith("<") or not value.strip():
        raise ConfigurationError(
            f"{name} is a placeholder: {value!r}", next_call=f"put the real {name} in its place"
        )
    if name == "subscription_id" and not _GUID.fullmatch(value):
        raise ConfigurationError(
            f"{value!r} is no subscription id",
            why="a subscription id has the form 00000000-0000-0000-0000-000000000000",
            next_call="az account show --query id",
        )
