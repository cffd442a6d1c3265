"""Where the inputs of a node come from, and where its outputs go (wire.md 5, "PUT body").

In a pipeline an input is a value, a file or model somewhere, or refers to an input of the pipeline
(``${{parent.inputs.x}}``) or to an output of another node (``${{parent.jobs.a.outputs.o}}``); an output may be
one of the pipeline's (``${{parent.outputs.o}}``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from phi_finetune.emulator.jobs.spec import invalid

__all__ = [
    "Location",
    "Scope",
    "Source",
    "Upstream",
    "Value",
    "literals",
    "locations",
    "nodes_named",
    "read_inputs",
    "read_outputs",
]

_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.(?P<name>[\w.]+)\s*\}\}")
_NODE = re.compile(r"\$\{\{\s*parent\.jobs\.(?P<node>\w+)\.outputs\.(?P<output>\w+)\s*\}\}")
_OUTPUT = re.compile(r"\$\{\{\s*parent\.outputs\.(?P<name>\w+)\s*\}\}")


@dataclass(frozen=True)
class Value:
    """A literal, as a string."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Location:
    """A file, folder or model, wherever it is."""

    uri: str

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True)
class Upstream:
    """An output of another node: the node's path, and the output's name there."""

    node: str
    output: str

    def __str__(self) -> str:
        return f"{self.node}.outputs.{self.output}"


Source: TypeAlias = Value | Location | Upstream
"""Where an input comes from."""


@dataclass(frozen=True)
class Scope:
    """The pipeline around some nodes.

    Attributes:
        inputs: Its inputs; None is one that is declared and was not given.
        outputs: The job's output that each of its outputs is; None where it is none of the job's.
        made: What makes each output of its nodes so far, by the node's name and the output's.
    """

    inputs: Mapping[str, Source | None] = field(default_factory=dict)
    outputs: Mapping[str, str | None] = field(default_factory=dict)
    made: dict[tuple[str, str], Upstream] = field(default_factory=dict)


def literals(inputs: Mapping[str, Source]) -> dict[str, str]:
    """The literal inputs."""
    return {name: source.text for name, source in inputs.items() if isinstance(source, Value)}


def locations(inputs: Mapping[str, Source]) -> dict[str, str]:
    """The inputs that are files or models, and not made by another node."""
    return {name: source.uri for name, source in inputs.items() if isinstance(source, Location)}


def nodes_named(sent: Mapping[str, Any]) -> set[str]:
    """The nodes of the same pipeline that a node's inputs refer to."""
    found = (_NODE.fullmatch(str(_value(row))) for row in sent.values())
    return {one["node"] for one in found if one}


def read_inputs(sent: Mapping[str, Any], scope: Scope) -> dict[str, Source]:
    """The inputs of a node, or of the job itself, with what they refer to looked up.

    Raises:
        ServiceError: 400, with the name of the input.
    """
    return {name: source for name, row in sent.items() for source in _source(name, row, scope)}


def read_outputs(sent: Mapping[str, Any], scope: Scope) -> dict[str, str]:
    """The job's output that each output of a node is; one that stays inside the pipeline is left out.

    Raises:
        ServiceError: 400, where an output is bound to something that the pipeline does not have.
    """
    bound: dict[str, str] = {}
    for name, row in sent.items():
        value = _value(row)
        if value is None:
            continue
        found = _OUTPUT.fullmatch(str(value))
        if found is None or found["name"] not in scope.outputs:
            raise invalid(f"Output '{name}' is not bound to an output of the pipeline.")
        of_job = scope.outputs[found["name"]]
        if of_job is not None:
            bound[name] = of_job
    return bound


def _value(row: Any) -> Any:
    return row.get("value") if isinstance(row, dict) else row


def _source(name: str, row: Any, scope: Scope) -> Iterator[Source]:
    """One source, or none where an input of the pipeline that was left out is referred to."""
    if isinstance(row, dict) and row.get("uri") is not None:
        yield Location(str(row["uri"]))
        return
    value = _value(row)
    if value is None:
        raise invalid(f"Input '{name}' has neither a value nor a uri.")
    if found := _INPUT.fullmatch(str(value)):
        if found["name"] not in scope.inputs:
            raise invalid(f"Input '{name}' refers to '{found['name']}', which is no input of the pipeline.")
        source = scope.inputs[found["name"]]
        if source is not None:
            yield source
    elif found := _NODE.fullmatch(str(value)):
        made = (found["node"], found["output"])
        if made not in scope.made:
            raise invalid(f"Input '{name}' refers to output '{made[1]}' of '{made[0]}', which is not there.")
        yield scope.made[made]
    else:
        yield Value(str(value))
