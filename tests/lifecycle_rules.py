"""The contract of a fine-tune's life, written once: each answer of :mod:`lifecycle_answers` is held to it, unchanged.

Test files take all of it and give the fixture ``life``; the page docs/contract.md has the first line of each rule.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from lifecycle_answers import EPOCHS, Life, data
from local_workspaces import SIZE

import phi_finetune as pf
from phi_finetune.errors import (
    ConfigurationError,
    InvalidParameter,
    JobCanceled,
    JobFailed,
    NameTaken,
    NotFound,
    ScoringModelError,
    SizeNotAllowed,
)
from phi_finetune.events import AdoptedExisting, Created, Deleted, JobMoved, LogLine, RequestRetried
from phi_finetune.model_files import inspect

STEPS = (
    "ft_nlp_common_validation",
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
)
TRAINING = "chat_completion_finetune"
LEASE = timedelta(hours=1)


@pytest.fixture(autouse=True)
def what_it_cannot(request: pytest.FixtureRequest, life: Life) -> None:
    """A rule that an answer says it does not keep has to fail."""
    reason = life.answer.cannot.get(request.function.__name__)
    if reason is not None:
        wrong = (AssertionError, KeyError, NotImplementedError)
        request.applymarker(pytest.mark.xfail(reason=reason, raises=wrong, strict=True))


# Before anything is trained


def test_nothing_is_missing(life: Life) -> None:
    """The check-up finds nothing wrong."""
    assert life.workspace.doctor().ok


def test_data_are_registered_and_come_back(life: Life, tmp_path: Path) -> None:
    """A data set is registered once, however often it is asked for, and comes back as it was."""
    rows = data("kept").split(validation=0.25, seed=1)
    first = life.workspace.register_data(rows)
    assert life.answer.connect().register_data(rows) == first
    back = first.download(tmp_path)
    assert back.digest == rows.digest
    assert [*back.rows("validation")] == [*rows.rows("validation")]


def test_data_of_a_version_are_not_replaced(life: Life) -> None:
    """Other rows under a name and version that are taken are refused."""
    life.workspace.register_data(data(), "one", version="1")
    with pytest.raises(NameTaken):
        life.workspace.register_data(data(first=1), "one", version="1")


def test_a_cluster_is_made_once_and_deleted(life: Life) -> None:
    """A cluster is made once, adopted by who asks again, and gone once it is deleted."""
    heard: list[object] = []
    one, other = life.answer.connect(heard), life.answer.connect(heard)
    made = one.gpu_compute("gpu", size=SIZE, max_nodes=2).ensure()
    assert other.gpu_compute("gpu", size=SIZE, max_nodes=2).ensure() == made
    made.delete()
    kinds = [type(event) for event in heard if isinstance(event, Created | AdoptedExisting | Deleted)]
    assert kinds == [Created, AdoptedExisting, Deleted]
    with pytest.raises(NotFound):
        other.gpu_compute("gpu").refresh()


def test_a_size_that_is_none_is_refused(life: Life) -> None:
    """A machine size that there is not is refused, with those that there are."""
    with pytest.raises(SizeNotAllowed):
        life.workspace.gpu_compute("odd", size="Standard_No_Such").ensure()


def test_an_unknown_model_is_refused(life: Life) -> None:
    """A base model that there is not is not found."""
    with pytest.raises(NotFound):
        life.workspace.foundation_model("Phi-4711")


def test_a_plan_says_what_would_be_done(life: Life) -> None:
    """A plan counts the rows of each split and names the job, and submits nothing."""
    rows = data("planned").split(validation=0.25, seed=1)
    tune = life.answer.tune(life.workspace, rows)
    plan = tune.plan()
    assert plan.rows == {split: len([*rows.rows(split)]) for split in ("train", "validation")}
    assert plan.job_name == tune.job_name()
    assert plan.job_name not in [job.name for job in life.workspace.jobs()]


def test_the_plan_has_a_price(life: Life) -> None:
    """A plan says what an hour of its machines costs."""
    price = life.tune.plan().price_usd_per_hour
    assert price is not None
    assert price > 0


def test_a_parameter_out_of_range_is_refused(life: Life) -> None:
    """A parameter that is out of range is refused before anything is submitted."""
    before = life.workspace.jobs()
    with pytest.raises(InvalidParameter):
        life.tune.with_parameters(num_train_epochs=-1).submit()
    assert life.workspace.jobs() == before


def test_work_without_a_place_is_refused(life: Life) -> None:
    """A fine-tune that does not say where it runs is refused before anything is submitted."""
    with pytest.raises(ConfigurationError):
        life.answer.base(life.workspace).finetune(data()).submit()


# The job


def test_a_job_completes(life: Life) -> None:
    """A job is submitted and waited for; the object that was asked stays as it was."""
    assert life.job.status == "Completed"
    assert life.job.ended
    assert not life.submitted.ended
    assert life.job.name == life.tune.job_name()


def test_the_same_work_is_the_same_job(life: Life) -> None:
    """The same work, submitted again through another connection, is the same job."""
    heard: list[object] = []
    other = life.answer.connect(heard)
    tune = life.answer.tune(other, data().split(validation=0.25, seed=1))
    assert tune.with_parameters(num_train_epochs=EPOCHS).submit().name == life.job.name
    assert AdoptedExisting(life.job.resource) in heard


def test_a_name_is_good_for_one_job(life: Life) -> None:
    """Other work under the name of a job is refused."""
    other = life.answer.tune(life.workspace, data(first=1)).named(life.job.name)
    with pytest.raises(NameTaken):
        other.submit()


def test_a_job_is_found_again(life: Life) -> None:
    """Another connection finds a job by its name, in the list, and from an object that was pickled."""
    other = life.answer.connect()
    assert other.job(life.job.name) == life.job
    assert life.job.name in [job.name for job in other.jobs()]
    assert other.attach(pickle.loads(pickle.dumps(life.job))).refresh() == life.job
    with pytest.raises(NotFound):
        other.job("no-such-job")


def test_its_steps_are_runs(life: Life) -> None:
    """Its steps are those of the pipeline, in their order, all completed; an answer may also measure what changed."""
    steps = life.job.children()
    assert [step.name for step in steps if step.name != "chat_completion_model_evaluation"] == list(STEPS)
    assert {step.status for step in steps} == {"Completed"}


def test_each_step_has_a_log(life: Life) -> None:
    """The job and each of its steps have a log."""
    assert all(life.job.logs(step) for step in (None, *STEPS))


def test_losses_are_logged(life: Life) -> None:
    """The loss is logged step by step, and falls."""
    points = life.job.metrics().history("loss")
    assert len(points) >= 2
    assert [point.step for point in points] == sorted({point.step for point in points})
    assert points[-1].value < points[0].value


def test_the_best_evaluation_is_found(life: Life) -> None:
    """The loss on the validation split is logged, and its best value is found."""
    metrics = life.job.metrics()
    best = min(point.value for point in metrics.history("eval_loss"))
    assert 0 < best <= metrics.last["eval_loss"]
    assert metrics.perplexity is not None
    with pytest.raises(NotFound):
        metrics.history("no_such_metric")


def test_what_was_asked_for_is_logged(life: Life) -> None:
    """The parameters of the training are logged with its run."""
    logged = {
        value for run in life.job.metrics().runs if run.step == TRAINING for value in run.params.values()
    }
    assert str(EPOCHS) in logged


def test_a_job_is_followed(life: Life) -> None:
    """Following a job tells its state, those of its steps, and each line of its log once."""
    events = [*life.job.events()]
    moves = [(event.resource, event.status) for event in events if isinstance(event, JobMoved)]
    assert len(moves) == len(set(moves))
    assert {status for _, status in moves} == {"Completed"}
    assert len(moves) == 1 + len(life.job.children())
    lines = [event for event in events if isinstance(event, LogLine)]
    assert [line.text for line in lines] == life.job.logs().splitlines()


def test_following_goes_on_after_a_line(life: Life) -> None:
    """Following goes on after any line, in another connection too."""
    lines = [event for event in life.job.events() if isinstance(event, LogLine)]
    kept = pickle.loads(pickle.dumps(lines[1]))
    job = life.answer.connect().job(life.job.name)
    assert [event for event in job.events(after=kept) if isinstance(event, LogLine)] == lines[2:]


def test_a_canceled_job_has_no_model(life: Life) -> None:
    """A job that is canceled ends as that, and gives no model."""
    tune = life.answer.tune(life.workspace, data()).with_parameters(**life.answer.lasts)
    job = tune.submit().cancel()
    assert job.status == "Canceled"
    assert job.cancel() == job
    with pytest.raises(JobCanceled):
        life.answer.connect().job(job.name).wait()
    with pytest.raises(JobCanceled):
        job.register("nothing")


def test_a_job_that_fails_says_why(life: Life) -> None:
    """A job that fails says in which step and why, and has a further attempt."""
    tune = life.answer.tune(life.workspace, data()).with_parameters(**life.answer.fails)
    with pytest.raises(JobFailed) as caught:
        tune.submit().wait()
    assert (caught.value.status, caught.value.job) == ("Failed", tune.job_name())
    assert caught.value.child in STEPS
    assert caught.value.why
    assert caught.value.log_tail
    second = tune.submit()
    assert second.name == tune.job_name(attempt=2)
    second.cancel()


# The model


def test_the_model_is_registered_once(life: Life) -> None:
    """The model is registered once, however often it is asked for, and says what it came from."""
    assert life.answer.connect().job(life.job.name).register("facts") == life.model
    assert life.model in life.workspace.models()
    assert life.model.job == life.job.name
    assert life.model.data_digest == life.tune.data.digest


def test_a_model_that_is_none_is_not_found(life: Life) -> None:
    """A model that was not registered is not found."""
    with pytest.raises(NotFound):
        life.workspace.model("no-such-model")


def test_the_models_files_are_downloaded(life: Life, tmp_path: Path) -> None:
    """The model's files are downloaded, an MLmodel among them, and looked at before they are trusted."""
    folder = life.model.download(tmp_path)
    assert [*folder.rglob("MLmodel")]
    report = inspect(folder)
    assert all((folder / finding.file).exists() for finding in report.findings)
    with pytest.raises(InvalidParameter):
        life.model.download(tmp_path)


