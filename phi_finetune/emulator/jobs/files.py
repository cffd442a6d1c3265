"""The files and models that a job is given, wherever they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from phi_finetune.emulator.assets import locations
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs.bindings import Location, Source, Upstream, Value
from phi_finetune.emulator.jobs.graph import Node
from phi_finetune.emulator.jobs.spec import invalid

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Files", "Made", "check", "find", "model_input", "of_model", "single"]

Files: TypeAlias = Mapping[str, bytes]
Made: TypeAlias = Mapping[tuple[str, str], Files]
"""What each node has made: its path and the output's name, and the output's files."""

_MODELS = ("mlflow_model_path", "huggingface_id", "pytorch_model_path")
_MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
_DATA_ID = re.compile(r".*/data/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE)


def check(cloud: Cloud, name: str, uri: str, row: Mapping[str, Any]) -> None:
    """Refuse an input that is not there.

    Raises:
        ServiceError: 400, with the name of the input.
    """
    find(cloud, name, Location(uri), row, {})


def find(cloud: Cloud, name: str, source: Source, row: Mapping[str, Any], made: Made) -> Files:
    """The files of an input.

    Args:
        cloud: Where it lies.
        name: The input.
        source: Where it comes from: a location, or a node.
        row: How the input is declared.
        made: What the nodes before have made.

    Raises:
        ServiceError: 400, where it is not there.
    """
    if isinstance(source, Upstream):
        return made[source.node, source.output]
    if isinstance(source, Value):
        raise TypeError(f"input {name!r} is a literal")
    if row["type"] in _MODEL_TYPES:
        return of_model(cloud, source.uri)
    found = _data(cloud, name, source.uri)
    return {next(iter(found)): single(name, found)} if row["type"] == "uri_file" else found


def single(name: str, found: Files) -> bytes:
    """The content of an input that is one file.

    Raises:
        ServiceError: 400, where it is a folder of several.
    """
    if len(found) != 1:
        raise invalid(f"Input '{name}' is a folder of {len(found)} files, where a file is expected.")
    return next(iter(found.values()))


def model_input(node: Node) -> str:
    """The input by which a fine-tune is given its base model.

    Raises:
        ServiceError: 400, where it has none, or several.
    """
    given = [name for name in _MODELS if name in node.inputs]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise invalid(f"Exactly one of {', '.join(_MODELS)} must be given; found {found}.")
    return given[0]


def of_model(cloud: Cloud, model_id: str) -> Files:
    """The files of a model; a public registry's has none here, and none is known of one of Hugging Face.

    Raises:
        ServiceError: 400, where there is no such model.
    """
    try:
        if model_id.startswith("https://") or _is_path(model_id):
            return cloud.storage.read(locations.resolve(cloud, model_id, folder=True))
        if model_id.startswith(("azureml:", "/")):
            return cloud.assets.model_files(model_id)
    except ServiceError as error:
        raise invalid(error.message, "ModelNotFound") from error
    return {}


def _is_path(model_id: str) -> bool:
    return model_id.startswith("azureml://") and not model_id.startswith("azureml://registries/")


def _data(cloud: Cloud, name: str, uri: str) -> Files:
    asset = _DATA_ID.fullmatch(uri)
    try:
        if asset is not None:
            return cloud.storage.read(cloud.assets.data(asset["name"], asset["version"]).uri)
        return cloud.storage.read(locations.resolve(cloud, uri, folder=False))
    except ServiceError as error:
        raise invalid(f"Input '{name}': {error.message}", "StreamNotFound") from error
