"""Pipelines of commands and components, and fine-tuning jobs, with the real azure-ai-ml client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pipelines
import pytest
from azure.ai.ml import Input, MLClient, Output, command, dsl
from azure.ai.ml.entities import Environment, ManagedOnlineDeployment, ManagedOnlineEndpoint
from azure.ai.ml.exceptions import JobException
from azure.ai.ml.finetuning import create_finetuning_job
from azure.core.exceptions import HttpResponseError

from phi_finetune.testing import CommandInputs, CommandResult, FakeAzure, UnknownRoute
from phi_finetune.testing.faults import JobFails

IMAGE = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")
SIZE = "Standard_NC24ads_A100_v4"
PHI = "azureml://registries/azureml/models/Phi-4/versions/8"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake that takes over the requests of this process."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def client(azure: FakeAzure) -> MLClient:
    """A real client of the workspace, which keeps its remarks to itself."""
    logging.getLogger("azure.ai.ml").setLevel(logging.ERROR)
    return azure.ml_client()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of conversations."""
    path = tmp_path / "train.jsonl"
    path.write_bytes(pipelines.jsonl(pipelines.conversations(40)))
    return path


def step(name: str, line: str, takes: str | None = None, makes: str | None = "uri_file") -> object:
    """A command that may take a file, ``x``, and make one, ``y``."""
    return command(
        name=name,
        command=line,
        environment=IMAGE,
        inputs={"x": Input(type=takes)} if takes else {},
        outputs={"y": Output(type=makes)} if makes else {},
    )


def submit(client: MLClient, job: object, name: str) -> None:
    """Submit a pipeline under a name."""
    job.name = name  # type: ignore[attr-defined]
    client.jobs.create_or_update(job, experiment_name="tests")


def test_what_a_step_makes_the_next_one_takes(azure: FakeAzure, client: MLClient) -> None:
    """Each step is a run of its own, and the pipeline's output is the last one's."""
    make, double = step("make", "make > ${{outputs.y}}"), step("double", "double ${{inputs.x}}", "uri_file")

    @dsl.pipeline(compute="serverless")
    def chain() -> dict[str, object]:
        made = make()
        doubled = double(x=made.outputs.y)
        return {"result": doubled.outputs.y}

    azure.commands.on("make *", CommandResult(outputs={"y": b"21"}))
    azure.commands.on("double *", lambda given: CommandResult(outputs={"y": given.files["x"]["y"] * 2}))
    submit(client, chain(), "chain")
    client.jobs.stream("chain")
    assert [(one.display_name, one.status) for one in client.jobs.list(parent_job_name="chain")] == [
        ("made", "Completed"),
        ("doubled", "Completed"),
    ]
    assert azure.cloud.storage.read("azureml://datastores/workspaceblobstore/paths/azureml/chain/result") == {
        "result": b"2121"
    }


def test_a_pipeline_in_a_pipeline(azure: FakeAzure, client: MLClient) -> None:
    """Inputs are handed in, outputs out, and defaults of components count."""
    lines: list[str] = []

    def note(given: CommandInputs) -> CommandResult:
        lines.append(given.line)
        return CommandResult(outputs={"y": b"inner"} if given.name == "inside" else {})

    azure.commands.on("*", note)
    count = command(
        name="count",
        command="count ${{inputs.n}} $[[--to ${{inputs.m}}]] ${{outputs.y}}",
        environment=IMAGE,
        inputs={"n": Input(type="integer"), "m": Input(type="integer", optional=True)},
        outputs={"y": Output(type="uri_file")},
    )
    show = step("show", "show ${{inputs.x}}", "uri_file", None)

    @dsl.pipeline(compute="serverless")
    def inner(n=5) -> dict[str, object]:
        inside = count(n=n)
        return {"made": inside.outputs.y}

    @dsl.pipeline(compute="serverless")
    def outer(n) -> None:
        again = inner(n=n)
        show(x=again.outputs.made)
        inner()

    submit(client, outer(n=7), "outer")
    client.jobs.stream("outer")
    assert sorted(lines) == [
        "count 5  /mnt/azureml/cr/j/OUTPUT_y",
        "count 7  /mnt/azureml/cr/j/OUTPUT_y",
        "show /mnt/azureml/cr/j/INPUT_x",
    ]


