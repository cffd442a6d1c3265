"""A step of a job as a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.holds import Hold, end_of
from phi_finetune.emulator.jobs.schedule import Slot
from phi_finetune.emulator.runners.runner import Failure, Metric, Step

if TYPE_CHECKING:
    from phi_finetune.emulator.jobs.job import Job

__all__ = ["Child"]


class Child:
    """A step of a job: its state follows from the job's clock and the time that the step was given.

    Args:
        parent: The job.
        run_id: Its own id.
        slot: What it does, and when.
        halts: Whether it never ends, as the job stops at the end of the slot: then nobody has heard of it
            since, and it is ``Running`` to run history.
        written: Gives the step with what it has written by now, where an engine runs it.
    """

    def __init__(
        self,
        parent: Job,
        run_id: str,
        slot: Slot,
        *,
        halts: bool = False,
        written: Callable[[str], Step] | None = None,
    ) -> None:
        self.parent = parent
        self.id = run_id
        self.slot = slot
        self._halts = halts
        self._written = written
        self.display_name = slot.step.name
        self.experiment = parent.experiment
        self.experiment_id = parent.experiment_id
        self.tags: Mapping[str, str] = {}
        self.properties: Mapping[str, str] = {
            "azureml.runsource": "azureml.StepRun",
            "azureml.moduleName": slot.step.name,
        }
        self.created = slot.queued

    @property
    def root(self) -> Job:
        """The job."""
        return self.parent

    @property
    def status(self) -> str:
        """The state at the clock's time; looking moves nothing."""
        parent, horizon = self.parent.status, self.parent.horizon
        if self._over and self.slot.canceled:
            return "Canceled"
        if self._over:
            return "Failed" if self.slot.step.failure else "Completed"
        if parent in ("CancelRequested", "Canceled"):
            return parent
        if horizon < self.slot.prepared:
            return "Preparing"
        return "Queued" if horizon < self.slot.begins else "Running"

    def watch(self) -> str:
        """The state that a poller sees: watching lets the job's time pass."""
        self.parent.watch()
        return self.status

    @property
    def started(self) -> datetime | None:
        """When it had its nodes; None before, and for one that was canceled before."""
        never = self.slot.canceled and self.slot.ends <= self.slot.begins
        return self.slot.begins if not never and self.slot.begins <= self.parent.horizon else None

    @property
    def ended(self) -> datetime | None:
        """When it ended; None before."""
        if self._over:
            return self.slot.ends
        return None if self.status == "Running" else self.parent.ended

    @property
    def hold(self) -> Hold:
        """Its nodes, from when it has them until its end; while it runs, nobody knows of one."""
        # A job that does not respond has ended, though nobody has heard the end of its step.
        ended = self.ended or self.parent.ended
        ending = self.parent.status == "CancelRequested"
        return Hold(self.slot.nodes, self.slot.begins, end_of(ended, self.parent.now, ending=ending))

    @property
    def params(self) -> Mapping[str, str]:
        """The parameters that it logged as it started."""
        return self._step.params if self.started else {}

    @property
    def metrics(self) -> Sequence[Metric]:
        """What it has logged so far."""
        until = self.parent.horizon - self.slot.begins
        return [metric for metric in self._step.metrics if metric.after <= until]

    @property
    def error(self) -> Failure | None:
        """Why it failed, in its own words."""
        return self.slot.step.failure if self.status == "Failed" else None

    @property
    def _step(self) -> Step:
        return self._written(self.slot.step.name) if self._written else self.slot.step

    @property
    def _over(self) -> bool:
        return not self._halts and self.slot.ends <= self.parent.horizon

    def log_paths(self) -> dict[str, str]:
        """Where its log lies in ``workspaceartifactstore``, by name."""
        return {"user_logs/std_log.txt": f"ExperimentRun/dcid.{self.id}/user_logs/std_log.txt"}

    def log(self) -> str:
        """What it has written so far."""
        until = self.parent.horizon - self.slot.begins
        return "".join(f"{text}\n" for after, text in self._step.log if after <= until)
