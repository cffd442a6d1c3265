"""How a job goes: what its nodes make of it, unless a fault, a limit or the hardware says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.catalogue import CatalogueComponent
from phi_finetune.emulator.core.faults import JobFails, Preempted
from phi_finetune.emulator.jobs import files
from phi_finetune.emulator.jobs.bindings import Source, Value, literals
from phi_finetune.emulator.jobs.command import CommandSpec
from phi_finetune.emulator.jobs.graph import Node
from phi_finetune.emulator.jobs.hardware import FINETUNE, Place, longest, low_priority, unfit
from phi_finetune.emulator.runners.commands import CommandInputs
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Run, Step

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["NodeRun", "Outcome", "execute", "job_inputs", "places"]

Halt = Literal["Canceled", "NotResponding", "Paused"]

_START = timedelta(seconds=20)


@dataclass(frozen=True)
class NodeRun:
    """A node as it ran: its steps, each with its place, and the files of its outputs."""

    node: Node
    run: Run
    places: Sequence[Place]

    @property
    def failed(self) -> bool:
        """Whether its last step failed."""
        return self.run.steps[-1].failure is not None


@dataclass(frozen=True)
class Outcome:
    """A job as it ran: its nodes, but those that a failed one kept from running.

    Where ``halts`` is a state, the job stops in it, and the last step of its last node never ends.
    """

    nodes: Sequence[NodeRun]
    halts: Halt | None = None


@dataclass
class _Execution:
    """A job under way: the fault that it meets, and what its nodes have made so far."""

    cloud: Cloud
    job_name: str
    fault: JobFails | None
    made: dict[tuple[str, str], Mapping[str, bytes]] = field(default_factory=dict)
    halts: Halt | None = None


def execute(cloud: Cloud, job_name: str, nodes: Sequence[Node]) -> Outcome:
    """Run a job.

    Args:
        cloud: Whose runner, whose commands, and whose faults.
        job_name: The job.
        nodes: Its nodes, each after those that it needs.

    Raises:
        ValueError: A queued :class:`JobFails` or :class:`Preempted` names a step that the job does not have,
            or a :class:`Preempted` one whose nodes cannot be taken away.
    """
    steps = {name: place for node in nodes for name, place in places(node).items()}
    execution = _Execution(cloud, job_name, _fault(cloud, steps))
    runs: dict[str, NodeRun] = {}
    for node in nodes:
        if any(need not in runs or runs[need].failed for need in node.needs):
            continue
        runs[node.path] = _run(execution, node)
        if execution.halts is not None:
            break
    return Outcome(tuple(runs.values()), execution.halts)


def _run(execution: _Execution, node: Node) -> NodeRun:
    cloud, where = execution.cloud, places(node)
    if isinstance(node.work, CommandSpec):
        run = cloud.commands.run(_command_inputs(execution, node, node.work))
    else:
        run = cloud.runner.run(job_inputs(cloud, execution.job_name, node, execution.made))
    for step, place in reversed(where.items()):
        failure = unfit(cloud, place)
        if failure is not None:
            run = _cut(run, step, failure, failure.message, after=_START)
    run = _faulty(execution, _within_limits(execution, run, where))
    if not run.steps[-1].failure and execution.halts is None:
        execution.made.update({(node.path, name): made for name, made in run.outputs.items()})
    return NodeRun(node, run, [where[step.name] for step in run.steps])


def places(node: Node) -> dict[str, Place]:
    """Where each step of a node runs, by the step's name."""
    work = node.work
    if isinstance(work, CommandSpec):
        name = node.path.rpartition("/")[2]
        return {name: Place(work.compute, work.instance_type, work.nodes, 0, work.limit, work.environment)}
    return dict(_of_pipeline(work, _values(node, work)))


def _of_pipeline(work: CatalogueComponent, values: Mapping[str, str]) -> Iterator[tuple[str, Place]]:
    for step in work.steps:
        compute = values[step.compute_input]
        size = values[step.compute_input.replace("compute_", "instance_type_")]
        nodes, gpus = 1, 0
        if step.name == FINETUNE:
            nodes, gpus = int(values["num_nodes_finetune"]), int(values["number_of_gpu_to_use_finetuning"])
        yield step.name, Place(compute, size, nodes, gpus)


def _values(node: Node, work: CatalogueComponent) -> dict[str, str]:
    declared = work.spec["inputs"]
    defaults = {name: str(row["default"]) for name, row in declared.items() if "default" in row}
    return {**defaults, **literals(node.inputs)}


