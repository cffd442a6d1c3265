"""The nodes of a job: what there is to run, in an order in which it can be run."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.catalogue import CatalogueComponent
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs import command, fine_tuning
from phi_finetune.emulator.jobs.bindings import (
    Scope,
    Source,
    Upstream,
    Value,
    nodes_named,
    read_inputs,
    read_outputs,
)
from phi_finetune.emulator.jobs.command import CommandSpec
from phi_finetune.emulator.jobs.spec import JobSpec, invalid, missing

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Node", "expand"]

_CATALOGUE = "azureml://registries/azureml/"
_NOT_RUN = (
    "automl",
    "data_transfer",
    "do_while",
    "if_else",
    "import",
    "parallel",
    "parallel_for",
    "spark",
    "sweep",
)


@dataclass(frozen=True)
class Node:
    """Something to run: the fine-tuning pipeline of the registry, or a command.

    Attributes:
        path: Its name, after those of the pipelines it is in; the job's name for a command job.
        title: How messages call what it runs.
        work: What it runs.
        inputs: Where its inputs come from.
        outputs: The job's output that each of its outputs is; one that stays inside the job is not here.
    """

    path: str
    title: str
    work: CatalogueComponent | CommandSpec
    inputs: Mapping[str, Source]
    outputs: Mapping[str, str]

    @property
    def declared_inputs(self) -> Mapping[str, Mapping[str, Any]]:
        """The inputs that it can be given, as a component's spec has them."""
        return self.work.inputs if isinstance(self.work, CommandSpec) else self.work.spec["inputs"]

    @property
    def declared_outputs(self) -> Collection[str]:
        """The names of its outputs."""
        return self.work.outputs if isinstance(self.work, CommandSpec) else self.work.spec["outputs"]

    @property
    def needs(self) -> set[str]:
        """The paths of the nodes whose outputs it takes."""
        return {source.node for source in self.inputs.values() if isinstance(source, Upstream)}


def expand(cloud: Cloud, spec: JobSpec) -> tuple[Node, ...]:
    """The nodes of a job, each after those that it needs.

    Raises:
        ServiceError: 400 for a job that cannot be run; 501 for a kind of node that the emulator does not run.
    """
    properties = spec.properties
    own = {name: name for name in spec.outputs}
    if spec.kind == "Command":
        inputs = read_inputs(properties.get("inputs") or {}, Scope())
        return (Node(spec.name, f"command job '{spec.name}'", command.of_job(properties), inputs, own),)
    if spec.kind == "FineTuning":
        component, inputs, outputs = fine_tuning.read(cloud, properties)
        return (
            Node(fine_tuning.NODE, _title(component.name, component.version), component, inputs, outputs),
        )
    settings = properties.get("settings") or {}
    compute = properties.get("computeId") or settings.get("default_compute") or command.SERVERLESS
    scope = Scope(read_inputs(properties.get("inputs") or {}, Scope()), dict(own))
    nodes = tuple(_Expansion(cloud, str(compute)).nodes(_jobs(properties), scope, ""))
    if not nodes:
        raise invalid("The pipeline has no nodes.")
    return nodes


def _jobs(properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """The nodes of a pipeline; one that is a component itself (service.md, "Pipeline") has that for its node."""
    component = properties.get("componentId")
    if properties.get("jobs") or not component:
        return properties.get("jobs") or {}
    whole = {
        "type": "pipeline",
        "componentId": component,
        "inputs": {name: f"${{{{parent.inputs.{name}}}}}" for name in properties.get("inputs") or {}},
        "outputs": {name: f"${{{{parent.outputs.{name}}}}}" for name in properties.get("outputs") or {}},
    }
    return {"pipeline": whole}


@dataclass(frozen=True)
class _Expansion:
    """One job being read: whose components it names, and the compute of nodes that name none."""

    cloud: Cloud
    compute: str

    def nodes(self, jobs: Mapping[str, Any], scope: Scope, prefix: str) -> Iterator[Node]:
        """The nodes of a pipeline, and of those inside it."""
        for name in _in_order(jobs, prefix):
            yield from self._node(name, jobs[name], scope, prefix)

    def _node(self, name: str, job: Mapping[str, Any], scope: Scope, prefix: str) -> Iterator[Node]:
        path = f"{prefix}{name}"
        if job.get("type") in _NOT_RUN:
            raise ServiceError(
                501, "NotImplemented", f"The emulator runs no {job['type']} nodes, as {path} is."
            )
        if not job.get("componentId"):
            raise missing(f"jobs.{path}.componentId")
        inputs = read_inputs(job.get("inputs") or {}, scope)
        outputs = read_outputs(job.get("outputs") or {}, scope)
        title, work = self._work(job)
        if not isinstance(work, dict):
            node = Node(path, title, work, inputs, outputs)
            scope.made.update({(name, output): Upstream(path, output) for output in node.declared_outputs})
            yield node
            return
        inner = Scope(
            _given(work, inputs, title), {one: outputs.get(one) for one in work.get("outputs") or {}}
        )
        inside: Mapping[str, Any] = work.get("jobs") or {}
        yield from self.nodes(inside, inner, f"{path}/")
        scope.made.update({(name, output): made for output, made in _exports(inside, inner)})

    def _work(self, job: Mapping[str, Any]) -> tuple[str, CatalogueComponent | CommandSpec | dict[str, Any]]:
        """What a node runs: a leaf, or the spec of a pipeline component."""
        reference = str(job["componentId"])
        try:
            if reference.startswith(_CATALOGUE):
                pipeline = self.cloud.registries.component(reference)
                return _title(pipeline.name, pipeline.version), pipeline
            component = self.cloud.assets.component(reference)
        except ServiceError as error:
            # service.md: the code that an unusable component has.
            raise ServiceError(400, "BadRequest", error.message) from error
        title, spec = _title(component.name, component.version), dict(component.spec)
        if spec["type"] == "pipeline":
            return title, spec
        return title, command.of_component(spec, job, self.compute)


def _title(name: str, version: str) -> str:
    return f"component '{name}:{version}'"


def _in_order(jobs: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """The names of nodes, each after those whose outputs it takes, else as they were sent."""
    waiting = {
        name: nodes_named(job.get("inputs") or {}) for name, job in jobs.items() if isinstance(job, dict)
    }
    for name in jobs.keys() - waiting.keys():
        raise missing(f"jobs.{prefix}{name}.componentId")
    while waiting:
        ready = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            raise invalid(f"The nodes {', '.join(sorted(waiting))} wait for each other.")
        for name in ready:
            del waiting[name]
        yield from ready


def _given(spec: Mapping[str, Any], inputs: Mapping[str, Source], title: str) -> dict[str, Source | None]:
    """The inputs of a pipeline component, defaults filled in."""
    declared: Mapping[str, Mapping[str, Any]] = spec.get("inputs") or {}
    given: dict[str, Source | None] = dict(inputs)
    for name in inputs:
        if name not in declared:
            raise invalid(f"Unknown input '{name}' of {title}.")
    for name, row in declared.items():
        if name not in given:
            given[name] = Value(str(row["default"])) if "default" in row else None
        if given[name] is None and row.get("optional") != "True":
            raise invalid(f"Required input '{name}' of {title} is missing.")
    return given


def _exports(jobs: Mapping[str, Any], scope: Scope) -> Iterator[tuple[str, Upstream]]:
    """Each output of a pipeline component, and the node inside that makes it."""
    every = Scope(outputs={name: name for name in scope.outputs})
    for name, job in jobs.items():
        for output, of_pipeline in read_outputs(job.get("outputs") or {}, every).items():
            yield of_pipeline, scope.made[name, output]
