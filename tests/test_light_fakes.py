from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import phi_finetune as pf
from phi_finetune.emulator.jobs.hardware import FINETUNE
from phi_finetune.errors import (
    ConfigurationError,
    InvalidParameter,
    JobCanceled,
    JobFailed,
    NotFound,
    ScoringModelError,
    ServiceError,
)
from phi_finetune.testing import (
    FakeAzure,
    JobStatus,
    fake_endpoint,
    fake_job,
    fake_model,
    fake_workspace,
)
from phi_finetune.testing.faults import JobFails

SIZE = "Standard_NC24ads_A100_v4"
ENDED: tuple[JobStatus, ...] = ("Completed", "Failed", "Canceled")
Maker = Callable[[JobStatus], AbstractContextManager[pf.FinetuneJob]]
HEAVY = (
    "azure",
    "mlflow",
    "pandas",
    "phi_finetune.credentials",
    "phi_finetune.emulator.runners.ngram",
    "requests",
    "urllib.request",
    "urllib3",
)


class TestJob:
    """A job in each state, and what it logged."""

    @pytest.mark.parametrize("status", [*ENDED, "Running"])
    def test_it_is_in_the_state_asked_for(self, status: JobStatus) -> None:
        """The object, and what it reads of itself again, are in that state."""
        job = fake_job(status=status)
        assert isinstance(job, pf.FinetuneJob)
        assert [job.status, job.refresh().status] == [status, status]

    @pytest.mark.parametrize("status", [*ENDED, "Running"])
    def test_everything_is_logged(self, status: JobStatus) -> None:
        """Metrics and log are those that were given, in whatever state."""
        job = fake_job(status=status, metrics={"loss": [3.0, 2.0], "eval_loss": [2.5]}, log="one\ntwo")
        metrics = job.metrics()
        assert (metrics.loss, metrics.eval_loss) == (2.0, 2.5)
        assert [(point.step, point.value) for point in metrics.history("loss")] == [(1, 3.0), (2, 2.0)]
        assert job.logs(FINETUNE) == "one\ntwo\n"

    def test_a_running_one_ends_when_it_is_waited_for(self) -> None:
        """Hours pass at once, and the job completes."""
        job = fake_job(status="Running")
        assert not job.ended
        assert job.wait(timeout=timedelta(hours=12)).status == "Completed"

    def test_a_running_one_can_be_canceled(self) -> None:
        """Canceling ends it, and it stays so."""
        job = fake_job(status="Running").cancel()
        assert [job.status, job.refresh().status] == ["Canceled", "Canceled"]

    def test_a_failed_one_says_why(self) -> None:
        """The step, its error, its log and the advice are those of a real failure."""
        job = fake_job(status="Failed", log="step 7\nRuntimeError: CUDA out of memory.")
        with pytest.raises(JobFailed, match="CUDA out of memory") as caught:
            job.wait()
        assert caught.value.child == FINETUNE
        assert caught.value.log_tail == "step 7\nRuntimeError: CUDA out of memory."
        assert "max_seq_length" in job.diagnose().advice

    def test_a_canceled_one_raises(self) -> None:
        """Waiting for it is told that it was canceled."""
        with pytest.raises(JobCanceled):
            fake_job(status="Canceled").wait()

    def test_without_metrics_none_are_there(self) -> None:
        """What was not given was not logged."""
        metrics = fake_job().metrics()
        assert (metrics.keys, metrics.loss) == ((), None)
        with pytest.raises(NotFound):
            metrics.history("loss")

    def test_an_unknown_state_is_refused(self) -> None:
        """What no job is made in is named, with what one can be."""
        with pytest.raises(InvalidParameter, match="Running, Completed, Failed or Canceled"):
            fake_job(status="Done")  # type: ignore[arg-type]

    @given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
    def test_any_history_comes_back(self, values: list[float]) -> None:
        """Every list of values is read back as it was given."""
        history = fake_job(metrics={"reward": values}).metrics().history("reward")
        assert [point.value for point in history] == values
        assert [point.step for point in history] == list(range(1, len(values) + 1))

    def test_two_are_the_same_twice(self) -> None:
        """Nothing in it is drawn, and nothing is the time of day."""
        first, second = fake_job(metrics={"loss": [1.0]}), fake_job(metrics={"loss": [1.0]})
        assert first == second
        assert first.metrics().history("loss") == second.metrics().history("loss")


