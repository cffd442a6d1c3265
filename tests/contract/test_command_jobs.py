from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.ai.ml import Input, Output, command
from azure.ai.ml.entities import Command, Environment
from azure.ai.ml.exceptions import JobException
from azure.core.exceptions import HttpResponseError
from service_doors import Door
from watched_client import WatchedClient

from phi_finetune.testing import CommandInputs, CommandResult

# azure-ai-ml 1.35.2 builds and downloads in ways that marshmallow and azure-storage-blob call deprecated.
pytestmark = [pytest.mark.costs, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

NOT_RUN = "No command is run: a test says what comes of it."
IMAGE = Environment(image="mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04")
COPY = "cat ${{inputs.rows}} && mkdir -p ${{outputs.made}} && cp ${{inputs.rows}} ${{outputs.made}}/copy.csv"
ROWS = b"a,b\n1,2\n"


def copying(folder: Path, name: str) -> Command:
    """A command that prints a file and copies it, and whose output becomes data of the job's name."""
    path = folder / "rows.csv"
    path.write_bytes(ROWS)
    return command(
        name=name,
        experiment_name="phi-finetune-contract",
        command=COPY,
        environment=IMAGE,
        compute="serverless",
        instance_type="Standard_DS3_v2",
        inputs={"rows": Input(type="uri_file", path=str(path))},
        outputs={"made": Output(type="uri_folder", name=f"{name}-made")},
        environment_variables={"WHO": "contract"},
    )


def plain(line: str, name: str) -> Command:
    """A command that takes and makes nothing."""
    return command(
        name=name,
        experiment_name="phi-finetune-contract",
        command=line,
        environment=IMAGE,
        compute="serverless",
        instance_type="Standard_DS3_v2",
    )


@pytest.fixture(scope="module", autouse=True)
def outcomes(door: Door) -> None:
    """What the real service's machines would do, for a fake."""
    if door.cloud is None:
        return

    def copy(given: CommandInputs) -> CommandResult:
        rows = given.files["rows"]["rows.csv"]
        return CommandResult(outputs={"made": {"copy.csv": rows}}, log=rows.decode())

    door.cloud.commands.on("cat *", copy)
    door.cloud.commands.on("exit 3", CommandResult(exit_code=3))


@pytest.fixture(scope="module")
def finished(
    door: Door, tmp_path_factory: pytest.TempPathFactory, unique: Callable[[str], str]
) -> Iterator[str]:
    """A job that has ended well, and is archived when the tests of this file are done."""
    name, client = unique("job"), door.workspace
    client.jobs.create_or_update(copying(tmp_path_factory.mktemp("rows"), name))
    client.jobs.stream(name)
    yield name
    client.jobs.archive(name)
    client.data.archive(f"{name}-made")


@pytest.mark.operation("jobs.create_or_update:Command", partial=NOT_RUN)
@pytest.mark.operation("jobs.stream")
def test_submit_and_wait(
    ml: WatchedClient, unique: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A command is accepted under its name, and followed to its end (wire.md 5)."""
    made = ml.jobs.create_or_update(plain("echo hello", unique("job")))
    assert made.status in ("NotStarted", "Starting", "Preparing", "Queued", "Running")
    assert made.studio_url.startswith("https://ml.azure.com/runs/")
    ml.jobs.stream(made.name)
    assert f"RunId: {made.name}" in capsys.readouterr().out
    assert ml.jobs.get(made.name).status == "Completed"
    ml.jobs.archive(made.name)


@pytest.mark.operation("jobs.get")
def test_get(ml: WatchedClient, finished: str) -> None:
    """A job keeps what it was made of, and gets an output for its logs (service.md)."""
    found = ml.jobs.get(finished)
    assert (found.name, found.type, found.status) == (finished, "command", "Completed")
    assert (found.command, found.experiment_name) == (COPY, "phi-finetune-contract")
    assert found.environment_variables["WHO"] == "contract"
    assert found.inputs["rows"].type == "uri_file"
    assert found.outputs["made"].type == "uri_folder"
    assert found.outputs["default"].path.endswith(f"/workspaceartifactstore/ExperimentRun/dcid.{finished}")


@pytest.mark.operation("jobs.list")
def test_list(ml: WatchedClient, finished: str) -> None:
    """The job is among all, and among those of its kind."""
    assert finished in [job.name for job in ml.jobs.list()]
    assert finished in [job.name for job in ml.jobs.list(job_type="Command")]
    assert finished not in [job.name for job in ml.jobs.list(job_type="Pipeline")]


@pytest.mark.operation("jobs.download", "data.get")
def test_download(ml: WatchedClient, finished: str, tmp_path: Path) -> None:
    """An output's files come, and an output with a name has become data."""
    ml.jobs.download(finished, download_path=tmp_path, output_name="made")
    assert (tmp_path / "named-outputs" / "made" / "copy.csv").read_bytes() == ROWS
    made = ml.data.get(f"{finished}-made", label="latest")
    assert (made.version, made.type) == ("1", "uri_folder")


@pytest.mark.operation("jobs.update")
def test_update(ml: WatchedClient, finished: str) -> None:
    """Tags and the display name of a job change (wire.md 5), and jobs with a tag are listed."""
    ml.jobs.update(finished, tags={finished: "contract"}, display_name="renamed")
    found = ml.jobs.get(finished)
    assert (found.tags[finished], found.display_name) == ("contract", "renamed")
    assert [job.name for job in ml.jobs.list(tag=finished)] == [finished]


@pytest.mark.operation("jobs.archive", "jobs.restore")
def test_archive_and_restore(ml: WatchedClient, finished: str) -> None:
    """An archived job is in no list until it is restored, and can be got all the while."""
    ml.jobs.archive(finished)
    assert finished not in [job.name for job in ml.jobs.list()]
    assert ml.jobs.get(finished).status == "Completed"
    ml.jobs.restore(finished)
    assert finished in [job.name for job in ml.jobs.list()]


@pytest.mark.operation("jobs.stream")
def test_a_failure_is_told(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """Streaming raises with the exit code of the program."""
    name = ml.jobs.create_or_update(plain("exit 3", unique("job"))).name
    with pytest.raises(JobException, match="status code 3"):
        ml.jobs.stream(name)
    assert ml.jobs.get(name).status == "Failed"
    ml.jobs.archive(name)


@pytest.mark.operation("jobs.begin_cancel")
def test_cancel(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """A running job can be cancelled; one that has ended cannot (service.md)."""
    name = ml.jobs.create_or_update(plain("sleep 3600", unique("job"))).name
    ml.jobs.begin_cancel(name).wait()
    assert ml.jobs.get(name).status == "Canceled"
    with pytest.raises(HttpResponseError, match="terminal status") as refused:
        ml.jobs.begin_cancel(name).wait()
    assert refused.value.status_code == 400
    ml.jobs.archive(name)


@pytest.mark.operation("jobs.create_or_update:Command")
def test_an_unknown_compute_is_refused(ml: WatchedClient, unique: Callable[[str], str]) -> None:
    """The client does not look; the service does, and answers 400 (service.md)."""
    job = plain("echo hello", unique("job"))
    job.compute, job.resources = "pf-nowhere", None
    with pytest.raises(HttpResponseError, match="pf-nowhere") as refused:
        ml.jobs.create_or_update(job)
    assert refused.value.status_code == 400
