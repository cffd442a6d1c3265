"""Workspaces in folders: the whole life, several processes, reopening, damage, and secrets."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pipelines
import pytest
from local_workspaces import SIZE, finetune, simulated
from tuning import PROMPT, REPLY

import phi_finetune as pf
from phi_finetune import __main__ as command
from phi_finetune.emulator.runners.simulated import SimulatedRunner
from phi_finetune.errors import ConfigurationError, HostRefused, MissingDependency
from phi_finetune.testing import FakeAzure

_ELSEWHERE = """
import pathlib, sys
sys.path.insert(0, {tests!r})
from local_workspaces import simulated
workspace = simulated(pathlib.Path({folder!r}))
{code}
"""


def in_another_process(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code that has a ``workspace`` of the folder."""
    whole = _ELSEWHERE.format(tests=str(Path(__file__).parent), folder=str(folder), code=code)
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, check=False)


def trained(workspace: pf.Workspace) -> pf.RegisteredModel:
    """A registered model."""
    return finetune(workspace).submit().wait().register("facts")


def test_the_whole_life_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's path runs with nothing patched, and with a machine that reaches no host at all."""

    def unreachable(*where: object, **_: object) -> list[object]:
        raise AssertionError(f"asked for the address of {where}")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket, "create_connection", unreachable)
    workspace = simulated(tmp_path / "runs")
    cluster = workspace.gpu_compute("gpu", size=SIZE, max_nodes=2).ensure()
    data = pf.ChatDataset.from_records(pipelines.conversations(24), name="facts")
    job = workspace.foundation_model("Phi-4").finetune(data).on(cluster).submit().wait()
    with job.register("facts").deploy(instance_type=SIZE) as endpoint:
        assert endpoint.chat(PROMPT).text == REPLY
    assert workspace.endpoints() == ()
    assert workspace.doctor().ok


def test_another_object_on_the_folder_sees_everything(tmp_path: Path) -> None:
    """What was done is there after reopening: jobs with metrics, models, endpoints that answer with the same key."""
    first = simulated(tmp_path / "runs")
    endpoint = trained(first).deploy(instance_type=SIZE)
    again = simulated(tmp_path / "runs")
    assert again == first
    assert [job.name for job in again.jobs()] == [job.name for job in first.jobs()]
    (job,) = again.jobs()
    assert job.metrics().history("loss") == first.job(job.name).metrics().history("loss")
    assert again.model("facts") == first.model("facts")
    assert again.endpoint(endpoint.name).keys() == endpoint.keys()
    assert again.endpoint(endpoint.name).chat(PROMPT).text == REPLY


def test_two_objects_on_one_folder_follow_each_other(tmp_path: Path) -> None:
    """What one does is seen by the other at once, both ways."""
    one, other = simulated(tmp_path / "runs"), simulated(tmp_path / "runs")
    one.gpu_compute("first", size=SIZE).ensure()
    assert other.gpu_compute("first").refresh().size == SIZE
    other.gpu_compute("first").delete()
    other.gpu_compute("second", size=SIZE).ensure()
    with pytest.raises(pf.errors.NotFound):
        one.gpu_compute("first").refresh()
    assert one.gpu_compute("second").refresh().provisioning_state == "Succeeded"


def test_a_job_submitted_twice_from_two_processes_is_one(tmp_path: Path) -> None:
    """The second process adopts the job that the first has submitted, and waits for it."""
    folder = tmp_path / "runs"
    code = "from local_workspaces import finetune; print(finetune(workspace).submit().wait().name)"
    done = in_another_process(folder, code)
    assert done.returncode == 0, done.stderr
    workspace = simulated(folder)
    assert finetune(workspace).submit().name == done.stdout.strip()
    assert len(workspace.jobs()) == 1


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Two processes make clusters at the same time, in a folder that none has made before; all are there."""
    folder = tmp_path / "runs"
    code = (
        "import sys\n"
        f"for number in range(2): workspace.gpu_compute(f'c-{{sys.argv[1]}}-{{number}}', size={SIZE!r}).ensure()"
    )
    whole = _ELSEWHERE.format(tests=str(Path(__file__).parent), folder=str(folder), code=code)
    running = [
        subprocess.Popen([sys.executable, "-c", whole, name], stderr=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    workspace = simulated(folder)
    for name in ("a", "b"):
        for number in range(2):
            assert workspace.gpu_compute(f"c-{name}-{number}").refresh().provisioning_state == "Succeeded"


class KilledRunner(SimulatedRunner):
    """A runner in whose middle the process is killed."""

    def run(self, job: object) -> object:  # type: ignore[override] # it never comes back
        os.kill(os.getpid(), signal.SIGKILL)
        return job


def test_a_process_killed_in_the_middle_of_a_request_loses_that_request_alone(tmp_path: Path) -> None:
    """What was answered before is there, the folder is whole, and the job goes on from there."""
    folder = tmp_path / "runs"
    code = (
        "import phi_finetune as pf\n"
        "from local_workspaces import finetune\n"
        "from test_local_workspace import KilledRunner\n"
        f"workspace = pf.Workspace.local({str(folder)!r}, runner=KilledRunner())\n"
        "finetune(workspace).submit().wait()"
    )
    assert in_another_process(folder, code).returncode == -signal.SIGKILL
    workspace = simulated(folder)
    (job,) = workspace.jobs()
    assert job.wait().status == "Completed"


def test_a_cloud_workspace_works_beside_it(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """Neither sees what is done in the other, and none of the local one's requests reaches the cloud."""
    cloud, local = fake_azure.workspace(), simulated(tmp_path / "runs")
    cloud.gpu_compute("there", size=SIZE).ensure()
    before = len(fake_azure.journal)
    local.gpu_compute("here", size=SIZE).ensure()
    trained(local)
    assert len(fake_azure.journal) == before
    assert list(fake_azure.computes) == ["there"]
    with pytest.raises(pf.errors.NotFound):
        local.gpu_compute("there").refresh()
    assert cloud.models() == ()


