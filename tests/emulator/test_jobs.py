from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asking import ask
from azure.ai.ml import Input, MLClient, dsl
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from hypothesis import given
from hypothesis import strategies as st
from pipelines import MODEL_ID, conversations, follow, jsonl, pipeline, start, statuses, upload

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.faults import AnswerLost, JobFails
from phi_finetune.testing import FakeAzure

ORDER = ("Preparing", "Running", "Finalizing", "CancelRequested", "Completed", "Failed", "Canceled")
STEPS = (
    "ft_nlp_common_validation",
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
)


@pytest.fixture
def cloud() -> Cloud:
    """A cloud with quota for one size of GPU."""
    return Cloud(Settings(quota={"standardNCADSA100v4Family": 96}))


def make_cluster(cloud: Cloud, *, max_nodes: int = 2) -> None:
    """Make a cluster named gpu, which has no nodes yet."""
    scale = {"minNodeCount": 0, "maxNodeCount": max_nodes, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    sent = {"vmSize": "Standard_NC24ads_A100_v4", "vmPriority": "Dedicated", "scaleSettings": scale}
    body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": sent}}
    assert ask(cloud, "PUT", "computes/gpu", body).status == 201
    cloud.clock.advance(timedelta(minutes=10))


def on(compute: str) -> dict[str, str]:
    """The inputs that send every step to a compute."""
    return {f"compute_{step}": compute for step in ("model_import", "preprocess", "finetune")}


def test_job_body(cloud: Cloud) -> None:
    """The answer to a submission echoes what was sent, with a state and an address of its own (service.md)."""
    answer = start(cloud, description="d", tags={"a": "b"}, settings={"force_rerun": True, "_source": "DSL"})
    assert answer.status == 201
    sent = answer.body["properties"]
    assert (sent["status"], sent["displayName"], sent["description"]) == ("Preparing", "a fine-tune", "d")
    assert (sent["experimentName"], sent["tags"], sent["isArchived"]) == ("tests", {"a": "b"}, False)
    assert sent["settings"] == {"force_rerun": True, "_source": "DSL"}
    assert sent["properties"]["azureml.enforceRerun"] == "True"
    assert sent["jobs"] == pipeline(cloud)["properties"]["jobs"]
    assert sent["outputs"]["trained_model"]["jobOutputType"] == "mlflow_model"
    assert "default" not in sent["outputs"]
    assert sent["services"]["Studio"]["endpoint"].startswith(
        "https://ml.azure.com/runs/tune?wsid=/subscriptions/"
    )


def test_poller_sees_each_state(cloud: Cloud) -> None:
    """Reading a job lets it go on, one look at a time, in the order of its states, to its end."""
    start(cloud)
    seen = statuses(cloud)
    assert 8 <= len(seen) <= 16
    assert list(dict.fromkeys(seen)) == ["Running", "Finalizing", "Completed"]


def test_listing_moves_nothing(cloud: Cloud) -> None:
    """Only the reads that pollers use let time pass: a list of jobs does not."""
    start(cloud)
    before = cloud.clock.now()
    states = {ask(cloud, "GET", "jobs").body["value"][0]["properties"]["status"] for _ in range(20)}
    assert (states, cloud.clock.now()) == ({"Preparing"}, before)


def test_time_alone_finishes_a_job(cloud: Cloud) -> None:
    """A job that nobody watched has ended at its own time, and its output is there."""
    start(cloud)
    cloud.clock.advance(timedelta(days=1))
    ask(cloud, "GET", "datastores")
    assert "azureml/tune/trained_model/MLmodel" in cloud.storage.list("azureml/tune/")
    job = cloud.jobs.find("tune")
    assert job.status == "Completed"
    assert job.ended is not None
    assert job.created < job.ended < cloud.clock.now() - timedelta(hours=20)


@given(
    looks=st.lists(
        st.one_of(
            st.sampled_from(["watch", "look", "cancel"]),
            st.integers(min_value=1, max_value=3000).map(lambda seconds: timedelta(seconds=seconds)),
        ),
        max_size=20,
    )
)
def test_states_only_go_forward(looks: list[str | timedelta]) -> None:
    """However time passes, a job and its steps never go back, and steps run one after another."""
    cloud = Cloud()
    start(cloud)
    job, seen = cloud.jobs.find("tune"), ["Preparing"]
    for look in looks:
        if isinstance(look, timedelta):
            cloud.clock.advance(look)
        elif look == "watch":
            job.watch()
        elif look == "cancel":
            ask(cloud, "POST", "jobs/tune/cancel")
        seen.append(job.status)
        children = job.children
        assert all(child.ended is not None and child.ended <= job.horizon for child in children[:-1])
    ranks = [ORDER.index(state) for state in seen]
    assert all(before <= after for before, after in pairwise(ranks))


def test_steps_are_children(cloud: Cloud) -> None:
    """A pipeline's steps appear one by one, and each is queued, runs and completes."""
    start(cloud)
    counts = []
    while cloud.jobs.find("tune").watch() != "Completed":
        children = cloud.jobs.find("tune").children
        counts.append(len(children))
        assert all(child.status == "Completed" for child in children[:-1])
    assert counts == sorted(counts)
    assert [child.display_name for child in cloud.jobs.find("tune").children] == list(STEPS)
    assert {child.status for child in cloud.jobs.find("tune").children} == {"Completed"}


def test_child_has_no_properties(cloud: Cloud) -> None:
    """A step read as a job has null for properties, by which the client knows it for one (wire.md 5)."""
    start(cloud)
    statuses(cloud)
    child = cloud.jobs.find("tune").children[0]
    answer = ask(cloud, "GET", f"jobs/{child.id}")
    assert (answer.status, answer.body["name"], answer.body["properties"]) == (200, child.id, None)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"apply_lora": "True"}, "'apply_lora': it must be one of true, false"),
        ({"num_train_epochs": "0"}, "'num_train_epochs': it must be at least 1"),
        ({"num_train_epochs": "1.5"}, "'num_train_epochs': it is not of type integer"),
        ({"learning_rate": "fast"}, "'learning_rate': it is not of type number"),
        ({"deepspeed_stage": "4"}, "'deepspeed_stage': it must be one of 2, 3"),
        ({"learning_rate_min": "1e-6"}, "Unknown input 'learning_rate_min'"),
        ({"compute_finetune": "nowhere"}, "Unknown compute target 'nowhere'."),
        ({"mlflow_model_path": None}, "Exactly one of mlflow_model_path, huggingface_id, pytorch_model_path"),
        ({"huggingface_id": "microsoft/phi-4"}, "found mlflow_model_path and huggingface_id"),
        ({"mlflow_model_path": MODEL_ID + "9"}, "Could not find asset"),
        ({"mlflow_model_path": "azureml:mine:1"}, "not found in provided workspace"),
        ({"instance_type_finetune": "Standard_Nope"}, "Standard_Nope"),
        (
            {"train_file_path": "azureml://datastores/workspaceblobstore/paths/data/none.jsonl"},
            "'train_file_path': StreamAccess.NotFound",
        ),
        (
            {"train_file_path": "azureml://datastores/nope/paths/a"},
            "Could not find datastore with name: nope",
        ),
        ({"train_file_path": "ftp://x/y"}, "is not one that this workspace can read"),
    ],
)
def test_inputs_are_checked(cloud: Cloud, inputs: Mapping[str, str | None], words: str) -> None:
    """What the client does not check, the service refuses with 400, naming the input (wire.md 13.10)."""
    answer = start(cloud, inputs=inputs)
    assert answer.status == 400
    assert words in answer.message
    assert cloud.jobs.all() == ()


