"""The chat-completion pipeline of the ``azureml`` registry, as the registry's REST answers state it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phi_finetune.emulator.catalogue._data import load

__all__ = ["CatalogueComponent", "Step", "pipeline_components"]

_REGISTRY = "azureml://registries/azureml/components"


@dataclass(frozen=True)
class Step:
    """One job inside the pipeline.

    ``component`` is a registry id, ``compute_input`` the pipeline's input that names the compute, ``inputs``
    and ``outputs`` are the names that the step takes and gives; those that the pipeline shares have the same
    names there.
    """

    name: str
    component: str
    compute_input: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class CatalogueComponent:
    """One version of the pipeline.

    ``spec`` is the ``componentSpec``, where every number and boolean is a text (service.md, "Components");
    ``created_order`` counts the versions from the oldest.
    """

    name: str
    version: str
    spec: dict[str, Any]
    steps: tuple[Step, ...]
    created_order: int


def pipeline_components() -> list[CatalogueComponent]:
    """The versions of ``chat_completion_pipeline``, the oldest first.

    The versions of the steps inside an older one are assumed to be those of the newest.
    """
    data = load("components.json")
    return [_component(data, row, order) for order, row in enumerate(data["versions"])]


def _component(data: dict[str, Any], version: dict[str, Any], order: int) -> CatalogueComponent:
    inputs = {row["name"]: _input(row) for row in data["inputs"] if row["name"] not in version["lacks"]}
    steps = tuple(_step(name, job, version["lacks"]) for name, job in data["steps"].items())
    spec = {
        "name": data["name"],
        "version": version["version"],
        "display_name": data["display_name"],
        "type": "pipeline",
        "inputs": inputs,
        "outputs": {name: dict(output) for name, output in data["outputs"].items()},
        "jobs": {step.name: _job(step, inputs) for step in steps},
    }
    return CatalogueComponent(data["name"], version["version"], spec, steps, order)


def _input(row: dict[str, Any]) -> dict[str, Any]:
    spec = {key: _text(value) for key, value in row.items() if key != "name"}
    return {"optional": "True", **spec}


def _text(value: Any) -> Any:
    return list(value) if isinstance(value, list) else str(value)


def _step(name: str, job: dict[str, Any], lacks: list[str]) -> Step:
    _, component, version = job["component"].split(":")
    compute_input = job["compute"].removeprefix("${{parent.inputs.").removesuffix("}}")
    inputs = tuple(item for item in job["inputs"] if item not in lacks)
    return Step(
        name, f"{_REGISTRY}/{component}/versions/{version}", compute_input, inputs, tuple(job["outputs"])
    )


def _job(step: Step, inputs: dict[str, Any]) -> dict[str, Any]:
    """Without what steps pass to each other, which no client reads (wire.md 3, "Component REST form")."""
    return {
        "type": "command",
        "component": step.component,
        "compute": f"${{{{parent.inputs.{step.compute_input}}}}}",
        "inputs": {
            name: {"path": f"${{{{parent.inputs.{name}}}}}"} for name in step.inputs if name in inputs
        },
        "outputs": {name: f"${{{{parent.outputs.{name}}}}}" for name in step.outputs},
    }