def test_no_other_host_is_asked_and_none_is_allowed(tmp_path: Path) -> None:
    """A local workspace speaks to the hosts that Azure has, which its folder answers for; loopback is none of them."""
    workspace = simulated(tmp_path / "runs")
    rest = workspace._handle().rest
    for url in ("http://127.0.0.1:8000/score", "https://127.0.0.1/score", "https://example.com/"):
        with pytest.raises(HostRefused):
            rest.send("GET", url)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Nobody else reads what is in the folder."""
    folder = tmp_path / "runs"
    trained(simulated(folder))
    paths = [folder, *folder.rglob("*")]
    assert len(paths) > 3
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert {path for path, mode in modes.items() if mode & 0o077} == set()


def test_no_token_and_no_signature_is_kept(tmp_path: Path) -> None:
    """The log holds what was asked, and nothing by which somebody signs in to anything."""
    folder = tmp_path / "runs"
    workspace = simulated(folder)
    endpoint = trained(workspace).deploy(instance_type=SIZE)
    endpoint.chat(PROMPT)
    token = workspace._handle().credential.get_token("https://management.azure.com/.default").token
    key = endpoint.keys().primary
    log = sqlite3.connect(folder / "state.sqlite")
    whole = "\n".join(str(row) for row in log.execute("SELECT * FROM entries"))
    log.close()
    assert "onlineEndpoints" in whole
    assert token not in whole
    assert token.rpartition(".")[2] not in whole
    assert key not in whole
    assert "sig=-" in whole
    assert whole.count("sig=") == whole.count("sig=-")


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """Nothing is written into it."""
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds something else already \(thesis.tex\)"):
        simulated(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", [b"not a data base at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_folder_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names the folder, and the file is as it was."""
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "state.sqlite").write_bytes(content)
    with pytest.raises(ConfigurationError, match="damaged") as caught:
        simulated(folder)
    assert str(folder) in str(caught.value)
    assert (folder / "state.sqlite").read_bytes() == content


def changed(folder: Path, statement: str) -> bytes:
    """Make a folder, and change its data base."""
    simulated(folder)
    data_base = sqlite3.connect(folder / "state.sqlite")
    data_base.execute(statement)
    data_base.commit()
    data_base.close()
    return (folder / "state.sqlite").read_bytes()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("PRAGMA user_version = 99", "its format is 99"),
        ("PRAGMA application_id = 5", "made by another program"),
        ("UPDATE settings SET value = 'processes' WHERE name = 'kind'", "run by processes"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, statement: str, why: str) -> None:
    """Of a newer version, of another program, or of another runner: nothing is overwritten."""
    content = changed(tmp_path / "runs", statement)
    with pytest.raises(ConfigurationError, match=why):
        simulated(tmp_path / "runs")
    assert (tmp_path / "runs" / "state.sqlite").read_bytes() == content


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file where the folder should be, as root may write everywhere else."""
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConfigurationError, match="File exists"):
        simulated(tmp_path / "runs")
    with pytest.raises(ConfigurationError, match="Not a directory"):
        simulated(tmp_path / "runs" / "below")


def test_an_error_in_the_middle_of_a_request_leaves_the_folder_whole(tmp_path: Path) -> None:
    """The request is as if it had never come, and the same object goes on."""

    class Broken(SimulatedRunner):
        works = False

        def run(self, job: object) -> object:  # type: ignore[override]
            if not self.works:
                raise RuntimeError("a fault of the runner")
            return super().run(job)  # type: ignore[arg-type]

    runner = Broken()
    workspace = pf.Workspace.local(tmp_path / "runs", runner=runner)
    job = finetune(workspace).submit()
    with pytest.raises(RuntimeError, match="a fault of the runner"):
        job.wait()
    runner.works = True
    assert job.wait().status == "Completed"
    assert simulated(tmp_path / "runs").job(job.name).status == "Completed"


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made on the disk."""
    monkeypatch.setattr("phi_finetune.local.door.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="torch"):
        pf.Workspace.local(tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_sweep_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command opens the folder; one that cannot be used ends it with a message."""
    (tmp_path / "runs").write_text("a file")
    assert command.main(["sweep", "--local", str(tmp_path / "runs")]) == 1
    assert capsys.readouterr().err