def test_registered_components_and_components_of_a_registry(client: MLClient, azure: FakeAzure) -> None:
    """A component is made once, and got by its name for each pipeline."""
    greet = step("greet", "greet ${{outputs.y}}")
    client.components.create_or_update(greet.component)  # type: ignore[attr-defined]
    registered = client.components.get("greet", label="latest")

    @dsl.pipeline(compute="serverless")
    def hello() -> None:
        registered()

    submit(client, hello(), "hello")
    client.jobs.stream("hello")
    assert azure.jobs["hello"].status == "Completed"


def test_a_model_is_tuned_and_then_evaluated(azure: FakeAzure, client: MLClient, rows: Path) -> None:
    """The step after a fine-tune gets the files of the model, and can fail the pipeline."""
    tune = azure.ml_client("azureml").components.get("chat_completion_pipeline", label="latest")
    judge = step("judge", "judge ${{inputs.x}}", "mlflow_model")

    @dsl.pipeline(compute="serverless")
    def tuned_and_judged(train) -> dict[str, object]:
        tuned = tune(mlflow_model_path=Input(type="mlflow_model", path=PHI), train_file_path=train)
        judged = judge(x=tuned.outputs.mlflow_model_folder)
        return {"model": tuned.outputs.mlflow_model_folder, "verdict": judged.outputs.y}

    azure.commands.on(
        "judge *", lambda given: CommandResult(outputs={"y": str("MLmodel" in given.files["x"]).encode()})
    )
    submit(client, tuned_and_judged(train=Input(type="uri_file", path=str(rows))), "both")
    client.jobs.stream("both")
    steps = [one.display_name for one in client.jobs.list(parent_job_name="both")]
    assert steps[-2:] == ["ft_nlp_model_converter", "judged"]
    assert azure.cloud.storage.read("azureml://datastores/workspaceblobstore/paths/azureml/both/verdict") == {
        "verdict": b"True"
    }
    azure.commands.on("judge *", CommandResult(exit_code=1))
    submit(client, tuned_and_judged(train=Input(type="uri_file", path=str(rows))), "refused")
    with pytest.raises(JobException, match="Failed nodes: /judged"):
        client.jobs.stream("refused")


@pytest.mark.parametrize(("keep_going", "status"), [(False, "Canceled"), (True, "Completed")])
def test_what_a_failure_does_to_the_other_steps(
    azure: FakeAzure, client: MLClient, keep_going: bool, status: str
) -> None:
    """It ends them, unless the pipeline is to go on; what needs the failed step never runs."""
    first, other = step("first", "first"), step("other", "other")
    after = step("after", "after ${{inputs.x}}", "uri_file")

    @dsl.pipeline(compute="serverless")
    def fork() -> None:
        failing = first()
        after(x=failing.outputs.y)
        other()

    azure.commands.on("first", CommandResult(exit_code=1, lasts=timedelta(minutes=1)))
    azure.commands.on("other", CommandResult(lasts=timedelta(hours=1)))
    job = fork()
    job.settings.continue_on_step_failure = keep_going
    submit(client, job, "fork")
    azure.clock.advance(timedelta(hours=5))
    assert {step.display_name: step.status for step in azure.jobs["fork"].children} == {
        "failing": "Failed",
        "other": status,
    }
    assert client.jobs.get("fork").status == "Failed"
    hours = sum(row.hours for row in azure.billing().rows)
    assert (hours > 1) == keep_going


def refused(call: Callable[[MLClient], object], words: str) -> None:
    """Something is answered with 501, and the fake says so again when it ends."""

    def attempt() -> None:
        with FakeAzure() as azure, pytest.raises(HttpResponseError, match=words) as caught:
            call(azure.ml_client())
        assert caught.value.status_code == 501

    with pytest.raises(UnknownRoute, match=words):
        attempt()


