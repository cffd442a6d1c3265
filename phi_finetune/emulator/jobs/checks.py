"""What the service checks at submission, since the client checks no value (wire.md 13.10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs import files
from phi_finetune.emulator.jobs.bindings import Location, literals
from phi_finetune.emulator.jobs.command import SERVERLESS, CommandSpec, compute_name
from phi_finetune.emulator.jobs.graph import Node
from phi_finetune.emulator.jobs.spec import JobSpec, invalid
from phi_finetune.emulator.storage.state import BLOBSTORE

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["check", "check_job"]

_LITERALS = {"string", "integer", "number", "boolean"}


def check_job(cloud: Cloud, spec: JobSpec) -> None:
    """Refuse a job whose own compute or outputs cannot be.

    Raises:
        ServiceError: 400; 501 for outputs that go elsewhere than into the default datastore.
    """
    settings = spec.properties.get("settings") or {}
    for compute in (settings.get("default_compute"), spec.properties.get("computeId")):
        if compute:
            _check_compute(cloud, compute_name(str(compute)))
    for output in spec.outputs.values():
        if output.get("uri") and cloud.storage.locate(output["uri"])[0] != BLOBSTORE:
            raise ServiceError(501, "NotImplemented", f"The emulator writes outputs to {BLOBSTORE} only.")


def check(cloud: Cloud, node: Node) -> None:
    """Refuse a node that cannot be run, or is given what is not there.

    Raises:
        ServiceError: 400, with the name of the input.
    """
    _check_names(node)
    values = literals(node.inputs)
    for name, value in values.items():
        _check_literal(name, value, node.declared_inputs[name])
    if isinstance(node.work, CommandSpec):
        _check_command(cloud, node, node.work)
    else:
        _check_fine_tune(cloud, node, values)
    for name, source in node.inputs.items():
        if isinstance(source, Location):
            files.check(cloud, name, source.uri, node.declared_inputs[name])


def _check_names(node: Node) -> None:
    declared = node.declared_inputs
    for name in node.inputs:
        if name not in declared:
            raise invalid(f"Unknown input '{name}' of {node.title}.")
    values = literals(node.inputs)
    for name in node.inputs:
        if (declared[name]["type"] in _LITERALS) != (name in values) and not _from_a_node(node, name):
            raise invalid(f"Input '{name}' of {node.title} is of type {declared[name]['type']}.")
    for name, row in declared.items():
        needed = str(row.get("optional")) != "True" and "default" not in row
        if needed and name not in node.inputs:
            raise invalid(f"Required input '{name}' of {node.title} is missing.")
    for name in node.outputs:
        if name not in node.declared_outputs:
            raise invalid(f"Unknown output '{name}' of {node.title}.")


def _from_a_node(node: Node, name: str) -> bool:
    """Whether an input is a file, folder or model that another node makes."""
    return name not in literals(node.inputs) and not isinstance(node.inputs[name], Location)


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


def _check_command(cloud: Cloud, node: Node, work: CommandSpec) -> None:
    work.line(node.inputs)
    _check_compute(cloud, work.compute)
    if work.compute.lower() == SERVERLESS:
        cloud.computes.size(work.instance_type)
    if work.nodes < 1:
        raise invalid(f"The instance count of {node.title} is {work.nodes}; it must be at least 1.")
    try:
        cloud.assets.environment(work.environment)
        if work.code is not None:
            cloud.assets.code_files(work.code)
    except ServiceError as error:
        raise invalid(error.message) from error


def _check_fine_tune(cloud: Cloud, node: Node, values: Mapping[str, str]) -> None:
    defaults = {name: str(row["default"]) for name, row in node.declared_inputs.items() if "default" in row}
    for compute in _computes({**defaults, **values}):
        _check_compute(cloud, compute_name(compute))
    for name, value in values.items():
        # The component's own defaults, one of them retired by now, are let be.
        if name.startswith("instance_type_"):
            cloud.computes.size(value)
    files.model_input(node)


def _computes(values: Mapping[str, str]) -> Iterator[str]:
    return (value for name, value in values.items() if name.startswith("compute_"))


def _check_compute(cloud: Cloud, name: str) -> None:
    if not cloud.computes.exists(name):
        # service.md: refused at PUT, and not with a 404.
        raise invalid(f"Unknown compute target '{name}'.", "UnknownTargetType")
    if name.lower() != SERVERLESS and cloud.computes.find(name).provisioning_state == "Failed":
        # Azure/MachineLearningNotebooks#1043 has the message.
        raise invalid(f"AzureMLCompute cluster {name} is in failed state and thus not ready for runs")