def test_unknown_compute_has_its_code(cloud: Cloud) -> None:
    """An unknown compute is told by its inner error, as service.md shows."""
    answer = start(cloud, inputs={"compute_finetune": "nowhere"})
    inner = answer.body["error"]["additionalInfo"][-1]["info"]["value"]
    assert (inner["code"], inner["innerError"]["code"]) == ("BadArgument", "UnknownTargetType")


def _without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    parent = body
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return body


def _with(body: dict[str, Any], value: object, *path: str) -> dict[str, Any]:
    parent = body
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return body


NODE = ("properties", "jobs", "finetune")


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda body: {}, 400, "missing fields"),
        (lambda body: _without(body, "properties", "jobType"), 400, "missing fields"),
        (lambda body: _with(body, "Sweep", "properties", "jobType"), 501, "no Sweep jobs"),
        (lambda body: _with(body, "spark", *NODE, "type"), 501, "no spark nodes"),
        (lambda body: _with(body, {}, "properties", "jobs"), 400, "has no nodes"),
        (lambda body: _without(body, *NODE, "componentId"), 400, "missing fields"),
        (
            lambda body: _with(
                body, "azureml://registries/azureml/components/x/versions/1", *NODE, "componentId"
            ),
            400,
            "Could not find asset",
        ),
        (lambda body: _with(body, {}, "properties", "outputs"), 400, "is not bound to an output"),
        (lambda body: _with(body, {"trained_model": {}}, "properties", "outputs"), 400, "no jobOutputType"),
        (
            lambda body: _with(body, {"value": "${{parent.inputs.lr}}"}, *NODE, "inputs", "learning_rate"),
            400,
            "'lr', which is no input of the pipeline",
        ),
        (lambda body: _with(body, {"k" * 101: "v"}, "properties", "tags"), 400, "too long"),
        (
            lambda body: _with(body, {str(n): "v" for n in range(51)}, "properties", "tags"),
            400,
            "at most 50 tags",
        ),
        (lambda body: _with(body, "x" * 257, "properties", "displayName"), 400, "displayName is longer"),
    ],
)
def test_bodies_are_checked(cloud: Cloud, change: Any, status: int, words: str) -> None:
    """A malformed body is refused, and a kind of job that cannot be run here is answered with 501."""
    answer = ask(cloud, "PUT", "jobs/tune", change(pipeline(cloud)))
    assert answer.status == status
    assert words in answer.message


