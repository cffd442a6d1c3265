from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pipelines
import pytest
from azure.ai.ml import Input, dsl
from azure.ai.ml.entities import CronTrigger, JobSchedule, PipelineJob
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from service_doors import Door
from watched_client import WatchedClient

# azure-ai-ml 1.35.2 builds and downloads in ways that marshmallow and azure-storage-blob call deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SIZE = "Standard_NC24ads_A100_v4"


def fine_tune(door: Door, folder: Path, name: str, **changes: object) -> PipelineJob:
    """A fine-tune of Phi-4 on serverless compute, as a plain user builds it."""
    component = door.registry.components.get("chat_completion_pipeline", label="latest")
    model = door.registry.models.get("Phi-4", label="latest")
    steps = ("model_import", "preprocess", "finetune", "model_evaluation")
    inputs: dict[str, object] = {
        "mlflow_model_path": Input(type="mlflow_model", path=model.id),
        "number_of_gpu_to_use_finetuning": 1,
        "num_train_epochs": 1,
        "max_steps": 2,
        **{f"instance_type_{step}": SIZE for step in steps},
        **changes,
    }
    for split, count in (("train", 40), ("validation", 8)):
        path = folder / f"{split}.jsonl"
        path.write_bytes(pipelines.jsonl(pipelines.conversations(count)))
        inputs[f"{split}_file_path"] = Input(type="uri_file", path=str(path))

    # azure-ai-ml 1.35.2 cannot read annotations that are strings, as this file's are.
    @dsl.pipeline(name="contract")
    def build():  # type: ignore[no-untyped-def]
        return {"trained_model": component(**inputs).outputs.mlflow_model_folder}

    job = build()
    job.name, job.experiment_name = name, "phi-finetune-contract"
    return job


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the rows."""
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def finished(door: Door, folder: Path, unique: Callable[[str], str]) -> Iterator[str]:
    """A job that has ended well, and is archived when the tests of this file are done."""
    name = unique("job")
    door.workspace.jobs.create_or_update(fine_tune(door, folder, name))
    door.workspace.jobs.stream(name)
    yield name
    door.workspace.jobs.archive(name)


@pytest.mark.costs
@pytest.mark.operation("jobs.create_or_update:PipelineJob", "jobs.stream")
def test_submit_and_wait(
    ml: WatchedClient,
    door: Door,
    folder: Path,
    unique: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pipeline is accepted under its name with a page in the studio, and followed to its end (wire.md 5)."""
    made = ml.jobs.create_or_update(fine_tune(door, folder, unique("job")))
    assert made.status in ("NotStarted", "Preparing", "Queued", "Running")
    assert made.studio_url.startswith("https://ml.azure.com/runs/")
    ml.jobs.stream(made.name)
    assert f"RunId: {made.name}" in capsys.readouterr().out
    assert ml.jobs.get(made.name).status == "Completed"
    ml.jobs.archive(made.name)


@pytest.mark.costs
@pytest.mark.operation("jobs.get")
def test_get(ml: WatchedClient, finished: str) -> None:
    """A job keeps what it was made of, and gets an output for its logs (service.md)."""
    found = ml.jobs.get(finished)
    assert (found.name, found.type, found.status) == (finished, "pipeline", "Completed")
    assert found.experiment_name == "phi-finetune-contract"
    assert found.outputs["trained_model"].type == "mlflow_model"
    [node] = found.jobs.values()
    assert "chat_completion_pipeline" in str(node.component)


@pytest.mark.costs
@pytest.mark.operation("jobs.list", "jobs.get")
def test_list(ml: WatchedClient, finished: str) -> None:
    """The job is among all, and its steps are listed and can be got (wire.md 5)."""
    assert finished in [job.name for job in ml.jobs.list()]
    steps = list(ml.jobs.list(parent_job_name=finished))
    assert steps
    assert {step.status for step in steps} == {"Completed"}
    assert ml.jobs.get(steps[0].name).display_name == steps[0].display_name


