"""The jobs of one cloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs import checks, outputs, underway
from phi_finetune.emulator.jobs.child import Child
from phi_finetune.emulator.jobs.graph import expand
from phi_finetune.emulator.jobs.job import ENDED, Job
from phi_finetune.emulator.jobs.spec import JobSpec
from phi_finetune.emulator.runners.engine import JobReport, StepReport

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ENDED", "Child", "Job", "Jobs", "job_missing"]

_IMAGE_BUILD = timedelta(minutes=5)
"""How long the image of an environment of the workspace takes at its first use (assumed); registries have images."""


def job_missing(name: str) -> ServiceError:
    """404 for a job (service.md)."""
    return ServiceError(404, "UserError", f"Could not find job with name: {name}", inner=("NotFound",))


class Jobs:
    """All jobs, by name, and the experiments they belong to."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._jobs: dict[str, Job] = {}
        self._images: dict[str, datetime] = {}
        self.experiments: dict[str, str] = {}

    def submit(self, spec: JobSpec) -> Job:
        """Take a job.

        A name is good for one job, also where the body is the same: how the service answers a repeated PUT is
        not known (reliability.md 4), and this is the answer that a client must be able to bear.

        Raises:
            ServiceError: 409 where there is a job of that name; 400 for an invalid one.
        """
        if spec.name in self._jobs:
            raise ServiceError(409, "UserError", f"A job with this name already exists: {spec.name}.")
        checks.check_job(self._cloud, spec)
        outputs.check(self._cloud, spec)
        nodes = expand(self._cloud, spec)
        for node in nodes:
            checks.check(self._cloud, node)
        if self._cloud.engine is not None:
            underway.check(nodes)
        experiment = spec.properties.get("experimentName") or "Default"
        experiment_id = self.experiments.setdefault(experiment, self._cloud.ids.guid())
        job = Job(self._cloud, spec, nodes, experiment_id)
        self._jobs[spec.name] = job
        return job

    def find(self, name: str) -> Job:
        """A job by its name.

        Raises:
            ServiceError: 404 where there is none.
        """
        job = self._jobs.get(name)
        if job is None:
            raise job_missing(name)
        return job

    def find_run(self, run_id: str) -> Job | Child:
        """A job, or a step of one, by its id.

        Raises:
            ServiceError: 404 where there is none.
        """
        for run in self.runs():
            if run.id == run_id:
                return run
        raise ServiceError(404, "UserError", f"RunId {run_id} was not found.", inner=("NotFound",))

    def all(self) -> Sequence[Job]:
        """Every job, the oldest first."""
        return tuple(self._jobs.values())

    def runs(self) -> Iterator[Job | Child]:
        """Every job, each followed by its steps."""
        for job in self.all():
            yield job
            yield from job.children

    def hear(self, report: StepReport | JobReport) -> None:
        """Note what the engine tells of a job, if there is one of that name."""
        job = self._jobs.get(report.job)
        if job is not None:
            job.hear(report)

    def settle(self) -> None:
        """Let every job do what is due by the clock, so that no reader finds an output or log missing."""
        for job in self._jobs.values():
            _ = job.status

    def busy(self, compute: str) -> tuple[int, datetime | None]:
        """The nodes of a compute that run steps now, and until when the last of its finished steps ran."""
        steps = self.steps_on(compute)
        now = self._cloud.clock.now()
        nodes = sum(step.slot.nodes for step in steps if step.hold.until > now)
        return nodes, max((step.ended for step in steps if step.ended is not None), default=None)

    def steps_on(self, compute: str) -> Sequence[Child]:
        """The steps and commands that have begun on a compute, ended or not."""
        steps = (step for job in self.all() for step in job.steps if step.started is not None)
        return [step for step in steps if step.slot.compute.lower() == compute.lower()]

    def image_ready(self, environment: str | None, when: datetime) -> datetime:
        """From when on an environment's image is there, which is built when a job needs it for the first time."""
        if environment is None or environment.startswith("azureml://registries/"):
            return when
        return max(when, self._images.setdefault(environment.lower(), when + _IMAGE_BUILD))
