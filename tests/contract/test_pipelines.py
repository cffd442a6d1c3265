"""Pipelines of commands, and fine-tuning jobs; a pipeline that is a fine-tune is in test_jobs.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pipelines
import pytest
from azure.ai.ml import Input, Output, command, dsl
from azure.ai.ml.entities import Environment, PipelineJob
from azure.ai.ml.exceptions import JobException
from azure.ai.ml.finetuning import create_finetuning_job
from azure.core.exceptions import HttpResponseError
from service_doors import Door
from watched_client import WatchedClient

from phi_finetune.testing import CommandInputs, CommandResult

# azure-ai-ml 1.35.2 builds and downloads in ways that marshmallow and azure-storage-blob call deprecated.
pytestmark = [pytest.mark.costs, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

STEPS = (
    "Steps are commands and the pipeline for chat completion: no sweep, AutoML, Spark, parallel, transfer or "
    "control-flow step is run."
)
IMAGE = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")
SIZE = "Standard_NC24ads_A100_v4"


def chain(name: str, second: str = "cat ${{inputs.x}} ${{inputs.x}} > ${{outputs.y}}") -> PipelineJob:
    """A pipeline of two steps: what the first one makes, the second one takes."""
    make = command(
        name="make",
        command="echo 21 > ${{outputs.y}}",
        environment=IMAGE,
        outputs={"y": Output(type="uri_file")},
    )
    double = command(
        name="double",
        command=second,
        environment=IMAGE,
        inputs={"x": Input(type="uri_file")},
        outputs={"y": Output(type="uri_file")},
    )

    # azure-ai-ml 1.35.2 cannot read annotations that are strings, as this file's are.
    @dsl.pipeline(compute="serverless")
    def build():  # type: ignore[no-untyped-def]
        made = make()
        doubled = double(x=made.outputs.y)
        return {"result": doubled.outputs.y}

    job = build()
    job.name, job.experiment_name = name, "phi-finetune-contract"
    return job


@pytest.fixture(scope="module", autouse=True)
def outcomes(door: Door) -> None:
    """What the real service's machines would do, for a fake."""
    if door.cloud is None:
        return

    def double(given: CommandInputs) -> CommandResult:
        return CommandResult(outputs={"y": 2 * next(iter(given.files["x"].values()))})

    door.cloud.commands.on("echo 21 *", CommandResult(outputs={"y": b"21\n"}))
    door.cloud.commands.on("cat *", double)
    door.cloud.commands.on("exit 3", CommandResult(exit_code=3))


@pytest.fixture(scope="module")
def finished(door: Door, unique: Callable[[str], str]) -> Iterator[str]:
    """A pipeline that has ended well, and is archived when the tests of this file are done."""
    name = unique("job")
    door.workspace.jobs.create_or_update(chain(name))
    door.workspace.jobs.stream(name)
    yield name
    door.workspace.jobs.archive(name)


@pytest.mark.operation("jobs.create_or_update:PipelineJob", partial=STEPS)
@pytest.mark.operation("jobs.stream", "jobs.get")
def test_submit_and_wait(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """A pipeline keeps its steps, and is followed to its end."""
    made = ml.jobs.create_or_update(chain(unique("job")))
    assert set(made.jobs) == {"made", "doubled"}
    ml.jobs.stream(made.name)
    found = ml.jobs.get(made.name)
    assert (found.type, found.status, set(found.jobs)) == ("pipeline", "Completed", {"made", "doubled"})
    ml.jobs.archive(made.name)


@pytest.mark.operation("jobs.list", "jobs.get")
def test_steps(ml: WatchedClient, finished: str) -> None:
    """Each step is a run of its own, which is listed below the pipeline and can be got."""
    steps = {step.display_name: step for step in ml.jobs.list(parent_job_name=finished)}
    assert {name: step.status for name, step in steps.items()} == {
        "made": "Completed",
        "doubled": "Completed",
    }
    assert ml.jobs.get(steps["made"].name).display_name == "made"


@pytest.mark.operation("jobs.download")
def test_download(ml: WatchedClient, finished: str, tmp_path: Path) -> None:
    """The second step has read what the first one has made, and its output is the pipeline's."""
    ml.jobs.download(finished, download_path=tmp_path, output_name="result")
    [path] = [path for path in (tmp_path / "named-outputs").rglob("*") if path.is_file()]
    assert path.read_text("utf-8") == "21\n21\n"


@pytest.mark.operation("jobs.stream")
def test_a_failing_step_is_told(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """Streaming raises, and names the step; the pipeline has failed."""
    name = ml.jobs.create_or_update(chain(unique("job"), "exit 3")).name
    with pytest.raises(JobException, match="doubled"):
        ml.jobs.stream(name)
    steps = {step.display_name: step.status for step in ml.jobs.list(parent_job_name=name)}
    assert steps == {"made": "Completed", "doubled": "Failed"}
    assert ml.jobs.get(name).status == "Failed"
    ml.jobs.archive(name)


@pytest.fixture
def rows(tmp_path: Path) -> str:
    """A file of conversations."""
    path = tmp_path / "train.jsonl"
    path.write_bytes(pipelines.jsonl(pipelines.conversations(40)))
    return str(path)


def fine_tune(door: Door, rows: str, name: str, **changes: object) -> object:
    """A fine-tuning job of Phi-4, whose model gets the job's name."""
    given: dict[str, object] = {
        "model": door.registry.models.get("Phi-4", label="latest").id,
        "task": "chatCompletion",
        "training_data": rows,
        "validation_data": rows,
        "hyperparameters": {"num_train_epochs": "1", "learning_rate": "0.00002"},
        "instance_types": [SIZE],
        "output_model_name_prefix": f"{name}-model",
        "name": name,
        "experiment_name": "phi-finetune-contract",
    }
    return create_finetuning_job(**{**given, **changes})


@pytest.mark.operation(
    "jobs.create_or_update:CustomModelFineTuningJob",
    partial="The task is chatCompletion, of a model of the registry azureml.",
)
@pytest.mark.operation("jobs.stream", "jobs.get", "models.get")
def test_a_fine_tuning_job(ml: WatchedClient, door: Door, rows: str, unique: Callable[[str], str]) -> None:
    """It is followed to its end, and its model is registered under the name that its output has (wire.md 11)."""
    made = ml.jobs.create_or_update(fine_tune(door, rows, unique("job")))
    assert (made.type, made.task) == ("finetuning", "chatCompletion")
    ml.jobs.stream(made.name)
    found = ml.jobs.get(made.name)
    assert found.status == "Completed"
    model = ml.models.get(found.outputs["registered_model"]["name"], label="latest")
    assert (model.type, model.job_name) == ("mlflow_model", made.name)
    ml.models.archive(model.name, version=model.version)
    ml.jobs.archive(made.name)


@pytest.mark.operation("jobs.create_or_update:CustomModelFineTuningJob")
def test_a_fine_tuning_job_is_checked(
    ml: WatchedClient, door: Door, rows: str, unique: Callable[[str], str]
) -> None:
    """The client sends any compute; the service looks it up, and answers 400 (service.md)."""
    with pytest.raises(HttpResponseError, match="pf-nowhere") as refused:
        ml.jobs.create_or_update(
            fine_tune(door, rows, unique("job"), compute="pf-nowhere", instance_types=None)
        )
    assert refused.value.status_code == 400
