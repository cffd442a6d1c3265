from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pipelines
import pytest
from tuning import SIZE, Heard, sent

import phi_finetune as pf
from phi_finetune.emulator.core.clock import Stage
from phi_finetune.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidParameter,
    JobCanceled,
    JobFailed,
    NotFound,
    ServiceError,
    UnexpectedAnswer,
)
from phi_finetune.events import JobMoved, LogLine, Waiting
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, JobFails

STEPS = (
    "ft_nlp_common_validation",
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
)


@pytest.fixture
def start(fake_azure: FakeAzure, workspace: pf.Workspace) -> Callable[..., pf.FinetuneJob]:
    """Submits a job without azure-ai-ml."""

    def start(name: str = "tune", **inputs: str) -> pf.FinetuneJob:
        assert pipelines.start(fake_azure.cloud, name, inputs).status == 201
        return workspace.job(name)

    return start


def end_as(azure: FakeAzure, job: str, status: str) -> None:
    """Let a job end in a state that the simulated service never comes to by itself."""
    azure.jobs[job]._progress.cut([Stage("Running", timedelta(minutes=1))], status)


# Waiting


def test_waiting_gives_the_completed_job(start: Callable[..., pf.FinetuneJob]) -> None:
    """The job that is given is the newer one; the one that was asked stays a snapshot."""
    job = start()
    done = job.wait()
    assert (job.status, job.ended) == ("Running", False)
    assert (done.status, done.ended) == ("Completed", True)
    assert done.outputs["trained_model"].type == "mlflow_model"
    assert done.outputs["trained_model"].uri == "azureml://jobs/tune/outputs/trained_model"
    assert done.wait() == done


def test_a_wait_tells_each_state_once(fake_azure: FakeAzure) -> None:
    """Every change is an event, in order, and each look in vain another."""
    heard = Heard()
    pipelines.start(fake_azure.cloud, "tune")
    fake_azure.workspace(on_event=heard).job("tune").wait()
    moves = [(event.before, event.status) for event in heard.of(JobMoved)]
    assert moves == [("Running", "Finalizing"), ("Finalizing", "Completed")]
    assert heard.of(Waiting)
    assert {event.resource for event in heard.of(Waiting)} == {"job tune"}


def test_a_wait_has_a_limit(start: Callable[..., pf.FinetuneJob]) -> None:
    """The job goes on, and the error says how to find it and how to end it."""
    with pytest.raises(DeadlineExceeded) as caught:
        start().wait(timeout=timedelta(minutes=1))
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert (error.last_status, error.limit_s) == ("Running", 60.0)
    assert (error.costs, error.resource) == ("job tune goes on", "job tune")
    assert 'ws.job("tune").wait()' in (error.next_call or "")
    assert 'ws.job("tune").cancel()' in (error.next_call or "")


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1)])
def test_a_wait_needs_time(start: Callable[..., pf.FinetuneJob], timeout: timedelta) -> None:
    """No time at all is a mistake, and not a look."""
    with pytest.raises(InvalidParameter) as caught:
        start().wait(timeout=timeout)
    assert (caught.value.name, caught.value.value) == ("timeout", timeout)


