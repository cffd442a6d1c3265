from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pipelines
import pytest
from tuning import SIZE, Heard, content, data, finetune, sent

import phi_finetune as pf
from phi_finetune.errors import JobFailed, NameTaken, ServiceError
from phi_finetune.events import AdoptedExisting, Created, Event, Uploaded, Warned
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, JobFails

JOBS = "*/jobs/*"


def submitted(azure: FakeAzure) -> list[str]:
    """The names of the jobs that were asked for, one for each request."""
    return [entry.url.partition("?")[0].rpartition("/")[2] for entry in sent(azure, "PUT", JOBS)]


# What goes out


def test_the_pipeline_is_as_the_service_wants_it(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """One step, the registry's component; texts for literals; files by their content; the model as output."""
    job = finetune(workspace, {"learning_rate": 5e-6, "apply_lora": True}).submit()
    (put,) = sent(fake_azure, "PUT", JOBS)
    properties = content(put)["properties"]
    assert properties["jobType"] == "Pipeline"
    assert properties["outputs"]["trained_model"]["jobOutputType"] == "mlflow_model"
    ((_, node),) = properties["jobs"].items()
    component = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    assert node["componentId"] == component
    assert node["outputs"]["mlflow_model_folder"]["value"] == "${{parent.outputs.trained_model}}"
    assert node["inputs"]["learning_rate"] == {"value": "5e-06", "job_input_type": "literal"}
    assert node["inputs"]["apply_lora"]["value"] == "true"
    assert node["inputs"]["mlflow_model_path"] == {"uri": job.base_model, "job_input_type": "mlflow_model"}
    assert "/LocalUpload/" in node["inputs"]["train_file_path"]["uri"]


def test_what_the_service_knows_by_itself_is_not_sent(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The pipeline's own defaults, and bounds of the model that it does not declare, stay here."""
    finetune(workspace).submit()
    (put,) = sent(fake_azure, "PUT", JOBS)
    ((_, node),) = content(put)["properties"]["jobs"].items()
    assert not {"seed", "learning_rate_min", "weight_decay"} & set(node["inputs"])


def test_names_and_settings_have_defaults(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Experiment, display name and the two switches are set, whatever folder it is submitted from."""
    job = finetune(
        workspace,
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3, "max_seq_length": 2048},
        on=workspace.gpu_compute("gpu", size="Standard_NC48ads_A100_v4"),
    ).submit()
    properties = content(sent(fake_azure, "PUT", JOBS)[0])["properties"]
    assert properties["experimentName"] == job.experiment == "chat_completion_Phi-4"
    assert properties["displayName"] == job.display_name
    parts = (job.display_name or "").split(", ")
    assert parts == [
        "Phi-4",
        "facts",
        "batch 12",
        "cosine",
        "DeepSpeed stage 3",
        "LoRA",
        "save limit 1",
        "sequence length 2048",
    ]
    assert properties["settings"]["force_rerun"] is False
    assert properties["settings"]["continue_on_step_failure"] is False


def test_settings_go_out(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Every setting that was given is in the request, and in the job that comes back."""
    job = (
        finetune(workspace)
        .with_settings(
            experiment="nightly",
            display_name="tonight",
            description="a try",
            tags={"team": "nlp"},
            force_rerun=True,
            continue_on_step_failure=True,
        )
        .submit()
    )
    properties = content(sent(fake_azure, "PUT", JOBS)[0])["properties"]
    assert (properties["experimentName"], properties["displayName"]) == ("nightly", "tonight")
    assert properties["description"] == "a try"
    assert properties["settings"]["force_rerun"] is True
    assert properties["settings"]["continue_on_step_failure"] is True
    assert (properties["tags"]["team"], properties["tags"]["made-by"]) == ("nlp", "phi-finetune")
    found = workspace.job(job.name)
    assert (found.experiment, found.display_name, found.description) == ("nightly", "tonight", "a try")
    assert found.tags == job.tags


def test_each_step_has_its_compute(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Steps for which nothing was said run where the training does; every compute is made ready."""
    gpu = workspace.gpu_compute("gpu", size=SIZE)
    small = workspace.gpu_compute("small", size="Standard_NC4as_T4_v3")
    finetune(workspace).on(gpu, model_import=small, preprocess=small).submit()
    ((_, node),) = content(sent(fake_azure, "PUT", JOBS)[0])["properties"]["jobs"].items()
    computes = {step: node["inputs"][f"compute_{step}"]["value"] for step in ("model_import", "preprocess")}
    assert computes == {"model_import": "small", "preprocess": "small"}
    assert node["inputs"]["compute_finetune"]["value"] == "gpu"
    assert sorted(fake_azure.computes) == ["gpu", "small"]


def test_files_are_uploaded_once(fake_azure: FakeAzure) -> None:
    """The same rows are not sent a second time, for another job or by another process."""
    heard = Heard()
    finetune(fake_azure.workspace(on_event=heard)).submit()
    finetune(fake_azure.workspace(on_event=heard), {"lora_r": 4}).submit()
    uploads = [(event.resource, event.reused) for event in heard.of(Uploaded)]
    assert uploads == [
        ("file train.jsonl", False),
        ("file validation.jsonl", False),
        ("file train.jsonl", True),
        ("file validation.jsonl", True),
    ]


def test_a_warning_is_told_and_does_not_stop(fake_azure: FakeAzure) -> None:
    """What would do nothing is heard of, and the job is submitted."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    split = data().split(test=0.2, seed=1)
    ws.foundation_model("Phi-4").finetune(split).on(pf.GpuCompute.serverless(SIZE)).submit()
    assert any("test" in event.message for event in heard.of(Warned))
    assert len(submitted(fake_azure)) == 1


# Once for one intent


def test_submitting_twice_gives_one_job(fake_azure: FakeAzure) -> None:
    """The second call finds the first one's job, and says so."""
    heard = Heard()
    first = finetune(fake_azure.workspace(on_event=heard)).submit()
    second = finetune(fake_azure.workspace(on_event=heard)).submit()
    assert first.name == second.name
    assert submitted(fake_azure) == [first.name]
    assert [len(heard.of(kind)) for kind in (Created, AdoptedExisting)] == [1, 1]


def test_a_completed_job_is_found_again(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """What was paid for is not paid for again."""
    finetune(workspace).submit().wait()
    again = finetune(workspace).submit()
    assert again.status == "Completed"
    assert len(submitted(fake_azure)) == 1


def test_adopting_a_job_creates_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Where the job is there, its cluster need not be made again."""
    cluster = workspace.gpu_compute("gpu", size=SIZE)
    finetune(workspace, on=cluster).submit().wait()
    cluster.delete()
    assert finetune(workspace, on=cluster).submit().status == "Completed"
    assert fake_azure.computes == {}


@pytest.mark.parametrize("edited", ["", "mine", "[1]"])
def test_an_edited_tag_keeps_nothing_from_being_adopted(
    fake_azure: FakeAzure, workspace: pf.Workspace, edited: str
) -> None:
    """Anybody may edit tags in the studio; what the job was submitted with is then just not known."""
    first = finetune(workspace).submit()
    fake_azure.jobs[first.name].tags["phi-finetune.resolved"] = edited
    assert finetune(workspace).submit().name == first.name


def test_many_threads_submit_one_job(fake_azure: FakeAzure) -> None:
    """Eight at once, each with a workspace of its own, pay for one."""
    start = threading.Barrier(8)

    def submit(_: int) -> str:
        tune = finetune(fake_azure.workspace())
        start.wait()
        return tune.submit().name

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(submit, range(8)))
    assert len(names) == 1
    assert list(fake_azure.jobs) == list(names)
    assert [entry.status for entry in sent(fake_azure, "PUT", JOBS)].count(201) == 1


def test_who_comes_second_adopts(fake_azure: FakeAzure) -> None:
    """Another process submits between our look and our request: the refusal leads to its job."""
    heard = Heard()

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Uploaded) and not fake_azure.jobs:
            finetune(fake_azure.workspace()).submit()

    job = finetune(fake_azure.workspace(on_event=listen)).submit()
    assert [entry.status for entry in sent(fake_azure, "PUT", JOBS)] == [201, 409]
    assert list(fake_azure.jobs) == [job.name]
    assert len(heard.of(AdoptedExisting)) == 1


def test_a_conflict_about_nothing_is_told(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A 409 for a name under which there is no job is an error of the service."""
    fake_azure.faults.next(Answer("PUT */jobs/*", 409, "Conflict", "Try later."))
    with pytest.raises(ServiceError, match=r"Try later\.") as caught:
        finetune(workspace).submit()
    assert caught.value.status_code == 409


# The next attempt


def test_a_failed_job_is_spent(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Submitting again after a failure is the next attempt, under a name of its own."""
    fake_azure.faults.next(JobFails())
    first = finetune(workspace).submit()
    with pytest.raises(JobFailed):
        first.wait()
    second = finetune(workspace).submit()
    assert second.name == f"{first.name}-2"
    assert second.wait().status == "Completed"
    assert finetune(workspace).submit().name == second.name


def test_a_canceled_job_is_spent(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """So is one that somebody canceled."""
    first = finetune(workspace).submit()
    first.cancel()
    assert finetune(workspace).submit().name == f"{first.name}-2"


def test_an_archived_job_is_spent(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """So is one that was archived, although it completed."""
    first = finetune(workspace).submit().wait()
    fake_azure.ml_client().jobs.archive(first.name)
    assert finetune(workspace).submit().name == f"{first.name}-2"


def test_again_is_a_further_job(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Each ``again`` is one more, running ones left alone."""
    names = [finetune(workspace).submit().name]
    names += [finetune(workspace).submit(again=True).name for _ in range(2)]
    assert names == [names[0], f"{names[0]}-2", f"{names[0]}-3"]
    assert submitted(fake_azure) == names


# Names that were set


def test_a_named_job_is_found_by_its_name(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The same content under the same name is the same job."""
    for _ in range(2):
        assert finetune(workspace).named("nightly").submit().name == "nightly"
    assert submitted(fake_azure) == ["nightly"]


def test_another_content_under_a_name_is_refused(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The error says in words what differs, before anything is uploaded."""
    finetune(workspace, {"learning_rate": 1e-5}).named("nightly").submit()
    fake_azure.journal.clear()
    with pytest.raises(NameTaken) as caught:
        finetune(workspace, {"learning_rate": 2e-5, "seed": 1}).named("nightly").submit()
    assert caught.value.resource == "job nightly"
    why = "parameters.learning_rate was 1e-05, is now 2e-05; parameters.seed was None, is now 1"
    assert caught.value.why == why
    assert sent(fake_azure, "PUT", "*") == []


def test_a_job_of_another_tool_is_not_taken_over(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A job of that name that this library did not submit is left alone."""
    pipelines.start(fake_azure.cloud, "nightly")
    with pytest.raises(NameTaken, match="was not submitted by phi-finetune"):
        finetune(workspace).named("nightly").submit()


# What was resolved


def test_a_changed_resolution_is_told(fake_azure: FakeAzure) -> None:
    """The job is adopted as it is, with a warning that names what would now be another."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    small = ws.gpu_compute("gpu", size=SIZE)
    first = finetune(ws, on=small).submit()
    small.delete()
    large = ws.gpu_compute("gpu", size="Standard_NC48ads_A100_v4").ensure()
    second = finetune(ws, on=large).submit()
    assert second.name == first.name
    (warning,) = [event for event in heard.of(Warned) if event.resource == first.resource]
    assert "gpus was 1, would now be 2" in warning.message
    assert "again=True" in warning.message


def test_an_unchanged_resolution_is_not_worth_a_word(fake_azure: FakeAzure) -> None:
    """Adopting what would be submitted in the same way warns of nothing."""
    heard = Heard()
    for _ in range(2):
        finetune(fake_azure.workspace(on_event=heard)).submit()
    assert heard.of(Warned) == []


# Threads


def test_pipelines_built_at_once_do_not_mix(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Eight threads submit eight jobs; each request holds its own step and its own value."""
    model = workspace.foundation_model("Phi-4")
    request = model.finetune(data()).on(pf.GpuCompute.serverless(SIZE))
    start = threading.Barrier(8)

    def submit(seed: int) -> tuple[int, str]:
        start.wait()
        return seed, request.with_parameters(seed=seed).submit().name

    with ThreadPoolExecutor(8) as pool:
        names = dict(pool.map(submit, range(1, 9)))
    seeds: dict[int, str] = {}
    for put in sent(fake_azure, "PUT", JOBS):
        (node,) = content(put)["properties"]["jobs"].values()
        seeds[int(node["inputs"]["seed"]["value"])] = put.url.partition("?")[0].rpartition("/")[2]
    assert seeds == names


# What is shown


def test_nothing_secret_is_logged_or_sent_aside(
    fake_azure: FakeAzure,
    workspace: pf.Workspace,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At the finest level of logging no token and no row is in a log, and nothing is printed."""
    caplog.set_level(logging.DEBUG)
    finetune(workspace).submit()
    text = caplog.text
    token = fake_azure.credential.get_token("https://management.azure.com/.default").token
    assert token.rpartition(".")[2] not in text
    assert "Tell me of river" not in text
    assert capsys.readouterr() == ("", "")


def test_the_service_refuses_what_the_client_lets_through(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """A refusal of the job itself carries the service's own words, code and request id."""
    fake_azure.faults.next(Answer("PUT */jobs/*", 400, "UserError", "The component is deprecated."))
    with pytest.raises(ServiceError) as caught:
        finetune(workspace).submit()
    error: Any = caught.value
    assert "The component is deprecated." in str(error)
    assert (error.status_code, error.code) == (400, "UserError")
    assert error.request_id
    assert error.resource.startswith("job phi-4-facts-")
    assert error.next_call
