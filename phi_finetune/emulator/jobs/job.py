"""A job: one walk through its states, which ARM, run history and MLflow all look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.catalogue import CatalogueComponent
from phi_finetune.emulator.core.clock import Progress, Stage
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs.child import Child
from phi_finetune.emulator.jobs.hardware import FINETUNE
from phi_finetune.emulator.jobs.outcome import execute
from phi_finetune.emulator.jobs.schedule import plan, stages
from phi_finetune.emulator.jobs.spec import JobSpec
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Metric, Run
from phi_finetune.emulator.storage.state import ARTIFACTSTORE

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ENDED", "Job"]

ENDED = ("Completed", "Failed", "Canceled", "NotResponding")
"""A paused job can go on, or be canceled, so it is not over."""

_PREPARING = timedelta(seconds=30)
_CANCELING = timedelta(seconds=15)  # met twice: a poller sees the request before the end (wire.md 13.3)


class Job:
    """A pipeline job of one registry component.

    It is prepared, then run: the runner is asked once, when the clock is there and somebody looks; what it
    gives is played back on the clock.

    Args:
        cloud: Where it runs.
        spec: What was asked for.
        inputs: What it is given.
        component: The pipeline.
        experiment_id: The id of its experiment.
    """

    def __init__(
        self,
        cloud: Cloud,
        spec: JobSpec,
        inputs: JobInputs,
        component: CatalogueComponent,
        experiment_id: str,
    ) -> None:
        self._cloud = cloud
        self._inputs = inputs
        self._component = component
        self._progress = Progress(cloud.clock, [Stage("Preparing", _PREPARING)], "Running")
        self._run: Run | None = None
        self._children: tuple[Child, ...] = ()
        self.parent: Job | None = None
        self.spec = spec
        self.name = self.id = spec.name
        self.experiment: str = spec.properties.get("experimentName") or "Default"
        self.experiment_id = experiment_id
        self.display_name: str = spec.properties.get("displayName") or spec.name
        self.description: str | None = spec.properties.get("description")
        self.tags: dict[str, str] = dict(spec.properties.get("tags") or {})
        self.properties: dict[str, str] = dict(spec.properties.get("properties") or {})
        self.archived = bool(spec.properties.get("isArchived"))
        self.created = cloud.clock.now()
        self.ended: datetime | None = None
        self.params: Mapping[str, str] = {}

    @property
    def status(self) -> str:
        """The state at the clock's time; looking moves nothing."""
        return self._settle(self._progress.state)

    def watch(self) -> str:
        """The state that a poller sees: watching lets time pass."""
        return self._settle(self._progress.watch())

    @property
    def started(self) -> datetime | None:
        """When it began to run; None while it is being prepared."""
        _ = self.status
        return next((when for name, when in self._progress.entered if name == "Running"), None)

    @property
    def children(self) -> Sequence[Child]:
        """The steps that were started, in order."""
        _ = self.status
        return [child for child in self._children if child.created <= self.horizon]

    @property
    def root(self) -> Job:
        """Itself: it is no step."""
        return self

    @property
    def now(self) -> datetime:
        """The clock's time."""
        return self._cloud.clock.now()

    @property
    def horizon(self) -> datetime:
        """Now, or when it ended."""
        _ = self.status
        return self.ended or self._cloud.clock.now()

    @property
    def outputs(self) -> Mapping[str, Mapping[str, Any]]:
        """The declared outputs, by name."""
        return self.spec.properties.get("outputs") or {}

    @property
    def metrics(self) -> Sequence[Metric]:
        """None: they are on the steps (pain.md N1)."""
        return ()

    @property
    def error(self) -> Failure | None:
        """Why it failed, which says no more than which step did (pain.md L1)."""
        if self.status != "Failed":
            return None
        failed = self._children[-1].display_name
        return Failure(
            "UserError",
            f"Pipeline has failed child jobs. Failed nodes: /{self.spec.node}/{failed}. For more details and "
            "logs, please go to the job detail page and check the child jobs.",
        )

    def instance_type(self, step: str) -> str:
        """The machine size that a step asks of serverless compute."""
        computes = {one.name: one.compute_input for one in self._component.steps}
        return self._inputs.values[computes[step].replace("compute_", "instance_type_")]

    def output_path(self, output: str) -> str:
        """Where an output lies in ``workspaceblobstore``: its own folder, unless the job named one.

        Raises:
            ServiceError: 400 where the job has no such output.
        """
        if output not in self.outputs:
            raise ServiceError(400, "UserError", f"Job {self.name} has no output named {output}.")
        uri = self.outputs[output].get("uri")
        if uri:
            return self._cloud.storage.locate(uri)[1].rstrip("/") + "/"
        return f"azureml/{self.name}/{output}/"

    def log_paths(self) -> dict[str, str]:
        """Where its logs lie in ``workspaceartifactstore``, by name."""
        if not self._children:
            return {}
        return {
            "logs/azureml/executionlogs.txt": f"ExperimentRun/dcid.{self.id}/logs/azureml/executionlogs.txt"
        }

    def log(self) -> str:
        """What the pipeline has logged of itself so far."""
        lines: list[tuple[datetime, str]] = []
        for child in self.children:
            lines.append(
                (child.created, f"Submitting 1 runs, first five are: {child.display_name}:{child.id}")
            )
            if child.ended is not None:
                lines.append((child.ended, f"Completing processing run id {child.id}."))
        if self.ended is not None and self.status == "Failed":
            lines.append(
                (
                    self.ended,
                    "Execution of experiment failed, update experiment status and cancel running nodes.",
                )
            )
        return "".join(f"[{when:%Y-%m-%d %H:%M:%SZ}] {text}\n" for when, text in lines)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Change what run history lets a client change; tags and properties are added to the present ones."""
        self.display_name = changes.get("displayName") or self.display_name
        self.description = changes.get("description", self.description)
        self.archived = bool(changes.get("hidden", self.archived))
        self.tags.update(changes.get("tags") or {})
        self.properties.update(changes.get("properties") or {})

    def cancel(self) -> None:
        """Ask it to stop; asking again changes nothing.

        Raises:
            ServiceError: 400 where it has ended (service.md).
        """
        status = self.status
        if status in ENDED:
            raise ServiceError(
                400,
                "UserError",
                f"The pipeline run {self.name} is in terminal status, it can't be canceled.",
                inner=("BadArgument", "CancelPipelineRunInTerminalStatus"),
            )
        if status != "CancelRequested":
            self._progress.cut([Stage("CancelRequested", _CANCELING)] * 2, "Canceled")

    def _settle(self, state: str) -> str:
        if self._run is None and state == "Running":
            self._begin()
            state = self._progress.state
        if self.ended is None and state in ENDED:
            self.ended = self._progress.entered[-1][1]
            if state == "Completed":
                self._write_outputs()
        return state

    def _begin(self) -> None:
        start = self._progress.entered[-1][1]
        values = self._inputs.values
        computes = {step.name: values[step.compute_input] for step in self._component.steps}
        outcome = execute(self._cloud, self._inputs, computes)
        self._run, halts = outcome.run, outcome.halts
        nodes = {FINETUNE: int(values["num_nodes_finetune"])}
        slots = plan(self._cloud, self._run.steps, start, computes, nodes)
        self._children = tuple(
            Child(self, self._cloud.ids.guid(), slot, halts=halts is not None and slot is slots[-1])
            for slot in slots
        )
        self._progress.extend(*stages(slots, halts))
        self._publish(self)
        for child in self._children:
            self._publish(child)

    def _publish(self, run: Job | Child) -> None:
        for path in run.log_paths().values():
            self._cloud.storage.put_live(path, lambda: run.log().encode(), datastore=ARTIFACTSTORE)

    def _write_outputs(self) -> None:
        given = self._run.outputs if self._run else {}
        for output, bound in self.spec.outputs.items():
            for name, data in given.get(output, {}).items():
                self._cloud.storage.put(self.output_path(bound) + name, data)