# The endpoint


def test_the_endpoint_answers(life: Life) -> None:
    """The endpoint answers, says which deployment did, and the same again where nothing is left to chance."""
    reply = life.endpoint.chat("Tell me of a river.", do_sample=False, max_new_tokens=20)
    assert reply.text
    assert reply.deployment == "default"
    again = life.answer.connect().endpoint("answers")
    assert again.chat("Tell me of a river.", do_sample=False, max_new_tokens=20) == reply


def test_it_answers_as_its_rows_do(life: Life) -> None:
    """It answers a prompt of its training data as the data does."""
    row = life.tune.data.row(0)
    reply = life.endpoint.chat(row, do_sample=False, max_new_tokens=60)
    assert reply.text.strip() == row.messages[-1].content


def test_many_are_asked_at_once(life: Life) -> None:
    """Of many that are asked at a time the answers come in the order of the questions."""
    greedy = pf.Sampling(do_sample=False, max_new_tokens=8)
    questions = [*life.tune.data.rows()][:5]
    replies = [reply.text for reply in life.endpoint.chat_many(questions, sampling=greedy)]
    assert replies == [
        life.endpoint.chat(question, do_sample=False, max_new_tokens=8).text for question in questions
    ]


def test_a_request_is_sent_as_it_is(life: Life, tmp_path: Path) -> None:
    """A request of one's own is sent as it is, from a file too."""
    greedy = pf.Sampling(do_sample=False, max_new_tokens=8)
    file = life.endpoint.write_request("Hello?", tmp_path / "request.json", greedy)
    answer = life.endpoint.score(file)
    assert life.endpoint.score(json.loads(file.read_text("utf-8"))) == answer
    assert answer["output"] == life.endpoint.chat("Hello?", do_sample=False, max_new_tokens=8).text


