"""What a command runs on, and with what: read from a command job, or from a component and its node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from phi_finetune.emulator.computes.durations import parse_duration
from phi_finetune.emulator.jobs.bindings import Source, Value
from phi_finetune.emulator.jobs.spec import invalid, missing

__all__ = ["SERVERLESS", "CommandSpec", "compute_name", "of_component", "of_job"]

SERVERLESS = "serverless"
"""The compute of a job that names none (Azure's page on serverless compute)."""

_SERVERLESS_SIZE = "Standard_DS3_v2"
"""Azure chooses the size of serverless nodes by what is free; that it is this one is assumed."""

_MOUNT = "/mnt/azureml/cr/j"
_REFERENCE = re.compile(r"\$\{\{\s*(?P<kind>inputs|outputs)\.(?P<name>\w+)(?:\.path)?\s*\}\}")
_OPTIONAL = re.compile(r"\$\[\[(?P<part>.*?)\]\]")


@dataclass(frozen=True)
class CommandSpec:
    """A command.

    Attributes:
        command: The command line, with its references.
        environment: The environment's id.
        code: The id of the code that it runs; None for none.
        variables: Environment variables.
        compute: The name of the compute.
        instance_type: The size of serverless nodes.
        nodes: How many nodes it needs.
        limit: How long it may run; None for as long as the service lets it.
        inputs: The declared inputs, as a component's spec has them.
        outputs: The type of each output.
    """

    command: str
    environment: str
    code: str | None
    variables: Mapping[str, str]
    compute: str
    instance_type: str
    nodes: int
    limit: timedelta | None
    inputs: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, str]

    def line(self, inputs: Mapping[str, Source]) -> str:
        """The command line as it is run: values in place, and a path for each file, folder and model.

        Raises:
            ServiceError: 400, where it refers to what it does not have.
        """
        text = _OPTIONAL.sub(lambda found: self._optional(found["part"], inputs), self.command)
        return _REFERENCE.sub(lambda found: self._put(found, inputs), text)

    def _optional(self, part: str, inputs: Mapping[str, Source]) -> str:
        """A part in double brackets, which is left out without its input (Azure's page on command components)."""
        named = {found["name"] for found in _REFERENCE.finditer(part) if found["kind"] == "inputs"}
        return part if all(name in inputs or "default" in self.inputs.get(name, {}) for name in named) else ""

    def _put(self, found: re.Match[str], inputs: Mapping[str, Source]) -> str:
        name = found["name"]
        if found["kind"] == "outputs":
            if name not in self.outputs:
                raise invalid(f"The command refers to output '{name}', which it does not have.")
            return f"{_MOUNT}/OUTPUT_{name}"
        source = inputs.get(name)
        if isinstance(source, Value):
            return source.text
        if source is not None:
            return f"{_MOUNT}/INPUT_{name}"
        if "default" in self.inputs.get(name, {}):
            return str(self.inputs[name]["default"])
        raise invalid(f"The command refers to input '{name}', which it does not have.")


def compute_name(reference: str) -> str:
    """The name of a compute that is named by its ARM id, ``azureml:name``, or its name."""
    return reference.rpartition("/")[2].removeprefix("azureml:")


def of_job(properties: Mapping[str, Any]) -> CommandSpec:
    """The command of a command job.

    Raises:
        ServiceError: 400, where it has no command or environment.
    """
    inputs = {
        name: {"type": "string" if row.get("uri") is None else row.get("jobInputType") or "uri_folder"}
        for name, row in (properties.get("inputs") or {}).items()
    }
    outputs = {name: str(row["jobOutputType"]) for name, row in (properties.get("outputs") or {}).items()}
    resources = properties.get("resources") or {}
    return CommandSpec(
        command=_needed(properties, "command"),
        environment=_needed(properties, "environmentId"),
        code=properties.get("codeId"),
        variables=properties.get("environmentVariables") or {},
        compute=compute_name(properties.get("computeId") or SERVERLESS),
        instance_type=resources.get("instanceType") or _SERVERLESS_SIZE,
        nodes=int(resources.get("instanceCount") or 1),
        limit=_limit(properties.get("limits")),
        inputs=inputs,
        outputs=outputs,
    )


def of_component(spec: Mapping[str, Any], node: Mapping[str, Any], compute: str) -> CommandSpec:
    """The command of a node of a pipeline, where the node's own settings count before its component's.

    Args:
        spec: The component's spec.
        node: The node, as it was sent.
        compute: The pipeline's compute, for a node that names none.

    Raises:
        ServiceError: 400, where the component has no command or environment.
    """
    resources = {**(spec.get("resources") or {}), **(node.get("resources") or {})}
    return CommandSpec(
        command=_needed(spec, "command"),
        environment=_needed(spec, "environment"),
        code=spec.get("code"),
        variables={**(spec.get("environment_variables") or {}), **(node.get("environment_variables") or {})},
        compute=compute_name(node.get("computeId") or compute),
        instance_type=resources.get("instance_type") or _SERVERLESS_SIZE,
        nodes=int(resources.get("instance_count") or 1),
        limit=_limit(node.get("limits")),
        inputs=spec.get("inputs") or {},
        outputs={name: str(row["type"]) for name, row in (spec.get("outputs") or {}).items()},
    )


def _needed(properties: Mapping[str, Any], key: str) -> str:
    if not properties.get(key):
        raise missing(key)
    return str(properties[key])


def _limit(limits: Mapping[str, Any] | None) -> timedelta | None:
    timeout = (limits or {}).get("timeout")
    return parse_duration(timeout) if timeout else None
