"""Command jobs with the real azure-ai-ml client."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from azure.ai.ml import Input, MLClient, Output, command
from azure.ai.ml.constants import ListViewType
from azure.ai.ml.entities import AmlCompute, Command, Environment
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError
from mlflow import MlflowClient

from phi_finetune.testing import CommandInputs, CommandResult, FakeAzure
from phi_finetune.testing.faults import JobFails, Preempted

# azure-ai-ml 1.35.2 downloads in a way that azure-storage-blob calls deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The use of a 'BlobProperties':DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:content_as_bytes is deprecated:DeprecationWarning"),
]

IMAGE = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")
LINE = "python train.py --rate ${{inputs.rate}} --data ${{inputs.data}} --out ${{outputs.model}}"


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
def source(tmp_path: Path) -> Path:
    """A folder with a script and a file of data."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print('training')\n")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    return tmp_path


def training(source: Path, name: str = "train", **more: object) -> Command:
    """A command job that trains on a file and writes a model and a report."""
    return command(
        name=name,
        experiment_name="tests",
        command=LINE,
        code=str(source / "src"),
        environment=IMAGE,
        inputs={"rate": 0.1, "data": Input(type="uri_file", path=str(source / "rows.csv"))},
        outputs={"model": Output(type="custom_model", name="forest"), "report": Output(type="uri_file")},
        **more,
    )


def plain(name: str, line: str = "echo hello", **more: object) -> Command:
    """A command job that takes and writes nothing."""
    return command(name=name, experiment_name="tests", command=line, environment=IMAGE, **more)


def test_a_command_job_from_end_to_end(azure: FakeAzure, client: MLClient, source: Path) -> None:
    """It gets its code, values and files; its metrics, outputs and named model can be had afterwards."""
    given: list[CommandInputs] = []

    def train(inputs: CommandInputs) -> CommandResult:
        given.append(inputs)
        return CommandResult(
            outputs={"model": {"forest.bin": b"trees"}, "report": b"good"},
            metrics={"loss": [3.0, 2.0]},
            log="epoch 1\nepoch 2",
        )

    azure.commands.on("python train.py *", train)
    job = client.jobs.create_or_update(
        training(source, tags={"team": "phi"}, environment_variables={"A": "b"})
    )
    assert (job.status, type(job), job.tags) == ("Starting", Command, {"team": "phi"})
    client.jobs.stream("train")
    job = client.jobs.get("train")
    assert job.status == "Completed"
    assert job.outputs["default"].path.endswith("/workspaceartifactstore/ExperimentRun/dcid.train")

    [inputs] = given
    assert inputs.line.startswith("python train.py --rate 0.1 --data /mnt/")
    assert (inputs.values, inputs.environment_variables) == ({"rate": "0.1"}, {"A": "b"})
    assert inputs.files == {"data": {"rows.csv": b"a,b\n1,2\n"}}
    assert inputs.code == {"train.py": b"print('training')\n"}

    client.jobs.download("train", download_path=source / "got", output_name="report")
    [report] = [path for path in (source / "got").rglob("*") if path.is_file()]
    assert report.read_bytes() == b"good"
    model = client.models.get("forest", label="latest")
    assert (model.version, model.type, model.job_name) == ("1", "custom_model", "train")
    assert azure.models["forest"][0].files() == {"forest.bin": b"trees"}

    tracking = MlflowClient(tracking_uri=client.workspaces.get(azure.workspace_name).mlflow_tracking_uri)
    assert [metric.value for metric in tracking.get_metric_history("train", "loss")] == [3.0, 2.0]
    assert tracking.get_run("train").info.status == "FINISHED"


def test_its_log_is_streamed(azure: FakeAzure, client: MLClient, capsys: pytest.CaptureFixture[str]) -> None:
    """The log says that nothing ran, and then what the test lets the command say."""
    azure.commands.on("echo *", CommandResult(log="hello"))
    client.jobs.create_or_update(plain("greet"))
    client.jobs.stream("greet")
    printed = capsys.readouterr().out
    assert "Streaming user_logs/std_log.txt" in printed
    assert "the emulator runs no commands" in printed
    assert printed.index("$ echo hello") < printed.index("\nhello\n")


def test_a_command_whose_outcome_is_not_set_completes(
    azure: FakeAzure, client: MLClient, source: Path
) -> None:
    """Each of its outputs has a note in it that nothing ran."""
    client.jobs.create_or_update(training(source))
    client.jobs.stream("train")
    [(name, note)] = azure.models["forest"][0].files().items()
    assert name == "note.txt"
    assert b"runs no commands" in note