def test_a_kind_of_step_that_is_not_run_says_so() -> None:
    """A sweep in a pipeline is answered with 501, which the fake tells at its end too."""
    train = command(
        name="train",
        command="train ${{inputs.rate}}",
        environment=IMAGE,
        inputs={"rate": Input(type="number")},
    )

    @dsl.pipeline(compute="serverless")
    def tune() -> None:
        from azure.ai.ml.sweep import Uniform

        sweep = train(rate=Uniform(0.1, 0.9)).sweep(
            sampling_algorithm="random", primary_metric="loss", goal="minimize"
        )
        sweep.set_limits(max_total_trials=2, max_concurrent_trials=1, timeout=7200)

    refused(lambda client: submit(client, tune(), "tune"), "runs no sweep nodes")


def fine_tuning(rows: Path, task: str = "chatCompletion", **more: object) -> object:
    """A fine-tuning job of Phi-4."""
    return create_finetuning_job(
        model=PHI,
        task=task,
        training_data=str(rows),
        validation_data=str(rows),
        hyperparameters={"num_train_epochs": "1", "learning_rate": "0.00002"},
        output_model_name_prefix="support",
        name="tune",
        experiment_name="tests",
        **more,
    )


def test_a_fine_tuning_job_registers_its_model(azure: FakeAzure, client: MLClient, rows: Path) -> None:
    """The model is registered under the name that the job's output has, and answers from its training."""
    job = client.jobs.create_or_update(fine_tuning(rows, instance_types=[SIZE]))
    assert (job.type, job.task, job.status) == ("finetuning", "chatCompletion", "Preparing")
    client.jobs.stream("tune")
    job = client.jobs.get("tune")
    assert job.status == "Completed"
    assert len(list(client.jobs.list(parent_job_name="tune"))) == 5
    assert {row.size for row in azure.billing().rows} == {SIZE}
    # Azure's page on fine-tuning models as serverless APIs reads the model's name here.
    model = client.models.get(job.outputs["registered_model"]["name"], label="latest")
    assert (model.version, model.type, model.job_name) == ("1", "mlflow_model", "tune")

    client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="support")).result()
    deployment = ManagedOnlineDeployment(
        name="blue", endpoint_name="support", model=f"azureml:support:{model.version}", instance_type=SIZE
    )
    client.online_deployments.begin_create_or_update(deployment).result()
    assert azure.endpoints["support"].deployments["blue"].ready


def test_a_fine_tuning_job_can_fail(azure: FakeAzure, client: MLClient, rows: Path) -> None:
    """As the pipeline that it runs can."""
    azure.faults.next(JobFails())
    client.jobs.create_or_update(fine_tuning(rows))
    with pytest.raises(JobException, match="chat_completion_finetune"):
        client.jobs.stream("tune")
    assert azure.models == {}


def test_another_task_is_not_emulated(rows: Path) -> None:
    """The fake knows one pipeline, that of chat completion."""
    job = fine_tuning(rows, task="textCompletion")
    refused(lambda client: client.jobs.create_or_update(job), "no Custom models for textCompletion")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hyperparameters": {"num_train_epochs": "0"}}, "num_train_epochs.*at least 1"),
        ({"hyperparameters": {"epochs": "1"}}, "Unknown input 'epochs'"),
        ({"model": "azureml://registries/azureml/models/Phi-99/versions/1"}, "Phi-99"),
        ({"instance_types": ["Standard_NC1"]}, "Standard_NC1"),
        ({"compute": "nowhere"}, "Unknown compute target 'nowhere'"),
    ],
)
def test_a_fine_tuning_job_is_checked(
    client: MLClient, rows: Path, change: dict[str, object], words: str
) -> None:
    """The client checks nothing of this, the service does."""
    given = {
        "model": PHI,
        "task": "chatCompletion",
        "training_data": str(rows),
        "validation_data": str(rows),
        "output_model_name_prefix": "support",
        "experiment_name": "tests",
    }
    with pytest.raises(HttpResponseError, match=words):
        client.jobs.create_or_update(create_finetuning_job(**{**given, **change}))
