"""Jobs that an engine really runs: what is asked of it, and what its reports make of the job's steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.holds import FOREVER
from phi_finetune.emulator.jobs.child import Child
from phi_finetune.emulator.jobs.command import CommandSpec
from phi_finetune.emulator.jobs.graph import Node
from phi_finetune.emulator.jobs.hardware import FINETUNE
from phi_finetune.emulator.jobs.outcome import job_inputs, places
from phi_finetune.emulator.jobs.schedule import Slot
from phi_finetune.emulator.jobs.spec import invalid
from phi_finetune.emulator.runners.engine import JobReport, StepReport
from phi_finetune.emulator.runners.runner import JobInputs, Step

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.jobs.job import Job

__all__ = ["Underway", "check"]

_MLTABLE = "_mltable_path"


def check(nodes: Sequence[Node]) -> None:
    """Refuse a job that no engine can run.

    Raises:
        ServiceError: 400, for one that is not a single fine-tune, or whose rows are in an MLTable.
    """
    if len(nodes) != 1 or isinstance(nodes[0].work, CommandSpec):
        raise invalid(
            "This workspace runs its jobs on one machine, and fine-tuning pipelines alone, one in each job: no "
            "commands, and no pipelines of several components."
        )
    for name in nodes[0].inputs:
        if name.endswith(_MLTABLE):
            wanted = name.replace(_MLTABLE, "_file_path")
            raise invalid(
                f"This workspace reads no MLTable, as input '{name}' is: give {wanted}, JSON lines."
            )


@dataclass
class Underway:
    """A job that an engine runs.

    Attributes:
        steps: The steps that were started, in order.
        ended: The last report, of the job itself; None before.
    """

    cloud: Cloud = field(repr=False)
    job: Job = field(repr=False)
    node: Node = field(repr=False)
    steps: list[Child] = field(default_factory=list)
    ended: JobReport | None = None

    @property
    def inputs(self) -> JobInputs:
        """What it is given, read when it is asked for."""
        return job_inputs(self.cloud, self.job.name, self.node, {})

    def hear(self, report: StepReport) -> Child | None:
        """Note what became of a step; one that is new is given."""
        known = next((step for step in self.steps if step.slot.step.name == report.step), None)
        if known is None:
            step = Child(self.job, self.cloud.ids.guid(), self._slot(report), written=self._written)
            self.steps.append(step)
            return step
        if report.state != "Running":
            known.slot = _ended(known.slot, report)
        return None

    def knows(self, report: StepReport) -> bool:
        """Whether a report says nothing new."""
        known = next((step for step in self.steps if step.slot.step.name == report.step), None)
        return known is not None and (report.state == "Running" or known.slot.ends != FOREVER)

    def _slot(self, report: StepReport) -> Slot:
        where = places(self.node)
        # A step that only the engine has runs where the training did.
        place = where.get(report.step, where[FINETUNE])
        when = report.when
        slot = Slot(Step(report.step, timedelta(0)), self.node.path, place, when, when, when, FOREVER)
        return slot if report.state == "Running" else _ended(slot, report)

    def _written(self, step: str) -> Step:
        written = self.cloud.engine.written(self.job.name, step) if self.cloud.engine else None
        if written is None:
            return Step(step, timedelta(0))
        lines = [(timedelta(0), line) for line in written.log.splitlines()]
        return Step(step, timedelta(0), lines, written.metrics, written.params)


def _ended(slot: Slot, report: StepReport) -> Slot:
    step = replace(slot.step, lasts=report.when - slot.begins, failure=report.failure)
    return replace(slot, step=step, ends=report.when, canceled=report.state == "Canceled")