@pytest.mark.parametrize("name", ["-a", "a.b", "a%20b", "x" * 256])
def test_bad_names(cloud: Cloud, name: str) -> None:
    """A job's name keeps to the rule for run ids (pain.md, Part 2)."""
    assert start(cloud, name).status == 400


def test_name_is_good_for_one_job(cloud: Cloud) -> None:
    """A second job of the same name is refused, also with the same body."""
    start(cloud)
    assert start(cloud).status == 409


def test_inputs_of_the_pipeline_reach_the_node(cloud: Cloud) -> None:
    """A node's input that refers to one of the pipeline gets its value."""
    body = pipeline(cloud, {"learning_rate": "${{parent.inputs.lr}}", "train_file_path": None})
    body["properties"]["jobs"]["finetune"]["inputs"]["train_file_path"] = {"value": "${{parent.inputs.data}}"}
    body["properties"]["inputs"] = {
        "lr": {"jobInputType": "literal", "value": "0.5"},
        "data": {"jobInputType": "uri_file", "uri": upload(cloud, "other.jsonl", conversations(20))},
    }
    assert ask(cloud, "PUT", "jobs/tune", body).status == 201
    statuses(cloud)
    finetune = cloud.jobs.find("tune").children[3]
    assert finetune.params["learning_rate"] == "0.5"
    assert "  Num examples = 16" in finetune.log()


def test_cancel(cloud: Cloud) -> None:
    """Cancelling is asked for, then done: 202 with a location that answers 202, then 200 (service.md)."""
    start(cloud)
    for _ in range(4):
        cloud.jobs.find("tune").watch()
    asked = ask(cloud, "POST", "jobs/tune/cancel")
    assert (asked.status, asked.body, cloud.jobs.find("tune").status) == (202, None, "CancelRequested")
    first, second = (ask(cloud, "GET", asked.headers["Location"]) for _ in range(2))
    assert (first.status, first.body, first.headers["Location"]) == (202, {}, asked.headers["Location"])
    assert (second.status, second.body) == (200, None)
    job = cloud.jobs.find("tune")
    assert (job.status, job.children[-1].status) == ("Canceled", "Canceled")
    cloud.clock.advance(timedelta(days=1))
    assert cloud.storage.list("azureml/tune/") == []
    again = ask(cloud, "POST", "jobs/tune/cancel")
    assert (again.status, again.code) == (400, "UserError")
    assert again.message == "The pipeline run tune is in terminal status, it can't be canceled."


def test_failed_step(cloud: Cloud) -> None:
    """A step that fails ends the job; the job says which step it was, and only the step says why (pain.md L1)."""
    cloud.faults.next(JobFails(message="It broke.", log="Traceback\nboom"))
    start(cloud)
    assert statuses(cloud)[-1] == "Failed"
    job = cloud.jobs.find("tune")
    assert [child.display_name for child in job.children] == list(STEPS[:4])
    failed = job.children[-1]
    assert (failed.status, failed.error and failed.error.message) == ("Failed", "It broke.")
    assert failed.log().endswith("Traceback\nboom\n")
    assert job.error is not None
    assert "/finetune/chat_completion_finetune" in job.error.message
    assert "It broke" not in job.error.message
    assert cloud.storage.list("azureml/tune/") == []