def test_a_question_may_be_in_the_form_of_openai(life: Life) -> None:
    """A question in OpenAI's form is answered in that form, with the tokens counted."""
    body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": 8, "temperature": 0}
    answer = life.endpoint.score(body)
    (choice,) = answer["choices"]
    assert choice["message"]["role"] == "assistant"
    assert isinstance(choice["message"]["content"], str)
    usage = answer["usage"]
    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_what_is_no_question_is_refused(life: Life) -> None:
    """What the model cannot read is its own error, and the endpoint goes on."""
    with pytest.raises(ScoringModelError):
        life.endpoint.score({"nonsense": "break"})
    assert life.endpoint.chat("Hello?", max_new_tokens=4).deployment == "default"


def test_the_endpoint_has_a_log_and_keys(life: Life) -> None:
    """The deployment's log can be read, and the keys are the same for whoever asks."""
    life.endpoint.chat("Hello?", max_new_tokens=4)
    assert life.endpoint.logs()
    assert life.answer.connect().endpoint("answers").keys() == life.endpoint.keys()


def test_deploying_the_same_again_finds_it(life: Life) -> None:
    """The same model, deployed again under the same name, is the same endpoint."""
    again = life.answer.connect().model("facts").deploy("answers", instance_type=SIZE)
    assert again == life.endpoint.refresh()
    (deployment,) = again.deployments()
    assert (deployment.name, deployment.traffic) == ("default", 100)


