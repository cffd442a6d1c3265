"""What the service checks at submission, since the client checks no value (wire.md 13.10)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets import locations
from phi_finetune.emulator.catalogue import CatalogueComponent
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs.spec import JobSpec, invalid
from phi_finetune.emulator.runners.runner import JobInputs

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["find_component", "resolve"]

_LITERALS = {"string", "integer", "number", "boolean"}
_MODELS = ("mlflow_model_path", "huggingface_id", "pytorch_model_path")
_DATA_ID = re.compile(r".*/data/(?P<name>[^/]+)/versions/(?P<version>[^/]+)", re.IGNORECASE)


def find_component(cloud: Cloud, spec: JobSpec) -> CatalogueComponent:
    """The component that a job names.

    Raises:
        ServiceError: 400 where there is none, with the code that an unusable one has (service.md).
    """
    try:
        return cloud.registries.component(spec.component_id)
    except ServiceError as error:
        raise ServiceError(400, "BadRequest", error.message) from error


def resolve(cloud: Cloud, spec: JobSpec, component: CatalogueComponent) -> JobInputs:
    """Check every input of a job, and fetch what it names.

    Raises:
        ServiceError: 400, with the name of the input.
    """
    declared: Mapping[str, Mapping[str, Any]] = component.spec["inputs"]
    _check_names(spec, component)
    for name, value in spec.literals.items():
        _check_literal(name, value, declared[name])
    defaults = {name: str(row["default"]) for name, row in declared.items() if "default" in row}
    values = {**defaults, **spec.literals}
    _check_computes(cloud, spec, values)
    _check_sizes(cloud, spec)
    model_id = _model_id(spec)
    return JobInputs(
        name=spec.name,
        values=values,
        files={name: _file(cloud, name, uri) for name, uri in _files(spec, declared)},
        model=_model(cloud, model_id),
        model_id=model_id,
        steps=[step.name for step in component.steps],
    )


def _check_names(spec: JobSpec, component: CatalogueComponent) -> None:
    declared: Mapping[str, Mapping[str, Any]] = component.spec["inputs"]
    where = f"component '{component.name}:{component.version}'"
    for name in (*spec.literals, *spec.uris):
        if name not in declared:
            raise invalid(f"Unknown input '{name}' of {where}.")
        if (declared[name]["type"] in _LITERALS) != (name in spec.literals):
            raise invalid(f"Input '{name}' of {where} is of type {declared[name]['type']}.")
    for name, row in declared.items():
        needed = row.get("optional") != "True" and "default" not in row
        if needed and name not in spec.literals and name not in spec.uris:
            raise invalid(f"Required input '{name}' of {where} is missing.")
    for name in spec.outputs:
        if name not in component.spec["outputs"]:
            raise invalid(f"Unknown output '{name}' of {where}.")


def _check_literal(name: str, value: str, row: Mapping[str, Any]) -> None:
    if "enum" in row and value not in row["enum"]:
        raise invalid(
            f"Invalid value '{value}' for input '{name}': it must be one of {', '.join(row['enum'])}."
        )
    if row["type"] not in ("integer", "number"):
        return
    try:
        number = int(value) if row["type"] == "integer" else float(value)
    except ValueError:
        raise invalid(
            f"Invalid value '{value}' for input '{name}': it is not of type {row['type']}."
        ) from None
    if "min" in row and number < float(row["min"]):
        raise invalid(f"Invalid value '{value}' for input '{name}': it must be at least {row['min']}.")
    if "max" in row and number > float(row["max"]):
        raise invalid(f"Invalid value '{value}' for input '{name}': it must be at most {row['max']}.")


def _check_computes(cloud: Cloud, spec: JobSpec, values: Mapping[str, str]) -> None:
    settings = spec.properties.get("settings") or {}
    named = [value for name, value in values.items() if name.startswith("compute_")]
    named += [
        str(other) for other in (settings.get("default_compute"), spec.properties.get("computeId")) if other
    ]
    for compute in named:
        name = compute.rpartition("/")[2].removeprefix("azureml:")
        if not cloud.computes.exists(name):
            # service.md: refused at PUT, and not with a 404.
            raise invalid(f"Unknown compute target '{name}'.", "UnknownTargetType")
        if name.lower() != "serverless" and cloud.computes.find(name).provisioning_state == "Failed":
            # Azure/MachineLearningNotebooks#1043 has the message.
            raise invalid(f"AzureMLCompute cluster {name} is in failed state and thus not ready for runs")


def _check_sizes(cloud: Cloud, spec: JobSpec) -> None:
    """The sizes that were asked for; the component's own defaults, one of them retired by now, are let be."""
    for name, value in spec.literals.items():
        if name.startswith("instance_type_"):
            cloud.computes.size(value)


def _model_id(spec: JobSpec) -> str:
    given = [name for name in _MODELS if name in spec.literals or name in spec.uris]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise invalid(f"Exactly one of {', '.join(_MODELS)} must be given; found {found}.")
    return spec.uris.get(given[0]) or spec.literals[given[0]]


def _model(cloud: Cloud, model_id: str) -> Mapping[str, bytes]:
    try:
        if model_id.startswith("azureml://registries/"):
            return cloud.assets.model_files(model_id)
        if model_id.startswith(("azureml:", "/")):
            return _workspace_model(cloud, model_id)
    except ServiceError as error:
        raise invalid(error.message, "ModelNotFound") from error
    # A Hugging Face id: the emulator cannot know whether there is such a model.
    return {}


def _workspace_model(cloud: Cloud, reference: str) -> Mapping[str, bytes]:
    if reference.startswith("azureml://"):
        return cloud.storage.read(locations.resolve(cloud, reference, folder=True))
    return cloud.assets.model_files(reference)


def _files(spec: JobSpec, declared: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for name, uri in spec.uris.items():
        if declared[name]["type"] == "mltable":
            raise ServiceError(501, "NotImplemented", f"The emulator reads no MLTable, as input '{name}' is.")
        if declared[name]["type"] == "uri_file":
            yield name, uri


def _file(cloud: Cloud, name: str, uri: str) -> bytes:
    asset = _DATA_ID.fullmatch(uri)
    try:
        files = cloud.storage.read(cloud.assets.data(asset["name"], asset["version"]).uri if asset else uri)
    except ServiceError as error:
        raise invalid(f"Input '{name}': {error.message}", "StreamNotFound") from error
    if len(files) != 1:
        raise invalid(f"Input '{name}' is a folder of {len(files)} files, where a file is expected.")
    return next(iter(files.values()))
