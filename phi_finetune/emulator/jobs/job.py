"""A job: one walk through its states, which ARM, run history and MLflow all look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.clock import Progress, Stage
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs import outputs
from phi_finetune.emulator.jobs.child import Child
from phi_finetune.emulator.jobs.command import CommandSpec
from phi_finetune.emulator.jobs.graph import Node
from phi_finetune.emulator.jobs.outcome import NodeRun, execute
from phi_finetune.emulator.jobs.schedule import Slot, plan, stages
from phi_finetune.emulator.jobs.spec import JobSpec
from phi_finetune.emulator.jobs.underway import Underway
from phi_finetune.emulator.runners.engine import JobReport, StepReport
from phi_finetune.emulator.runners.runner import Failure, JobInputs, Metric
from phi_finetune.emulator.storage.state import ARTIFACTSTORE

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ENDED", "Job"]

ENDED = ("Completed", "Failed", "Canceled", "NotResponding")
"""A paused job can go on, or be canceled, so it is not over."""

_BEFORE = {
    "Command": (Stage("Starting", timedelta(seconds=10)), Stage("Queued", timedelta(seconds=20))),
    "FineTuning": (Stage("Preparing", timedelta(seconds=30)),),
    "Pipeline": (Stage("Preparing", timedelta(seconds=30)),),
}
"""What comes before a job runs (service.md has the states; how long they last is assumed)."""

_RUN_TYPES = {
    "Command": "azureml.scriptrun",
    "FineTuning": "azureml.PipelineRun",
    "Pipeline": "azureml.PipelineRun",
}
"""What run history calls a job of each kind; the word for a command is assumed."""
_CANCELING = timedelta(seconds=15)  # met twice: a poller sees the request before the end (wire.md 13.3)


class Job:
    """A job and what it runs.

    It is prepared, then run: its nodes are asked once, when the clock is there and somebody looks; what they
    give is played back on the clock.

    Args:
        cloud: Where it runs.
        spec: What was asked for.
        nodes: What it runs, in order.
        experiment_id: The id of its experiment.
    """

    def __init__(self, cloud: Cloud, spec: JobSpec, nodes: Sequence[Node], experiment_id: str) -> None:
        self._cloud = cloud
        self._nodes = nodes
        self._progress = Progress(cloud.clock, _BEFORE[spec.kind], "Running")
        self._runs: Sequence[NodeRun] | None = None
        self._steps: tuple[Child, ...] = ()
        self._underway: Underway | None = None
        self.parent: Job | None = None
        self.spec = spec
        self.name = self.id = spec.name
        self.run_type = _RUN_TYPES[spec.kind]
        self.experiment: str = spec.properties.get("experimentName") or "Default"
        self.experiment_id = experiment_id
        self.display_name: str = spec.properties.get("displayName") or spec.name
        self.description: str | None = spec.properties.get("description")
        self.tags: dict[str, str] = dict(spec.properties.get("tags") or {})
        self.properties: dict[str, str] = dict(spec.properties.get("properties") or {})
        self.archived = bool(spec.properties.get("isArchived"))
        self.created = cloud.clock.now()
        self.ended: datetime | None = None

    @property
    def status(self) -> str:
        """The state at the clock's time; looking moves nothing."""
        return self._settle(self._progress.state)

    def watch(self) -> str:
        """The state that a poller sees: watching lets time pass."""
        return self._settle(self._progress.watch())

    @property
    def started(self) -> datetime | None:
        """When it began to run; None before."""
        _ = self.status
        if self._single:
            return self._steps[0].started if self._steps else None
        return next((when for name, when in self._progress.entered if name == "Running"), None)

    @property
    def steps(self) -> Sequence[Child]:
        """What was started of its work, in order: the steps of a pipeline, or a command itself."""
        _ = self.status
        return [step for step in self._steps if step.created <= self.horizon]

    @property
    def children(self) -> Sequence[Child]:
        """The steps that are runs of their own; a command job has none."""
        return [] if self._single else self.steps

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
        return self.spec.outputs

    @property
    def compute(self) -> str | None:
        """The compute of a command; the steps of a pipeline have each their own."""
        work = self._nodes[0].work
        return work.compute if isinstance(work, CommandSpec) and self._single else None

    @property
    def params(self) -> Mapping[str, str]:
        """What a command has logged of its parameters; a pipeline logs none, its steps do."""
        return self._steps[0].params if self._single and self._steps else {}

    @property
    def metrics(self) -> Sequence[Metric]:
        """What a command has logged; those of a pipeline are on its steps (pain.md N1)."""
        return self._steps[0].metrics if self._single and self._steps else ()

    @property
    def error(self) -> Failure | None:
        """Why it failed; of a pipeline that says no more than which steps did (pain.md L1)."""
        if self.status != "Failed":
            return None
        if self._single:
            return self._steps[0].slot.step.failure
        ended = self._underway.ended if self._underway else None
        if ended is not None and ended.failure is not None:
            return ended.failure
        failed = [f"/{_path(step.slot)}" for step in self.steps if step.status == "Failed"]
        return Failure(
            "UserError",
            f"Pipeline has failed child jobs. Failed nodes: {', '.join(failed)}. For more details and "
            "logs, please go to the job detail page and check the child jobs.",
        )

    def output_path(self, output: str) -> str:
        """Where an output lies in ``workspaceblobstore``: its own folder or file, unless the job named one.

        Raises:
            ServiceError: 400 where the job has no such output.
        """
        if output not in self.outputs:
            raise ServiceError(400, "UserError", f"Job {self.name} has no output named {output}.")
        return outputs.path(self._cloud, self.name, output, self.outputs[output])

    def log_paths(self) -> dict[str, str]:
        """Where its logs lie in ``workspaceartifactstore``, by name."""
        if not self._steps and self._underway is None:
            return {}
        name = "user_logs/std_log.txt" if self._single else "logs/azureml/executionlogs.txt"
        return {name: f"ExperimentRun/dcid.{self.id}/{name}"}

    def log(self) -> str:
        """What a command has written so far, or what a pipeline has logged of itself."""
        if self._single:
            return self._steps[0].log()
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
        ordered = sorted(lines, key=lambda line: line[0])
        return "".join(f"[{when:%Y-%m-%d %H:%M:%SZ}] {text}\n" for when, text in ordered)

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
                f"The {'run' if self._single else 'pipeline run'} {self.name} is in terminal status, it can't be "
                "canceled.",
                inner=("BadArgument", "CancelPipelineRunInTerminalStatus"),
            )
        if self._underway is not None:
            self._progress.cut([], "CancelRequested")
        elif status != "CancelRequested":
            self._progress.cut([Stage("CancelRequested", _CANCELING)] * 2, "Canceled")

    @property
    def is_wanted(self) -> bool:
        """Whether an engine should be running it now."""
        return self._underway is not None and self.status == "Running"

    def work(self) -> JobInputs:
        """What an engine is given to run it."""
        assert self._underway is not None
        return self._underway.inputs

    @property
    def is_underway(self) -> bool:
        """Whether an engine runs it, or has still to end it."""
        return self._underway is not None and self.status not in ENDED

    def knows(self, report: StepReport | JobReport) -> bool:
        """Whether what the engine tells is nothing new."""
        if not self.is_underway or self._underway is None:
            return True
        return isinstance(report, StepReport) and self._underway.knows(report)

    def hear(self, report: StepReport | JobReport) -> None:
        """Note what the engine tells of it; what comes after its end changes nothing."""
        if not self.is_underway or self._underway is None:
            return
        if isinstance(report, StepReport):
            step = self._underway.hear(report)
            if step is not None:
                self._steps = (*self._steps, step)
                self._publish(step)
            self._cloud.clock.turns += 1
            return
        self._underway.ended = report
        self._progress.cut([], report.state, when=report.when)

    @property
    def _single(self) -> bool:
        """Whether it is a command, which has no runs below it."""
        return self.spec.kind == "Command"

    def _settle(self, state: str) -> str:
        if self._runs is None and state == "Running" and self._underway is None:
            self._begin()
            state = self._progress.state
        if self.ended is None and state in ENDED:
            self.ended = self._progress.entered[-1][1]
            self._write_outputs(state)
        return state

    def _begin(self) -> None:
        if self._cloud.engine is not None:
            self._underway = Underway(self._cloud, self, self._nodes[0])
            self._publish(self)
            return
        start = self._progress.entered[-1][1]
        outcome = execute(self._cloud, self.name, self._nodes)
        self._runs, halts = outcome.nodes, outcome.halts
        settings = self.spec.properties.get("settings") or {}
        slots = plan(self._cloud, outcome, start, keep_going=settings.get("continue_on_step_failure") is True)
        self._steps = tuple(
            Child(self, self._run_id(), slot, halts=halts is not None and slot is slots[-1]) for slot in slots
        )
        self._progress.extend(*stages(slots, halts, waits_itself=self._single))
        self._publish(self)
        for step in () if self._single else self._steps:
            self._publish(step)

    def _run_id(self) -> str:
        return self.name if self._single else self._cloud.ids.guid()

    def _publish(self, run: Job | Child) -> None:
        for path in run.log_paths().values():
            self._cloud.storage.put_live(path, lambda: run.log().encode(), datastore=ARTIFACTSTORE)

    def _write_outputs(self, state: str) -> None:
        if self._underway is not None and self._underway.ended is not None:
            outputs.link(self._cloud, self, self._underway.node, self._underway.ended.outputs)
        for run in self._runs or ():
            steps = [step for step in self._steps if step.slot.node == run.node.path]
            if all(step.status == "Completed" for step in steps):
                outputs.write(self._cloud, self, run)
        if state == "Completed":
            outputs.register(self._cloud, self)


def _path(slot: Slot) -> str:
    """How messages name a step: by its node, and by itself where the node has several."""
    last = slot.node.rpartition("/")[2]
    return slot.node if slot.step.name == last else f"{slot.node}/{slot.step.name}"