def test_a_wait_outlives_errors_of_the_service(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """A few failed looks, each after its own retries, end no wait of days."""
    job = start()
    fake_azure.faults.next(Answer("GET */jobs/tune", 500), times=20)
    assert job.wait().status == "Completed"


def test_a_wait_gives_up_when_the_service_is_gone(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """Five looks in a row that fail, each sent five times, are the end of it."""
    job = start()
    fake_azure.journal.clear()
    fake_azure.faults.next(Answer("GET */jobs/tune", 500), times=25)
    with pytest.raises(ServiceError):
        job.wait()
    assert len(fake_azure.journal) == 25


def test_a_job_that_is_deleted_is_not_waited_for(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """Once it was seen, a 404 is no passing failure: the job is gone."""
    job = start()

    def delete(event: object) -> None:
        if isinstance(event, Waiting):
            fake_azure.faults.next(Answer("GET */jobs/tune", 404, "UserError", "Could not find job."))

    with pytest.raises(NotFound):
        fake_azure.workspace(on_event=delete).attach(job).wait()
    assert len(sent(fake_azure, "GET", "*/jobs/tune")) <= 4


# Endings that are none


def test_a_failed_job_tells_the_failed_steps_own_story(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """Step, code, message and log are those of the child that failed, and not of the pipeline."""
    fake_azure.faults.next(
        JobFails(step="chat_completion_datapreprocess", code="BadData", message="No rows.", log="a\nb\nc")
    )
    with pytest.raises(JobFailed) as caught:
        start().wait()
    error = caught.value
    assert (error.job, error.status, error.child) == ("tune", "Failed", "chat_completion_datapreprocess")
    assert (error.code, error.why) == ("BadData", "BadData: No rows.")
    assert error.log_tail.endswith("a\nb\nc")
    told = str(error)
    assert "Log of chat_completion_datapreprocess:" in told
    assert 'ws.job("tune").logs(' in told


def test_the_log_of_a_failure_is_its_end(fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]) -> None:
    """Of a long log the last twenty lines are told."""
    fake_azure.faults.next(JobFails(log="\n".join(f"line {n}" for n in range(100))))
    with pytest.raises(JobFailed) as caught:
        start().wait()
    assert caught.value.log_tail.splitlines() == [f"line {n}" for n in range(80, 100)]


def test_a_log_that_cannot_be_read_hides_no_failure(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """Without a right to the log the step's own error is told all the same."""
    fake_azure.faults.next(JobFails(message="No rows."))
    fake_azure.faults.next(Answer("GET *.blob.core.windows.net/*", 403, "AuthorizationFailure"))
    with pytest.raises(JobFailed, match=r"No rows\.") as caught:
        start().wait()
    assert "could not be read" in caught.value.log_tail


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("CUDA out of memory.", "a lower max_seq_length"),
        ("The node was preempted.", "use dedicated ones"),
        ("Something else.", 'ws.job("tune").logs('),
    ],
)
def test_a_failure_says_what_to_change(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob], message: str, advice: str
) -> None:
    """Known causes have advice; for others the next call is to read the log."""
    fake_azure.faults.next(JobFails(message=message, log="the end"))
    with pytest.raises(JobFailed) as caught:
        start().wait()
    assert advice in (caught.value.next_call or "")


def test_a_diagnosis_can_be_had_at_any_time(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """Of a good job it says that nothing failed; of a failed one what the error says."""
    good = start("good").wait().diagnose()
    assert (good.status, good.step, good.message, good.advice) == ("Completed", None, "", "")
    fake_azure.faults.next(JobFails())
    bad = start("bad")
    with pytest.raises(JobFailed):
        bad.wait()
    found = bad.diagnose()
    assert (found.status, found.step) == ("Failed", "chat_completion_finetune")
    assert "out of memory" in found.message
    assert found.log_tail


def test_a_canceled_job_is_no_success(start: Callable[..., pf.FinetuneJob]) -> None:
    """Waiting for it raises, under a class of its own that is also a failed job."""
    job = start()
    canceled = job.cancel()
    assert (canceled.status, canceled.ended) == ("Canceled", True)
    with pytest.raises(JobCanceled) as caught:
        job.wait()
    assert isinstance(caught.value, JobFailed)
    assert (caught.value.status, caught.value.resource) == ("Canceled", "job tune")
    assert "submit()" in (caught.value.next_call or "")


def test_canceling_what_has_ended_changes_nothing(start: Callable[..., pf.FinetuneJob]) -> None:
    """A completed job stays completed."""
    start().wait()
    assert start("other").cancel().status == "Canceled"
    job = start("third").wait()
    assert job.cancel().status == "Completed"


@pytest.mark.parametrize(("status", "advice"), [("NotResponding", "logs("), ("Paused", "resume it")])
def test_other_ends_are_no_success(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob], status: str, advice: str
) -> None:
    """A job that stopped responding, or was paused, is told as what it is."""
    job = start()
    end_as(fake_azure, "tune", status)
    with pytest.raises(JobFailed, match=f"The job ended as {status}") as caught:
        job.wait()
    assert caught.value.status == status
    assert advice in (caught.value.next_call or "")


def test_a_state_that_nobody_knows_ends_the_wait(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """It is never read as a success, nor waited for until the deadline."""
    job = start()
    end_as(fake_azure, "tune", "Hibernating")
    with pytest.raises(UnexpectedAnswer, match="Hibernating") as caught:
        job.wait()
    assert caught.value.costs == "the job may be running"


def test_a_job_that_has_ended_is_judged_again(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """Waiting for what is over gives it at once, or raises again."""
    done = start("good").wait()
    assert done.wait() == done
    fake_azure.faults.next(JobFails())
    bad = start("bad")
    for _ in range(2):
        with pytest.raises(JobFailed):
            bad.wait()


def test_a_refused_cancellation_is_no_end(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """A 400 to a cancellation means that the job is over only if the job itself says so."""
    job = start("tune")
    fake_azure.faults.next(Answer("POST */cancel", 400, "BadRequest", "not now"))
    with pytest.raises(ServiceError, match="not now"):
        job.cancel()
    assert not job.refresh().ended


# Looking in


def test_steps_come_in_their_order(start: Callable[..., pf.FinetuneJob]) -> None:
    """Each has its state and its times."""
    steps = start().wait().children()
    assert tuple(step.name for step in steps) == STEPS
    for step in steps:
        assert step.status == "Completed"
        assert step.started_at is not None
        assert step.ended_at is not None
        assert step.started_at <= step.ended_at


def test_logs_are_the_pipelines_or_a_steps(start: Callable[..., pf.FinetuneJob]) -> None:
    """Without a name it is what the pipeline wrote."""
    job = start().wait()
    assert "chat_completion_finetune" in job.logs()
    assert "SIMULATED RUN" in job.logs("chat_completion_finetune")


def test_a_step_that_is_not_there_is_named(start: Callable[..., pf.FinetuneJob]) -> None:
    """With the steps that there are."""
    with pytest.raises(NotFound, match="its steps so far: ft_nlp_common_validation") as caught:
        start().wait().logs("dance")
    assert (caught.value.resource, caught.value.next_call) == ("job tune", "job.children() lists them")


def test_events_follow_a_job_to_its_end(start: Callable[..., pf.FinetuneJob]) -> None:
    """States of the job and its steps as they come, and every line of the log exactly once."""
    job = start()
    events = list(job.events())
    moves = [event for event in events if isinstance(event, JobMoved)]
    assert [move.status for move in moves if move.resource == "job tune"][-1] == "Completed"
    assert {move.resource for move in moves} == {"job tune", *(f"step {name}" for name in STEPS)}
    lines = [event.text for event in events if isinstance(event, LogLine)]
    assert lines == job.logs().splitlines()
    last: dict[str, str | None] = {}
    for move in moves:
        assert last.get(move.resource) == move.before
        last[move.resource] = move.status


def test_events_of_a_failed_job_end_too(fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]) -> None:
    """Following raises nothing; the last states say how it went."""
    fake_azure.faults.next(JobFails())
    moves = [event for event in start().events() if isinstance(event, JobMoved)]
    assert ("step chat_completion_finetune", "Failed") in [(move.resource, move.status) for move in moves]
    assert [move.status for move in moves if move.resource == "job tune"][-1] == "Failed"


def test_following_has_a_limit(start: Callable[..., pf.FinetuneJob]) -> None:
    """As waiting has."""
    with pytest.raises(DeadlineExceeded):
        list(start().events(timeout=timedelta(minutes=1)))


def test_an_interrupt_leaves_the_job_running(fake_azure: FakeAzure) -> None:
    """Ctrl-C ends the wait alone, and says how to go on."""

    def interrupt(event: Any) -> None:
        if isinstance(event, Waiting):
            raise KeyboardInterrupt

    pipelines.start(fake_azure.cloud, "tune")
    with pytest.raises(KeyboardInterrupt) as caught:
        fake_azure.workspace(on_event=interrupt).job("tune").wait()
    (note,) = caught.value.__notes__
    assert 'ws.job("tune").wait() goes on' in note
    assert fake_azure.jobs["tune"].status == "Running"
    assert sent(fake_azure, "POST", "*/cancel") == []


# Registering


def test_a_running_job_cannot_be_registered(start: Callable[..., pf.FinetuneJob]) -> None:
    """There is no model yet; the error says to wait."""
    with pytest.raises(ConfigurationError, match="has not ended yet") as caught:
        start().register()
    assert caught.value.next_call == "job.wait(), then job.register()"


def test_a_failed_job_cannot_be_registered(
    fake_azure: FakeAzure, start: Callable[..., pf.FinetuneJob]
) -> None:
    """What failed is told, as by waiting."""
    fake_azure.faults.next(JobFails())
    job = start()
    with pytest.raises(JobFailed):
        job.wait()
    with pytest.raises(JobFailed, match="chat_completion_finetune"):
        job.register()
    assert sent(fake_azure, "PUT", "*/models/*") == []


def test_an_old_snapshot_can_be_registered(start: Callable[..., pf.FinetuneJob]) -> None:
    """As in README: the job that was submitted is registered after the wait, without keeping what wait gave."""
    job = start()
    job.wait()
    model = job.register("answers")
    assert (model.name, model.job) == ("answers", "tune")
    assert model.deploy(instance_type=SIZE).name