def test_fault_names_a_step_that_is_there(cloud: Cloud) -> None:
    """A fault for a step that the pipeline lacks is a mistake in the test, and is told so."""
    cloud.faults.next(JobFails(step="evaluate"))
    start(cloud)
    with pytest.raises(ValueError, match="no step 'evaluate'"):
        statuses(cloud)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"number_of_gpu_to_use_finetuning": "2"}, "invalid device ordinal"),
        (
            {"num_nodes_finetune": "3"},
            "Requested 3 nodes but AzureMLCompute cluster only has 2 maximum nodes.",
        ),
    ],
)
def test_hardware_is_too_small(cloud: Cloud, inputs: dict[str, str], words: str) -> None:
    """More GPUs than a node has, or more nodes than the cluster, fail the fine-tune step (pain.md I5)."""
    make_cluster(cloud)
    start(cloud, inputs={**on("gpu"), **inputs})
    assert statuses(cloud)[-1] == "Failed"
    assert words in cloud.jobs.find("tune").children[-1].log()


def test_compute_is_deleted_before_the_job_starts(cloud: Cloud) -> None:
    """A step whose compute has gone fails, and the steps before it are kept."""
    make_cluster(cloud)
    start(cloud, inputs={"compute_finetune": "gpu"})
    deletion = ask(cloud, "DELETE", "computes/gpu?underlyingResourceAction=Delete")
    assert deletion.status == 202
    cloud.clock.advance(timedelta(minutes=5))
    assert statuses(cloud)[-1] == "Failed"
    children = cloud.jobs.find("tune").children
    assert [child.status for child in children] == ["Completed"] * 3 + ["Failed"]
    assert "Unknown compute target 'gpu'." in children[-1].log()


def test_cluster_is_busy_and_then_idle(cloud: Cloud) -> None:
    """A cluster has nodes while a step runs there, and gives them back after its idle time."""
    make_cluster(cloud)
    start(cloud, inputs=on("gpu"))
    used = set()
    while cloud.jobs.find("tune").watch() != "Completed":
        used.add(cloud.computes.find("GPU").nodes.current)
    assert used == {0, 1}
    assert cloud.computes.find("gpu").nodes.idle == 1
    cloud.clock.advance(timedelta(minutes=2))
    assert cloud.computes.find("gpu").nodes.current == 0


def test_nodes_take_time_to_start(cloud: Cloud) -> None:
    """The first step waits for a node, the next finds it there, and so does a job that follows at once."""
    make_cluster(cloud)
    waits = []
    for name in ("first", "second"):
        start(cloud, name, on("gpu"))
        statuses(cloud, name)
        slots = [child.slot for child in cloud.jobs.find(name).children]
        waits.append([slot.begins - slot.queued for slot in slots])
    none = timedelta(0)
    assert waits == [[timedelta(minutes=3), none, none, none, none], [none] * 5]


def test_list_pages_and_views(cloud: Cloud) -> None:
    """Jobs are listed newest first, a page at a time, without the archived ones."""
    for number in range(103):
        start(cloud, f"job{number}")
    follow(cloud, "experiments/tests/runs/job5", "PATCH", {"hidden": True})
    first = ask(cloud, "GET", "jobs?listViewType=ActiveOnly").body
    second = ask(cloud, "GET", first["nextLink"]).body
    names = [job["name"] for job in first["value"] + second["value"]]
    assert (len(first["value"]), second["nextLink"]) == (100, None)
    assert names == [f"job{number}" for number in reversed(range(103)) if number != 5]
    archived = ask(cloud, "GET", "jobs?listViewType=ArchivedOnly").body
    assert [job["name"] for job in archived["value"]] == ["job5"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("jobType=Pipeline", ["two", "one"]),
        ("jobType=Command", []),
        ("tag=team", ["two", "one"]),
        ("tag=stage", ["two"]),
        ("tag=late", []),
        ("properties=a", ["two", "one"]),
        ("properties=a=1", ["one"]),
        ("properties=a,b=2", ["two"]),
        ("properties=a=1,b=2", []),
    ],
)
def test_list_of_some_jobs(cloud: Cloud, query: str, names: list[str]) -> None:
    """Those of a kind, or with a tag or properties, are listed alone."""
    start(cloud, "one", tags={"team": "nlp"}, properties={"a": "1"})
    start(cloud, "two", tags={"team": "vision", "stage": "late"}, properties={"a": "2", "b": "2"})
    assert [job["name"] for job in ask(cloud, "GET", f"jobs?{query}").body["value"]] == names


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("properties=azureml.FeatureSetName=f,azureml.FeatureSetVersion=1", "feature sets"),
        ("scheduled=true", "schedules"),
        ("scheduleId=nightly", "schedules"),
    ],
)
def test_list_of_what_stays_out(cloud: Cloud, query: str, what: str) -> None:
    """The jobs of a feature set or of a schedule are not none, but not emulated."""
    answer = ask(cloud, "GET", f"jobs?{query}")
    assert (answer.status, answer.message) == (501, f"The emulator has no {what}.")