class TestEndpoint:
    """An endpoint that gives the replies of the test."""

    def test_a_text_is_every_reply(self) -> None:
        """One text answers everything."""
        endpoint = fake_endpoint(replies="Paris.")
        assert [endpoint.chat(text).text for text in ("One?", "Two?")] == ["Paris.", "Paris."]

    def test_a_list_is_given_in_order(self) -> None:
        """Replies come in order, and the last one stays."""
        endpoint = fake_endpoint(replies=["one", "two"])
        assert [endpoint.chat("Next?").text for _ in range(3)] == ["one", "two", "two"]

    def test_a_mapping_answers_each_question(self) -> None:
        """Also where several are asked at a time, each question has its answer."""
        replies = {f"What is {number}?": f"It is {number}." for number in range(20)}
        endpoint = fake_endpoint(replies=replies)
        assert [reply.text for reply in endpoint.chat_many(replies, concurrency=4)] == list(replies.values())

    @pytest.mark.parametrize("replies", [{"Who?": "Me."}, []])
    def test_no_reply_is_a_failed_model(self, replies: dict[str, str] | list[str]) -> None:
        """A question without a reply fails as the service says that a model's code failed."""
        with pytest.raises(ScoringModelError):
            fake_endpoint(replies=replies).chat("Where?")

    def test_a_request_that_is_none_is_refused(self) -> None:
        """The container's own refusal comes back as it does from a real one."""
        with pytest.raises(ScoringModelError) as caught:
            fake_endpoint().score({"something": "else"})
        assert caught.value.model_status == 400

    def test_its_verbs_work(self) -> None:
        """Keys, deployments and log are there, and it is gone once deleted."""
        endpoint = fake_endpoint("answers")
        assert endpoint.keys().primary != endpoint.keys().secondary
        assert [(one.name, one.traffic) for one in endpoint.deployments()] == [("default", 100)]
        endpoint.chat("Hello?")
        assert '"POST /score HTTP/1.1" 200' in endpoint.logs()
        endpoint.delete()
        with pytest.raises(NotFound):
            endpoint.refresh()

    def test_a_bad_name_is_refused(self) -> None:
        """Names follow the service's rules."""
        with pytest.raises(ServiceError):
            fake_endpoint("a")


class TestModel:
    """A registered model with files."""

    def test_it_is_registered(self, tmp_path: Path) -> None:
        """It has an id, and its files can be downloaded."""
        model = fake_model("answers", version="3")
        assert isinstance(model, pf.RegisteredModel)
        assert model.id.endswith("/models/answers/versions/3")
        folder = model.download(tmp_path)
        assert folder.name == "answers-3"
        assert (folder / "MLmodel").is_file()


class TestWorkspace:
    """A workspace that the others can be put into."""

    def test_it_is_empty(self) -> None:
        """Nothing is there, and what is looked up is absent."""
        ws = fake_workspace("lab")
        assert (ws.name, ws.jobs(), ws.models(), ws.endpoints()) == ("lab", (), (), ())
        with pytest.raises(NotFound):
            ws.job("nightly")

    def test_it_has_what_was_put_into_it(self) -> None:
        """A job, a model and an endpoint are found by their names."""
        ws = fake_workspace()
        job, model, endpoint = (
            fake_job("nightly", workspace=ws),
            fake_model("answers", workspace=ws),
            fake_endpoint("asking", workspace=ws),
        )
        assert (ws.job("nightly"), ws.model("answers"), ws.endpoint("asking")) == (job, model, endpoint)

    def test_each_job_and_endpoint_keeps_its_own(self) -> None:
        """What one was given does not come out of another."""
        ws = fake_workspace()
        jobs = [fake_job(f"job-{loss:.0f}", metrics={"loss": [loss]}, workspace=ws) for loss in (1.0, 2.0)]
        endpoints = [fake_endpoint(name, replies=name, workspace=ws) for name in ("left", "right")]
        assert [job.metrics().loss for job in jobs] == [1.0, 2.0]
        assert [endpoint.chat("Who?").text for endpoint in endpoints] == ["left", "right"]

    def test_a_running_job_outlasts_what_is_made_after_it(self) -> None:
        """Putting more into the workspace ends no job in it."""
        ws = fake_workspace()
        job = fake_job("long", status="Running", workspace=ws)
        for name in ("one", "two"):
            fake_job(name, workspace=ws)
            fake_endpoint(f"{name}-asked", workspace=ws)
        assert [job.refresh().status, job.refresh().status] == ["Running", "Running"]

    def test_a_name_is_taken_once(self) -> None:
        """A second job of a name is refused, as the service refuses it."""
        ws = fake_workspace()
        fake_job("nightly", workspace=ws)
        with pytest.raises(ServiceError, match="already exists"):
            fake_job("nightly", workspace=ws)

    def test_it_knows_the_catalogue(self) -> None:
        """Models of the registries and sizes of machines are those of Azure's lists."""
        ws = fake_workspace()
        assert ws.foundation_model("Phi-4").name == "Phi-4"
        assert SIZE in [sku.name for sku in ws.gpu_skus()]

    def test_no_client_of_azures_can_be_had(self) -> None:
        """What needs a wire is refused, and says where there is one."""
        with pytest.raises(ConfigurationError, match="FakeAzure"):
            fake_workspace().mlflow_client()

    def test_a_job_is_planned_and_not_submitted(self) -> None:
        """A plan needs no client; submitting does, and nothing is made."""
        ws = fake_workspace()
        tune = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
        tune = tune.on(pf.GpuCompute.serverless(SIZE))
        assert tune.plan().gpus == 1
        with pytest.raises(ConfigurationError, match="FakeAzure"):
            tune.submit()
        assert ws.jobs() == ()

    def test_a_real_workspace_takes_no_fake(self) -> None:
        """A fake can't be slipped into a workspace that is none."""
        ws = pf.Workspace.connect(
            subscription_id="00000000-0000-0000-0000-000000000000", resource_group="a", workspace_name="b"
        )
        with pytest.raises(ConfigurationError, match="fake_workspace"):
            fake_job(workspace=ws)