@pytest.mark.costs
@pytest.mark.operation("jobs.update")
def test_update(ml: WatchedClient, finished: str) -> None:
    """Tags and the display name of a job change (wire.md 5)."""
    ml.jobs.update(finished, tags={"who": "contract"}, display_name="renamed")
    found = ml.jobs.get(finished)
    assert (found.tags["who"], found.display_name) == ("contract", "renamed")


@pytest.mark.costs
@pytest.mark.operation("jobs.archive", "jobs.restore")
def test_archive_and_restore(ml: WatchedClient, finished: str) -> None:
    """An archived job is in no list until it is restored, and can be got all the while."""
    ml.jobs.archive(finished)
    assert finished not in [job.name for job in ml.jobs.list()]
    assert ml.jobs.get(finished).status == "Completed"
    ml.jobs.restore(finished)
    assert finished in [job.name for job in ml.jobs.list()]


@pytest.mark.costs
@pytest.mark.operation("jobs.download")
def test_download(ml: WatchedClient, finished: str, tmp_path: Path) -> None:
    """An output's files come, under its name."""
    ml.jobs.download(finished, download_path=tmp_path, output_name="trained_model")
    assert (tmp_path / "named-outputs" / "trained_model" / "MLmodel").is_file()


@pytest.mark.costs
@pytest.mark.operation("jobs.begin_cancel")
def test_cancel(ml: WatchedClient, door: Door, folder: Path, unique: Callable[[str], str]) -> None:
    """A running job can be cancelled; one that has ended cannot (service.md)."""
    name = ml.jobs.create_or_update(fine_tune(door, folder, unique("job"))).name
    ml.jobs.begin_cancel(name).wait()
    assert ml.jobs.get(name).status == "Canceled"
    with pytest.raises(HttpResponseError, match="terminal status") as refused:
        ml.jobs.begin_cancel(name).wait()
    assert refused.value.status_code == 400
    ml.jobs.archive(name)


@pytest.mark.costs
@pytest.mark.operation("jobs.create_or_update:PipelineJob")
def test_a_name_is_taken_once(ml: WatchedClient, door: Door, folder: Path, finished: str) -> None:
    """Another job under the name of one that there is gets 409."""
    with pytest.raises(ResourceExistsError):
        ml.jobs.create_or_update(fine_tune(door, folder, finished, num_train_epochs=2))


@pytest.mark.operation("jobs.create_or_update:PipelineJob")
def test_an_unknown_compute_is_refused(
    ml: WatchedClient, door: Door, folder: Path, unique: Callable[[str], str]
) -> None:
    """The client does not look; the service does, and answers 400 (service.md)."""
    job = fine_tune(door, folder, unique("job"), compute_finetune="pf-nowhere")
    with pytest.raises(HttpResponseError, match="pf-nowhere") as refused:
        ml.jobs.create_or_update(job)
    assert refused.value.status_code == 400


@pytest.mark.operation("jobs.validate")
def test_validate(ml: WatchedClient, door: Door, folder: Path, unique: Callable[[str], str]) -> None:
    """A job is checked by the client, without being submitted."""
    job = fine_tune(door, folder, unique("job"))
    assert ml.jobs.validate(job).passed
    with pytest.raises(ResourceNotFoundError):
        door.workspace.jobs.get(job.name)


@pytest.mark.operation("jobs.get")
def test_a_missing_one_is_not_found(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """It is a 404."""
    with pytest.raises(ResourceNotFoundError):
        ml.jobs.get(unique("job"))


@pytest.mark.refused("schedules.begin_create_or_update", what="schedules")
def test_a_schedule_stays_out(ml: WatchedClient, door: Door, folder: Path) -> None:
    """A job cannot be put on a schedule."""
    assert door.cloud is not None
    job, trigger = fine_tune(door, folder, "nightly"), CronTrigger(expression="0 0 * * *")
    with pytest.raises(HttpResponseError, match="schedules are not emulated") as refused:
        ml.schedules.begin_create_or_update(JobSchedule(name="s", trigger=trigger, create_job=job))
    assert refused.value.status_code == 501
    door.cloud.unrouted.clear()