def test_blue_and_green_share_the_traffic(life: Life) -> None:
    """A second deployment is tried without traffic, takes a part of it, then all, and the first one is deleted."""
    with life.model.deploy("shared", instance_type=SIZE, deployment="blue") as endpoint:
        endpoint = endpoint.deploy(life.model, "green", instance_type=SIZE)
        assert endpoint.traffic == {"blue": 100}
        assert endpoint.chat("Hello?", max_new_tokens=4, deployment="green").deployment == "green"
        endpoint = endpoint.shift_traffic({"blue": 50, "green": 50})
        asked = Counter(endpoint.chat("Hello?", max_new_tokens=4).deployment for _ in range(4))
        assert asked == {"blue": 2, "green": 2}
        with pytest.raises(InvalidParameter):
            endpoint.shift_traffic({"blue": 50, "green": 49})
        endpoint = endpoint.shift_traffic({"blue": 0, "green": 100}).delete_deployment("blue")
        assert [one.name for one in endpoint.deployments()] == ["green"]
        assert endpoint.chat("Hello?", max_new_tokens=4).deployment == "green"


def test_an_endpoint_ends_with_its_block(life: Life) -> None:
    """An endpoint with a lease has one, lets it be made longer, and is gone when its block ends."""
    with life.model.deploy("short", instance_type=SIZE, lease=LEASE) as endpoint:
        until = endpoint.lease_until
        assert until is not None
        later = endpoint.extend(3 * LEASE).lease_until
        assert later is not None
        assert later - until >= LEASE
        assert life.workspace.sweep() == ()
    assert "short" not in [one.name for one in life.workspace.endpoints()]
    with pytest.raises(NotFound):
        life.answer.connect().endpoint("short")
    endpoint.delete()


def test_what_outlived_its_lease_is_swept(life: Life) -> None:
    """What has outlived its lease is found and deleted by whoever sweeps."""
    cluster = life.workspace.gpu_compute("leased", size=SIZE).ensure(lease=LEASE)
    try:
        life.answer.pass_time(life.workspace, 2 * LEASE)
        assert [str(one.resource) for one in life.workspace.sweep()] == ["cluster leased"]
    finally:
        cluster.delete()


def test_a_request_that_fails_is_sent_again(life: Life) -> None:
    """A request that the service fails is sent again."""
    life.answer.break_a_request(f"GET */jobs/{life.job.name}")
    heard: list[object] = []
    assert life.answer.connect(heard).job(life.job.name) == life.job
    assert [event for event in heard if isinstance(event, RequestRetried)]