def test_output_where_the_job_asked(cloud: Cloud) -> None:
    """An output with a place of its own is written there."""
    place = "azureml://datastores/workspaceblobstore/paths/models/mine"
    start(cloud, outputs={"trained_model": {"jobOutputType": "mlflow_model", "uri": place}})
    statuses(cloud)
    assert "models/mine/MLmodel" in cloud.storage.list("models/")


def test_missing_job(cloud: Cloud) -> None:
    """A job that is not there is a 404."""
    assert ask(cloud, "GET", "jobs/none").status == 404


# azure-ai-ml 1.35.2 uses marshmallow and azure-storage-blob in ways that these call deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestWithTheRealClient:
    """What azure-ai-ml does with these answers."""

    def submit(self, azure: FakeAzure, client: MLClient, folder: Path, name: str = "tune") -> None:
        """Submit a fine-tune, built as the tutorial builds it."""
        component = azure.ml_client("azureml").components.get("chat_completion_pipeline", label="latest")
        paths = {part: folder / f"{part}.jsonl" for part in ("train", "validation", "test")}
        for path in paths.values():
            path.write_bytes(jsonl(conversations(30)))
        files = {f"{part}_file_path": Input(type="uri_file", path=str(path)) for part, path in paths.items()}

        # azure-ai-ml 1.35.2 cannot read annotations that are strings, as this file's are.
        @dsl.pipeline(name="fine-tune")
        def build(rate=1e-5):  # type: ignore[no-untyped-def]
            node = component(
                mlflow_model_path=Input(type="mlflow_model", path=MODEL_ID),
                learning_rate=rate,
                num_train_epochs=2,
                **files,
            )
            return {"trained_model": node.outputs.mlflow_model_folder}

        job = build()
        job.name = name
        client.jobs.create_or_update(job, experiment_name="tests")

    def test_life_of_a_job(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """The client submits a pipeline, streams it, lists its steps, and downloads its output."""
        with FakeAzure() as azure:
            client = azure.ml_client()
            self.submit(azure, client, tmp_path)
            client.jobs.stream("tune")
            assert client.jobs.get("tune").status == "Completed"
            steps = list(client.jobs.list(parent_job_name="tune"))
            assert [(step.display_name, step.status) for step in steps] == [
                (name, "Completed") for name in STEPS
            ]
            assert client.jobs.get(steps[0].name).status == "Completed"
            assert [job.name for job in client.jobs.list()] == ["tune"]
            client.jobs.download("tune", download_path=tmp_path, output_name="trained_model")
        assert "simulated: true" in (tmp_path / "named-outputs/trained_model/MLmodel").read_text()
        printed = capsys.readouterr().out
        assert printed.count("Completing processing run id") == len(STEPS)

    def test_failures_reach_the_user(self, tmp_path: Path) -> None:
        """The client raises for a failed job and a taken name, and cancels a job; its own checks pass the rest."""
        with FakeAzure() as azure:
            client = azure.ml_client()
            azure.faults.next(JobFails())
            self.submit(azure, client, tmp_path)
            with pytest.raises(JobException, match="Failed nodes: /node/chat_completion_finetune"):
                client.jobs.stream("tune")
            with pytest.raises(ResourceExistsError):
                self.submit(azure, client, tmp_path)
            with pytest.raises(HttpResponseError, match="terminal status"):
                client.jobs.begin_cancel("tune")
            self.submit(azure, client, tmp_path, "other")
            client.jobs.begin_cancel("other").wait()
            assert client.jobs.get("other").status == "Canceled"

    def test_lost_submission(self, tmp_path: Path) -> None:
        """The client sends a job again whose answer was lost, and raises for one that runs (reliability.md 1.2)."""
        with FakeAzure() as azure:
            client = azure.ml_client()
            azure.faults.next(AnswerLost("PUT */jobs/tune"))
            with pytest.raises(ResourceExistsError):
                self.submit(azure, client, tmp_path)
            assert client.jobs.get("tune").status == "Running"

    def test_changes(self, tmp_path: Path) -> None:
        """The client changes a job's tags and name, archives it and brings it back."""
        with FakeAzure() as azure:
            client = azure.ml_client()
            self.submit(azure, client, tmp_path)
            job = client.jobs.get("tune")
            job.tags, job.display_name = {"kept": "yes"}, "renamed"
            changed = client.jobs.create_or_update(job)
            assert (changed.tags, changed.display_name) == ({"kept": "yes"}, "renamed")
            client.jobs.archive("tune")
            assert list(client.jobs.list()) == []
            client.jobs.restore("tune")
            assert len(list(client.jobs.list())) == 1
