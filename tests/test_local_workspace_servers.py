"""Deployments of a local workspace, each a server in a process of its own."""

from __future__ import annotations

import json
import re
import signal
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import requests
from local_workspaces import SIZE, programs, told, trained, until, with_programs

from phi_finetune.errors import DeploymentFailed, ScoringFailed, ScoringModelError
from phi_finetune.local.processes import Process, read_process
from phi_finetune.local.programs import Programs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a workspace."""
    return tmp_path / "runs"


def servers(folder: Path) -> dict[str, tuple[Path, list[Process]]]:
    """The folder of each deployment's server, and who runs it: who looks after it, then the server."""
    found: dict[str, tuple[Path, list[Process]]] = {}
    for path in (folder / "servers").iterdir():
        running = [read_process(path / name) for name in ("process.json", "serving.json")]
        found[str(told(path / "server.json")["deployment"])] = (
            path,
            [one for one in running if one is not None],
        )
    return found


def ended(path: Path) -> str:
    """Why a server ended; empty while it runs."""
    state = told(path / "state.json")
    return str(state["why"]) if state["state"] == "ended" else ""


def test_a_deployment_answers_from_its_own_process(folder: Path, small_programs: Programs) -> None:
    """It has the model's files; its log is what it wrote; deleting ends it, and nothing of it stays."""
    workspace = with_programs(folder, small_programs)
    with trained(workspace).deploy(instance_type=SIZE) as endpoint:
        reply = endpoint.chat("hello").text
        path, running = servers(folder)["default"]
        assert reply.startswith(f"default of {running[1].pid} has ")
        assert "MLmodel" in reply
        assert "listens\n" in endpoint.logs()
        assert "POST /score" in endpoint.logs()
        assert [process.alive for process in running] == [True, True]
    assert not path.exists()
    assert [process.alive for process in running] == [False, False]


def test_another_process_chats_with_it(folder: Path, small_programs: Programs) -> None:
    """It is found by its name, and no second server is started."""
    endpoint = trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE)
    again = with_programs(folder, small_programs).endpoint(endpoint.name)
    assert again.chat("hello").text == endpoint.chat("hello").text
    again.delete()


def test_blue_and_green(folder: Path, small_programs: Programs) -> None:
    """Two servers behind one endpoint; the split says who answers, and one that takes no traffic can be asked."""
    workspace = with_programs(folder, small_programs)
    model = trained(workspace)
    with model.deploy(instance_type=SIZE, deployment="blue") as endpoint:
        endpoint.deploy(model, "green", instance_type=SIZE)
        assert {endpoint.chat("who").text.split()[0] for _ in range(4)} == {"blue"}
        assert endpoint.chat("who", deployment="green").text.startswith("green of ")
        endpoint.shift_traffic({"blue": 50, "green": 50})
        answers = [endpoint.chat("who").text.split()[0] for _ in range(4)]
        assert sorted(answers) == ["blue", "blue", "green", "green"]
        endpoint.shift_traffic({"green": 100})
        assert set(servers(folder)) == {"blue", "green"}
        assert endpoint.chat("who").text.startswith("green of ")


def test_what_a_model_refuses_is_its_own_error(folder: Path, small_programs: Programs) -> None:
    """As on Azure, the endpoint says 424, and the model's status with it."""
    with trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE) as endpoint:
        with pytest.raises(ScoringModelError) as caught:
            endpoint.chat("break")
        assert "400" in str(caught.value)
        assert endpoint.chat("hello").text


def test_nobody_is_answered_without_the_servers_own_key(folder: Path, small_programs: Programs) -> None:
    """Whoever finds the port has no use of it; the endpoint's keys are good at the endpoint alone."""
    with trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE) as endpoint:
        path, _ = servers(folder)["default"]
        url = f"http://127.0.0.1:{(path / 'port').read_text()}/score"
        for headers in ({}, {"Authorization": f"Bearer {endpoint.keys().primary}"}):
            answer = requests.post(url, json={}, headers={"Authorization": "", **headers}, timeout=10)
            assert answer.status_code == 401


def test_a_server_that_does_not_come_up(folder: Path, tmp_path: Path) -> None:
    """The deployment fails with the last lines of its log, and nothing is left running."""
    broken = programs(tmp_path / "programs", server="print('no such weights'); sys.exit(7)")
    workspace = with_programs(folder, broken)
    with pytest.raises(DeploymentFailed, match=r"ended with exit code 7; its last lines: no such weights"):
        trained(workspace).deploy(instance_type=SIZE)
    assert workspace.endpoints() == ()
    assert list((folder / "servers").iterdir()) == []


def test_one_that_nobody_asks_ends_and_comes_back(folder: Path, small_programs: Programs) -> None:
    """After its time without a request; the next request starts it again, and is answered."""
    quick = attrs.evolve(small_programs, idle=timedelta(seconds=0.3))
    with trained(with_programs(folder, quick)).deploy(instance_type=SIZE) as endpoint:
        first = endpoint.chat("hello").text
        path, running = servers(folder)["default"]
        until(lambda: not any(process.alive for process in running))
        assert ended(path) == "nobody asked it anything for 0 s"
        assert re.sub(r"of \d+", "", endpoint.chat("hello").text) == re.sub(r"of \d+", "", first)
        assert servers(folder)["default"][1] != running


def test_one_that_was_killed_comes_back(folder: Path, small_programs: Programs) -> None:
    """As Azure starts a container again; also where who looked after it was killed too."""
    with trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE) as endpoint:
        for victims in (slice(1, 2), slice(0, 1), slice(0, 2)):
            running = servers(folder)["default"][1]
            for process in running[victims]:
                process.tell(signal.SIGKILL)
            until(lambda killed=running[victims]: not any(process.alive for process in killed))  # type: ignore[misc]
            assert endpoint.chat("hello").text.startswith("default of ")
            until(lambda all_of_it=running: not any(process.alive for process in all_of_it))  # type: ignore[misc]


def test_it_does_not_outlive_who_looks_after_it(folder: Path, small_programs: Programs) -> None:
    """Nobody would end it any more when its lease has run out, or nobody asks it anything."""
    with trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE):
        running = servers(folder)["default"][1]
        running[0].tell(signal.SIGKILL)
        until(lambda: not any(process.alive for process in running), 10)


def test_it_ends_with_its_lease(folder: Path, small_programs: Programs) -> None:
    """Nobody starts it again; ``sweep()`` deletes the endpoint."""
    workspace = with_programs(folder, small_programs)
    endpoint = trained(workspace).deploy(instance_type=SIZE, lease=timedelta(hours=1))
    path, running = servers(folder)["default"]
    what = told(path / "server.json")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(what["lease_until"]))
    (path / "server.json").write_text(json.dumps({**what, "lease_until": "2020-01-01T00:00:00Z"}))
    until(lambda: not any(process.alive for process in running))
    assert ended(path) == "its lease has run out"
    with pytest.raises(ScoringFailed, match="HTTP 404"):
        endpoint.chat("hello")
    endpoint.delete()


def test_a_stray_folder_of_a_server_is_cleared_away(folder: Path, small_programs: Programs) -> None:
    """What no deployment wants is ended when the folder is opened: the process that wanted it was killed."""
    workspace = with_programs(folder, small_programs)
    with trained(workspace).deploy(instance_type=SIZE):
        path, running = servers(folder)["default"]
        stray = path.with_name("0" * 16)
        path.rename(stray)
        with_programs(folder, small_programs)
        assert not stray.exists()
        assert [process.alive for process in running] == [False, False]
