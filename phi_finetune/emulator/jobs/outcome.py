"""How a job goes: what the runner says, unless a fault or the hardware says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.core.faults import JobFails, Preempted
from phi_finetune.emulator.jobs.hardware import longest, low_priority, unfit
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Run

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Outcome", "execute"]

_START = timedelta(seconds=20)


@dataclass(frozen=True)
class Outcome:
    """A job as it ran. Where ``halts`` is a state, the job stops in it, and its last step never ends."""

    run: Run
    halts: Literal["NotResponding", "Paused"] | None = None


def execute(cloud: Cloud, inputs: JobInputs, computes: Mapping[str, str]) -> Outcome:
    """Run a job.

    Args:
        cloud: Whose runner, and whose faults.
        inputs: What the job is given.
        computes: The compute of each step.

    Raises:
        ValueError: A queued :class:`JobFails` or :class:`Preempted` names a step that the job does not have,
            or a :class:`Preempted` one whose nodes cannot be taken away.
    """
    run = cloud.runner.run(inputs)
    for step in reversed(inputs.steps):
        failure = unfit(cloud, step, computes[step], inputs.values)
        if failure is not None:
            run = _cut(run, step, failure, failure.message, after=_START)
    run = _within_limits(cloud, run, computes)
    fault = cloud.faults.take(JobFails) or _preemption(cloud, computes)
    if fault is None:
        return Outcome(run)
    if fault.step not in inputs.steps:
        raise ValueError(
            f"the job has no step {fault.step!r} to fail: its steps are {', '.join(inputs.steps)}"
        )
    if fault.step not in [step.name for step in run.steps]:
        return Outcome(run)  # An earlier step fails.
    if fault.status != "Failed":
        return Outcome(_cut(run, fault.step), fault.status)
    return Outcome(_cut(run, fault.step, Failure(fault.code, fault.message), fault.log))


def _within_limits(cloud: Cloud, run: Run, computes: Mapping[str, str]) -> Run:
    for step in run.steps:
        limit = longest(cloud, computes[step.name])
        if step.lasts > limit:
            # The limit is documented, what the service says at its end is not: the words are ours.
            message = f"The run was ended: it took longer than {limit.days} days, the most on its nodes."
            return _cut(run, step.name, Failure("UserError", message), message, after=limit)
    return run


def _preemption(cloud: Cloud, computes: Mapping[str, str]) -> JobFails | None:
    fault = cloud.faults.take(Preempted)
    if fault is None:
        return None
    compute = computes.get(fault.step)
    if compute is not None and not low_priority(cloud, compute):
        raise ValueError(f"step {fault.step!r} cannot be preempted: {compute} is not of low priority")
    # The code is what users saw (MachineLearningNotebooks issue 1242); the words are ours.
    message = "PreemptionError: the low-priority nodes of the run were preempted."
    return JobFails(fault.step, "PreemptionError", message, log=message)


def _cut(
    run: Run, name: str, failure: Failure | None = None, log: str = "", *, after: timedelta | None = None
) -> Run:
    """The same run up to the middle of a step, or to a time after the step's start; an earlier end is kept."""
    names = [step.name for step in run.steps]
    if name not in names:
        return run
    step = run.steps[names.index(name)]
    lasts = step.lasts / 2 if after is None else after
    lines = [line for line in step.log if line[0] <= lasts]
    last = replace(
        step,
        lasts=lasts,
        log=[*lines, *((lasts, line) for line in log.splitlines())],
        metrics=[metric for metric in step.metrics if metric.after <= lasts],
        failure=failure,
    )
    return Run([*run.steps[: names.index(name)], last], {})
