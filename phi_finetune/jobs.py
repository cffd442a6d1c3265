"""Fine-tune jobs: followed, explained when they fail, and turned into models when they do not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._lineage import DATA, MODEL
from phi_finetune._log_lines import log_lines
from phi_finetune._names import digest
from phi_finetune._reconcile import DOUBTFUL, Change, settle
from phi_finetune._waiting import Look, Patience, wait_for, watch
from phi_finetune.diagnosis import Diagnosis, JobStep, diagnose, failure, log_of, written_since
from phi_finetune.errors import (
    ConfigurationError,
    InvalidParameter,
    NotFound,
    ServiceError,
    UnexpectedAnswer,
)
from phi_finetune.events import Event, JobMoved, LogLine

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.metrics import TrainingMetrics
    from phi_finetune.registered_models import RegisteredModel

__all__ = ["FinetuneJob", "JobOutput"]

LONGEST_JOB: Final = timedelta(days=7)
GOING: Final = frozenset(
    {
        "NotStarted",
        "Queued",
        "Preparing",
        "Provisioning",
        "Starting",
        "Running",
        "Finalizing",
        "CancelRequested",
        "Scheduled",
    }
)
SPENT: Final = frozenset({"Failed", "Canceled", "NotResponding"})
"""States of a job that ended, and made nothing."""
ENDED: Final = SPENT | {"Completed", "Paused"}

FIRST_LOOK_S, LONGEST_PAUSE_S = 10.0, 60.0
"""A fine-tune takes an hour; nothing is gained by looking more often."""
_LONGEST_MODEL_NAME = 100


@attrs.frozen
class JobOutput:
    """What a job made.

    Attributes:
        name: The output's name; the model is ``"trained_model"``.
        type: Azure's word for its type, such as ``"mlflow_model"``.
        uri: Its address.
    """

    name: str
    type: str
    uri: str


@attrs.frozen(slots=False)
class FinetuneJob(WithoutHandle):
    """A submitted job, as it was when last looked at. ``refresh()`` and ``wait()`` give the newer one.

    Attributes:
        name: Its name.
        status: Its state, as Azure names it.
        display_name: How the studio shows it.
        experiment: What it is listed under.
        description: A text for people.
        tags: Its tags.
        base_model: The asset id of the model it trains from; None where it is not known.
        studio_url: Where the studio shows it.
        created_at: When the service accepted it; None where that was not yet looked up.
    """

    name: str
    status: str
    display_name: str | None = None
    experiment: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    base_model: str | None = None
    studio_url: str | None = None
    created_at: datetime | None = None
    outputs: Mapping[str, JobOutput] = attrs.field(factory=dict, hash=False)
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"job {self.name}"

    @property
    def ended(self) -> bool:
        """Whether it was over when last looked at."""
        return self.status in ENDED

    def refresh(self) -> FinetuneJob:
        """The job as it is now.

        Raises:
            NotFound: It is not there.
        """
        from phi_finetune._azure.jobs import get_job

        client = self._handle()
        return from_arm(get_job(client, self.name), client)

    def wait(self, *, timeout: timedelta = LONGEST_JOB) -> FinetuneJob:
        """Wait until the job has completed, and give it.

        A Ctrl-C leaves the job running; ``ws.job(name)`` finds it again.

        Args:
            timeout: How long at most.

        Raises:
            JobFailed: It ended in any other way than Completed; with the failed step's own error and log.
            JobCanceled: Somebody canceled it.
            DeadlineExceeded: It has not ended in time; it goes on.
        """
        call = self._limited(timeout)
        done = wait_for(call._look(), call._patience(timeout))
        done.attached_to(call._handle())._check_success()
        return done

    def _check_success(self) -> None:
        """Raise the error of a job that ended in any other way than Completed."""
        if self.status != "Completed" and self.ended:
            raise failure(self.diagnose(), self.resource)

    def events(self, *, timeout: timedelta = LONGEST_JOB, after: LogLine | None = None) -> Iterator[Event]:
        """Follow the job: its states, those of its steps, and each line of its log once, until it ends.

        A line is told when its end has been written, or the job has ended.

        Args:
            timeout: How long at most.
            after: The last line of its log that was told before, to go on after it: in another process too, as a
                line can be pickled. States are told anew. None begins at the log's beginning.

        Raises:
            DeadlineExceeded: It has not ended in time; it goes on.
            InvalidParameter: ``after`` is of another job.
        """
        if after is not None and after.resource != self.resource:
            raise InvalidParameter(
                "The line is from another log", name="after", value=after.resource, allowed=self.resource
            )
        call = self._limited(timeout)
        look = call._look_at_run({} if after is None else after.read)
        for seen in watch(look, call._patience(timeout)):
            yield from seen.news

    def children(self) -> tuple[JobStep, ...]:
        """The job's steps, in the order in which they began."""
        from phi_finetune._azure.run_history import child_runs

        steps = [_step(run) for run in child_runs(self._handle(), self.name)]
        late = datetime.max.replace(tzinfo=UTC)
        return tuple(sorted(steps, key=lambda step: step.started_at or late))

    def logs(self, step: str | None = None) -> str:
        """What the job, or one of its steps, has written so far.

        Args:
            step: The step's name; None is the pipeline itself.

        Raises:
            NotFound: The job has no such step yet.
        """
        from phi_finetune._azure.run_history import run_details

        call = self._limited()
        client = call._handle()
        run = self.name if step is None else call._step(step).run
        return log_of(client, run, run_details(client, run))

    def metrics(self) -> TrainingMetrics:
        """What the job and its steps have logged to MLflow so far."""
        from phi_finetune.metrics import gather

        return gather(self._limited()._handle(), self.name)

    def cancel(self, *, timeout: timedelta = timedelta(minutes=30)) -> FinetuneJob:
        """Cancel the job, and wait until it has ended. One that has ended already is left as it is.

        Args:
            timeout: How long to wait for its end.

        Raises:
            DeadlineExceeded: It has not ended in time; it may still be running.
        """
        from phi_finetune._azure.jobs import cancel_job

        call = self._limited(timeout)
        client = call._handle()
        next_call = f'ws.job("{self.name}").cancel() asks again'
        change = Change(
            self.resource, f"{self.resource} may still be running", next_call, client.clock, client.notify
        )
        refusal = settle(partial(cancel_job, client, self.name), call._ends, change, _doubt)
        if isinstance(refusal, ServiceError):
            now = call.refresh()
            if now.ended:
                return now
            raise refusal
        return wait_for(call._look(), call._patience(timeout))

    def _ends(self) -> FinetuneJob | None:
        """The job as it is now, if it has ended, or is about to because somebody asked for that."""
        now = self.refresh()
        return now if now.ended or now.status == "CancelRequested" else None

    def diagnose(self) -> Diagnosis:
        """Find out why the job ended as it did: the step that failed first, its error, and the end of its log."""
        call = self._limited()
        return diagnose(call._handle(), self.name, call.children())

    def register(
        self,
        name: str | None = None,
        *,
        description: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> RegisteredModel:
        """Register the trained model in the workspace; the same version again when called again.

        Args:
            name: The model's name; None is ``<base model>-<data set>``.
            description: A text for people; None says what it was tuned from, and on what.
            tags: Further tags; job, base model and the data's digest are always set.

        Raises:
            JobFailed: The job made no model.
            ConfigurationError: The job has not ended yet.
            NameTaken: The version belongs to the model of another job.
        """
        from phi_finetune.registered_models import register

        call = self._limited()
        job = self if self.status == "Completed" else call.refresh()
        job.attached_to(call._handle())._check_success()
        if job.status != "Completed":
            raise ConfigurationError(
                "The job has not ended yet, so there is no model to register",
                resource=self.resource,
                why=f"it is {job.status}",
                next_call="job.wait(), then job.register()",
            )
        return register(call._handle(), job, name or job.default_model_name(), description, tags or {})

    def default_model_name(self) -> str:
        """The name that ``register()`` gives where none is given."""
        base = (self.base_model or "model").partition("/models/")[2].partition("/")[0] or "model"
        words = f"{base}-{self.tags.get(DATA, self.name)}".replace("/", "-")
        return re.sub(r"[^a-zA-Z0-9._-]+", "-", words)[:_LONGEST_MODEL_NAME].strip("-_.")

    def model_version(self) -> str:
        """The version under which its model is registered: a digest of the job's name.

        It is a whole number, since the service is reported to take nothing else for models (azureml-examples issue
        2725, 2023), and it fits 31 bits.
        """
        return str(int(digest(self.name), 16) % (2**31 - 1) + 1)

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "job")

    def _step(self, name: str) -> JobStep:
        steps = self.children()
        for step in steps:
            if step.name == name:
                return step
        raise NotFound(
            f"The job has no step {name}",
            resource=self.resource,
            why=f"its steps so far: {', '.join(step.name for step in steps) or 'none'}",
            next_call="job.children() lists them",
        )

    def _look(self) -> Callable[[], Look[FinetuneJob]]:
        client = self._handle()
        before: list[str] = [self.status]

        def look() -> Look[FinetuneJob]:
            job = self.refresh()
            if job.status not in GOING | ENDED:
                raise _unknown_state(job)
            if job.status != before[-1]:
                client.notify(JobMoved(resource=self.resource, status=job.status, before=before[-1]))
                before.append(job.status)
            return Look(job.status, job if job.ended else None)

        return look

    def _look_at_run(self, read: Mapping[str, int]) -> Callable[[], Look[str]]:
        from phi_finetune._azure.run_history import run_details

        client = self._handle()
        steps: dict[str, str] = {}
        told: dict[str, Any] = {"status": None, "read": read}

        def look() -> Look[str]:
            details = run_details(client, self.name)
            status = str(details.get("status"))
            if status not in GOING | ENDED:
                raise _unknown_state(attrs.evolve(self, status=status))
            ended, moved = status in ENDED, status != told["status"]
            written = written_since(client, self.name, details, told["read"])
            lines = tuple(log_lines(self.resource, written, told["read"], whole=ended))
            # The pipeline writes a line whenever a step begins or ends.
            children = self.children() if moved or lines else ()
            news: list[Event] = []
            if moved:
                news.append(JobMoved(resource=self.resource, status=status, before=told["status"]))
            news.extend(_moved(children, steps))
            # Only now: a look that failed half-way has told nothing.
            told.update(status=status, read=lines[-1].read if lines else told["read"])
            return Look(status, status if ended else None, news=(*news, *lines))

        return look

    def _patience(self, timeout: timedelta) -> Patience:
        if timeout <= timedelta(0):
            raise InvalidParameter(
                "A wait needs time", name="timeout", value=timeout, allowed="more than zero"
            )
        client = self._handle()
        return Patience(
            self.resource,
            timeout,
            client.clock,
            client.notify,
            next_call=f'ws.job("{self.name}").wait() goes on, ws.job("{self.name}").cancel() ends it',
            first_s=FIRST_LOOK_S,
            longest_s=LONGEST_PAUSE_S,
        )


