"""How a job goes: what the runner says, unless a fault or the hardware says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.faults import JobFails
from phi_finetune.emulator.jobs.hardware import unfit
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Run

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["execute"]

_START = timedelta(seconds=20)


def execute(cloud: Cloud, inputs: JobInputs, computes: Mapping[str, str]) -> Run:
    """Run a job.

    Args:
        cloud: Whose runner, and whose faults.
        inputs: What the job is given.
        computes: The compute of each step.

    Raises:
        ValueError: A queued :class:`JobFails` names a step that the job does not have.
    """
    run = cloud.runner.run(inputs)
    for step in reversed(inputs.steps):
        failure = unfit(cloud, step, computes[step], inputs.values)
        if failure is not None:
            run = _failed(run, step, failure, failure.message, after=_START)
    fault = cloud.faults.take(JobFails)
    if fault is None:
        return run
    if fault.step not in inputs.steps:
        raise ValueError(
            f"the job has no step {fault.step!r} to fail: its steps are {', '.join(inputs.steps)}"
        )
    return _failed(run, fault.step, Failure(fault.code, fault.message), fault.log)


def _failed(run: Run, name: str, failure: Failure, log: str, *, after: timedelta | None = None) -> Run:
    """The same run up to a step that fails, by default at half its time. An earlier failure is kept."""
    names = [step.name for step in run.steps]
    if name not in names:
        return run
    step = run.steps[names.index(name)]
    lasts = step.lasts / 2 if after is None else after
    lines = [line for line in step.log if line[0] <= lasts]
    failed = replace(
        step,
        lasts=lasts,
        log=[*lines, *((lasts, line) for line in log.splitlines())],
        metrics=[metric for metric in step.metrics if metric.after <= lasts],
        failure=failure,
    )
    return Run([*run.steps[: names.index(name)], failed], {})