def test_a_failure_says_what_the_program_said(azure: FakeAzure, client: MLClient) -> None:
    """The exit code, and the last line of the log."""
    azure.commands.on("*", CommandResult(exit_code=3, log="Traceback\nValueError: no rows"))
    client.jobs.create_or_update(plain("fail", "python train.py"))
    with pytest.raises(JobException, match=r"exited with status code 3.*ValueError: no rows"):
        client.jobs.stream("fail")
    assert client.jobs.get("fail").status == "Failed"


def test_the_last_outcome_that_fits_counts(azure: FakeAzure, client: MLClient) -> None:
    """A test can set a general outcome first, and an exception after it."""
    azure.commands.on("*", CommandResult())
    azure.commands.on("python bad.py*", CommandResult(exit_code=1))
    for name, line in (("good", "python good.py"), ("bad", "python bad.py --now")):
        client.jobs.create_or_update(plain(name, line))
    azure.clock.advance(timedelta(hours=1))
    assert {name: job.status for name, job in azure.jobs.items()} == {"good": "Completed", "bad": "Failed"}


def test_an_outcome_with_an_unknown_output_is_the_tests_mistake(azure: FakeAzure, client: MLClient) -> None:
    """The error names what the command has."""
    azure.commands.on("*", CommandResult(outputs={"modle": b""}))
    client.jobs.create_or_update(plain("greet", outputs={"model": Output(type="uri_file")}))
    azure.clock.advance(timedelta(hours=1))
    with pytest.raises(ValueError, match="'greet' has no output modle: it has model"):
        client.jobs.get("greet")


def test_a_fault_fails_a_command(azure: FakeAzure, client: MLClient) -> None:
    """The fault that lets a fine-tune fail lets a command fail too, without being told of its name."""
    azure.faults.next(JobFails())
    client.jobs.create_or_update(plain("greet"))
    with pytest.raises(JobException, match="CUDA out of memory"):
        client.jobs.stream("greet")


def test_a_command_on_low_priority_nodes_is_preempted(azure: FakeAzure, client: MLClient) -> None:
    """Nodes of a cluster of low priority can be taken away."""
    cluster = AmlCompute(name="cheap", size="Standard_DS3_v2", max_instances=1, tier="low_priority")
    client.compute.begin_create_or_update(cluster).result()
    azure.faults.next(Preempted())
    client.jobs.create_or_update(plain("greet", compute="cheap"))
    with pytest.raises(JobException, match="preempted"):
        client.jobs.stream("greet")


def test_a_command_can_be_canceled(azure: FakeAzure, client: MLClient) -> None:
    """Nothing is written then, and streaming it says nothing (wire.md 5)."""
    client.jobs.create_or_update(plain("greet", outputs={"out": Output(type="uri_folder", name="greeting")}))
    client.jobs.begin_cancel("greet").result()
    assert client.jobs.get("greet").status == "Canceled"
    client.jobs.stream("greet")
    assert azure.data == {}
    assert not azure.billing().running
    with pytest.raises(HttpResponseError, match="terminal status"):
        client.jobs.begin_cancel("greet").result()


def test_a_command_that_takes_too_long_is_canceled(azure: FakeAzure, client: MLClient) -> None:
    """As the job's own limit says (Azure's reference of the command job)."""
    azure.commands.on("*", CommandResult(lasts=timedelta(hours=3)))
    client.jobs.create_or_update(plain("slow", timeout=3600))
    azure.clock.advance(timedelta(hours=2))
    assert client.jobs.get("slow").status == "Canceled"
    [row] = azure.billing().rows
    assert row.hours == pytest.approx(1.0)


def test_a_command_is_listed_archived_and_tagged(client: MLClient) -> None:
    """Like every job."""
    client.jobs.create_or_update(plain("greet"))
    assert [job.name for job in client.jobs.list()] == ["greet"]
    client.jobs.archive("greet")
    assert not list(client.jobs.list())
    assert [job.name for job in client.jobs.list(list_view_type=ListViewType.ARCHIVED_ONLY)] == ["greet"]
    client.jobs.restore("greet")
    client.jobs.update("greet", tags={"checked": "yes"})
    assert client.jobs.get("greet").tags == {"checked": "yes"}