def _doubt(refusal: ServiceError | None) -> str | None:
    return refusal.why if refusal is not None and refusal.status_code in DOUBTFUL else None


def _moved(children: tuple[JobStep, ...], known: dict[str, str]) -> Iterator[JobMoved]:
    for step in children:
        before = known.get(step.name)
        if step.status != before:
            known[step.name] = step.status
            yield JobMoved(resource=f"step {step.name}", status=step.status, before=before)


def from_arm(body: Mapping[str, Any], client: Client) -> FinetuneJob:
    """A job from ARM's description of it."""
    from phi_finetune._azure.paths import required

    properties: Mapping[str, Any] = body.get("properties") or {}
    services = properties.get("services") or {}
    created = (body.get("systemData") or {}).get("createdAt")
    name = str(required(body, "name", "job"))
    return FinetuneJob(
        name=name,
        status=str(properties.get("status")),
        display_name=properties.get("displayName"),
        experiment=properties.get("experimentName"),
        description=properties.get("description"),
        tags={str(key): str(value) for key, value in (properties.get("tags") or {}).items()},
        base_model=_base_model(properties),
        studio_url=(services.get("Studio") or {}).get("endpoint"),
        created_at=datetime.fromisoformat(created) if created else None,
        outputs={
            key: JobOutput(
                key,
                str(value.get("jobOutputType")),
                value.get("uri") or f"azureml://jobs/{name}/outputs/{key}",
            )
            for key, value in (properties.get("outputs") or {}).items()
        },
        client=client,
    )


def _base_model(properties: Mapping[str, Any]) -> str | None:
    for node in (properties.get("jobs") or {}).values():
        uri = ((node.get("inputs") or {}).get("mlflow_model_path") or {}).get("uri")
        if uri:
            return str(uri)
    return (properties.get("tags") or {}).get(MODEL)


def _step(run: Mapping[str, Any]) -> JobStep:
    return JobStep(
        name=str(run.get("displayName") or run.get("runId")),
        run=str(run.get("runId")),
        status=str(run.get("status")),
        started_at=_time(run.get("startTimeUtc")),
        ended_at=_time(run.get("endTimeUtc")),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _unknown_state(job: FinetuneJob) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"The job is in a state that is not known here: {job.status}",
        resource=job.resource,
        why="Azure's list of states was read from azure-ai-ml 1.35.2, in 2026-11",
        costs="the job may be running",
        next_call=f"look at {job.studio_url or 'the studio'}, and report the state",
    )