@contextmanager
def light(status: JobStatus) -> Iterator[pf.FinetuneJob]:
    """A job that is a light fake."""
    yield fake_job(status=status)


@contextmanager
def wired(status: JobStatus) -> Iterator[pf.FinetuneJob]:
    """A job on FakeAzure, through the real clients."""
    with FakeAzure() as azure:
        if status == "Failed":
            azure.faults.next(JobFails(step=FINETUNE))
        tune = azure.workspace().foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
        job = tune.on(pf.GpuCompute.serverless(SIZE)).submit()
        yield job.cancel() if status == "Canceled" else job


@pytest.mark.parametrize("make", [light, wired])
class TestContract:
    """What holds for a job of either fake."""

    def test_waiting_ends_in_completed(self, make: Maker) -> None:
        """A job that goes well completes, its steps too, and says no more after that."""
        with make("Completed") as job:
            done = job.wait()
            assert (done.status, done.wait()) == ("Completed", done)
            assert {step.status for step in done.children()} == {"Completed"}
            assert FINETUNE in [step.name for step in done.children()]
            assert done.cancel() == done
            assert list(done.outputs) == ["trained_model"]

    def test_a_failure_names_its_step(self, make: Maker) -> None:
        """Waiting raises the step's own error, and the diagnosis has the same."""
        with make("Failed") as job:
            with pytest.raises(JobFailed) as caught:
                job.wait()
            found = job.diagnose()
            assert (caught.value.child, found.step, found.status) == (FINETUNE, FINETUNE, "Failed")
            assert found.message in str(caught.value)

    def test_what_was_canceled_stays_so(self, make: Maker) -> None:
        """A canceled job is canceled to every verb."""
        with make("Canceled") as job:
            assert (job.status, job.refresh().status, job.cancel().status) == ("Canceled",) * 3
            with pytest.raises(JobCanceled):
                job.wait()

    def test_its_model_can_be_deployed(self, make: Maker) -> None:
        """A completed job's model is registered, deployed and asked; nothing is left behind."""
        with make("Completed") as job:
            model = job.wait().register("answers")
            assert (model.job, model.type) == (job.name, "mlflow_model")
            with model.deploy("phi-answers", instance_type=SIZE) as endpoint:
                assert endpoint.chat("Hello.").text
                assert endpoint.traffic == {"default": 100}
            with pytest.raises(NotFound):
                endpoint.refresh()

    def test_an_unknown_step_is_refused(self, make: Maker) -> None:
        """A log of a step that is not there is told from an empty one."""
        with make("Completed") as job, pytest.raises(NotFound, match="no step"):
            job.wait().logs("training")


def test_nothing_slow_is_loaded() -> None:
    """Making each of the fakes, and using it, imports no azure, pandas, mlflow or HTTP library."""
    code = f"""
import json, sys
from phi_finetune.testing import fake_endpoint, fake_job, fake_model, fake_workspace
ws = fake_workspace()
job = fake_job(metrics={{"loss": [3.0, 2.0]}}, log="text", workspace=ws)
job.wait().metrics().history("loss"), job.logs(), job.children(), job.refresh(), job.diagnose(), job.cancel()
endpoint = fake_endpoint(replies=["Hello."], workspace=ws)
endpoint.chat("Hello?"), endpoint.keys(), endpoint.logs(), endpoint.deployments(), endpoint.delete()
fake_model(workspace=ws), ws.models()
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_first_one_is_there_at_once() -> None:
    """The first job's metrics load a few hundred modules, and neither a client of Azure's nor pandas.

    That took 0.12 s of a processor's time when this was written; a time is no test, as machines differ.
    """
    code = """
import sys
from phi_finetune.testing import fake_job
assert fake_job(metrics={"loss": [3.0, 2.0]}).metrics().loss == 2.0
print(len(sys.modules), *{"azure", "pandas", "mlflow", "requests"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, *slow = done.stdout.split()
    assert not slow
    assert int(modules) < 450  # 352, seen on 2026-11-30