def job_inputs(cloud: Cloud, job: str, node: Node, made: files.Made) -> JobInputs:
    """What a node that is a fine-tune is given, out of what the nodes before it have made."""
    work, rows = node.work, node.declared_inputs
    assert isinstance(work, CatalogueComponent)
    given = files.model_input(node)
    return JobInputs(
        name=job,
        values=_values(node, work),
        files={
            name: files.single(name, files.find(cloud, name, source, rows[name], made))
            for name, source in node.inputs.items()
            if rows[name]["type"] == "uri_file"
        },
        model=_base_model(cloud, given, node.inputs[given], made),
        model_id=str(node.inputs[given]),
        steps=[step.name for step in work.steps],
    )


def _base_model(cloud: Cloud, name: str, source: Source, made: files.Made) -> Mapping[str, bytes]:
    if isinstance(source, Value):
        return files.of_model(cloud, source.text)
    return files.find(cloud, name, source, {"type": "mlflow_model"}, made)


def _command_inputs(execution: _Execution, node: Node, work: CommandSpec) -> CommandInputs:
    cloud, values = execution.cloud, literals(node.inputs)
    rows = node.declared_inputs
    return CommandInputs(
        name=node.path.rpartition("/")[2],
        line=work.line(node.inputs),
        values={**{name: str(row["default"]) for name, row in rows.items() if "default" in row}, **values},
        files={
            name: files.find(cloud, name, source, rows[name], execution.made)
            for name, source in node.inputs.items()
            if name not in values
        },
        outputs=work.outputs,
        code={} if work.code is None else cloud.assets.code_files(work.code),
        environment=work.environment,
        environment_variables=work.variables,
        instance_count=work.nodes,
    )


def _within_limits(execution: _Execution, run: Run, places: Mapping[str, Place]) -> Run:
    for step in run.steps:
        place = places[step.name]
        limit = longest(execution.cloud, place.compute)
        if place.limit is not None and place.limit <= limit and step.lasts > place.limit:
            # Azure's reference of the command job: the system cancels a job that reaches its limit. How it says
            # so is not documented, nor what becomes of a pipeline: that it is canceled with it is assumed.
            execution.halts = "Canceled"
            return _cut(
                run, step.name, log="The run was canceled: it reached its time limit.", after=place.limit
            )
        if step.lasts > limit:
            # The limit is documented, what the service says at its end is not: the words are ours.
            message = f"The run was ended: it took longer than {limit.days} days, the most on its nodes."
            return _cut(run, step.name, Failure("UserError", message), message, after=limit)
    return run


def _faulty(execution: _Execution, run: Run) -> Run:
    fault = execution.fault
    if fault is None or fault.step not in [step.name for step in run.steps]:
        return run  # Another node's step, or an earlier step fails.
    execution.fault = None
    if fault.status != "Failed":
        execution.halts = fault.status
        return _cut(run, fault.step)
    return _cut(run, fault.step, Failure(fault.code, fault.message), fault.log)


def _fault(cloud: Cloud, places: Mapping[str, Place]) -> JobFails | None:
    """The fault that is queued for the job, with the step that it strikes."""
    fault = cloud.faults.take(JobFails) or _preemption(cloud, places)
    if fault is None:
        return None
    if fault.step is None:
        return replace(fault, step=_usual(places))
    if fault.step not in places:
        raise ValueError(f"the job has no step {fault.step!r} to fail: its steps are {', '.join(places)}")
    return fault


def _usual(places: Mapping[str, Place]) -> str:
    """The step that a fault strikes which names none."""
    return FINETUNE if FINETUNE in places else list(places)[-1]


def _preemption(cloud: Cloud, places: Mapping[str, Place]) -> JobFails | None:
    fault = cloud.faults.take(Preempted)
    if fault is None:
        return None
    step = _usual(places) if fault.step is None else fault.step
    if step in places and not low_priority(cloud, places[step].compute):
        raise ValueError(f"step {step!r} cannot be preempted: {places[step].compute} is not of low priority")
    # The code is what users saw (MachineLearningNotebooks issue 1242); the words are ours.
    message = "PreemptionError: the low-priority nodes of the run were preempted."
    return JobFails(step, "PreemptionError", message, log=message)


def _cut(
    run: Run, name: str, failure: Failure | None = None, log: str = "", *, after: timedelta | None = None
) -> Run:
    """The same run up to the middle of a step, or to a time after the step's start; an earlier end is kept."""
    names = [step.name for step in run.steps]
    if name not in names:
        return run
    place = names.index(name)
    return Run([*run.steps[:place], _shortened(run.steps[place], failure, log, after)], {})


def _shortened(step: Step, failure: Failure | None, log: str, after: timedelta | None) -> Step:
    lasts = step.lasts / 2 if after is None else after
    lines = [line for line in step.log if line[0] <= lasts]
    return replace(
        step,
        lasts=lasts,
        log=[*lines, *((lasts, line) for line in log.splitlines())],
        metrics=[metric for metric in step.metrics if metric.after <= lasts],
        failure=failure,
    )
