"""The servers of a local workspace's deployments, asked by programs that do not know this library."""

from __future__ import annotations

import pickle
import signal
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
import requests
from local_workspaces import SIZE, programs, simulated, trained, until, with_programs

import phi_finetune as pf
from phi_finetune.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidParameter,
    NotFound,
    ScoringFailed,
)
from phi_finetune.local.processes import read_process
from phi_finetune.local.programs import Programs
from phi_finetune.testing import FakeAzure

_SLOW_THE_SECOND_TIME = """
import time
again = folder / "again"
if again.exists(): time.sleep(60)
again.touch()
"""
_BROKEN_THE_SECOND_TIME = """
again = folder / "again"
if again.exists(): print("no such weights"); sys.exit(7)
again.touch()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a workspace."""
    return tmp_path / "runs"


def ask(url: str, key: str) -> requests.Response:
    """Ask as any program would."""
    return requests.post(url, json={"messages": []}, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def refused(endpoint: pf.Endpoint, why: str) -> None:
    """There is no address, and the error says why."""
    with pytest.raises(ConfigurationError, match=why):
        pf.local.address(endpoint)


def kill(folder: Path) -> None:
    """End the only server at once, as a lack of memory would."""
    (path,) = (folder / "servers").iterdir()
    running = [read_process(path / name) for name in ("process.json", "serving.json")]
    for process in running:
        assert process is not None
        process.tell(signal.SIGKILL)
    until(lambda: not any(process.alive for process in running if process is not None))


def test_any_program_reaches_it_with_its_key_alone(folder: Path, small_programs: Programs) -> None:
    """At both URLs; neither another key nor the endpoint's is good there, and the key is shown nowhere."""
    with trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE) as endpoint:
        address = pf.local.address(endpoint)
        assert address.url.startswith("http://127.0.0.1:")
        for url in (address.score_url, f"{address.openai_url}/chat/completions"):
            assert ask(url, address.key).json()["output"].startswith("default of ")
            for wrong in ("", "wrong", endpoint.keys().primary):
                assert ask(url, wrong).status_code == 401
        assert address.key not in f"{address!r} {address}"
        with pytest.raises(TypeError, match="keys are not pickled"):
            pickle.dumps(address)
        assert pf.local.address(endpoint) == address


def test_the_one_with_all_traffic_is_meant(folder: Path, small_programs: Programs) -> None:
    """Any other is named; where the traffic is split, one has to be."""
    workspace = with_programs(folder, small_programs)
    model = trained(workspace)
    with model.deploy(instance_type=SIZE, deployment="blue") as endpoint:
        endpoint.deploy(model, "green", instance_type=SIZE)
        blue, green = pf.local.address(endpoint), pf.local.address(endpoint, "green")
        assert ask(blue.score_url, blue.key).json()["output"].startswith("blue of ")
        assert ask(green.score_url, green.key).json()["output"].startswith("green of ")
        assert ask(green.score_url, blue.key).status_code == 401
        endpoint.shift_traffic({"blue": 50, "green": 50})
        with pytest.raises(
            InvalidParameter, match=r"there are blue with 50 %, green with 50 % of the traffic"
        ):
            pf.local.address(endpoint)
        with pytest.raises(NotFound, match="there are blue"):
            pf.local.address(endpoint, "red")


def test_one_that_has_ended_is_started_again(folder: Path, small_programs: Programs) -> None:
    """For want of requests, or killed: with the key that it had, and up before the address is told."""
    quick = attrs.evolve(small_programs, idle=timedelta(seconds=0.3))
    with trained(with_programs(folder, quick)).deploy(instance_type=SIZE) as endpoint:
        first = pf.local.address(endpoint)
        (path,) = (folder / "servers").iterdir()
        until(lambda: "nobody asked it" in (path / "state.json").read_text())
        again = pf.local.address(endpoint)
        assert ask(again.score_url, again.key).ok
        kill(folder)
        last = pf.local.address(endpoint)
        assert ask(last.score_url, last.key).ok
        assert first.key == again.key == last.key


def test_one_that_is_slow_to_come_up_again(folder: Path, tmp_path: Path) -> None:
    """The wait has a limit; the server goes on coming up."""
    slow = programs(tmp_path / "programs", server=_SLOW_THE_SECOND_TIME)
    with trained(with_programs(folder, slow)).deploy(instance_type=SIZE) as endpoint:
        kill(folder)
        with pytest.raises(DeadlineExceeded, match="still coming up") as caught:
            pf.local.address(endpoint, timeout=timedelta(seconds=0.5))
        assert caught.value.limit_s == 0.5


def test_one_that_does_not_come_up_again(folder: Path, tmp_path: Path) -> None:
    """The error has its last words."""
    broken = programs(tmp_path / "programs", server=_BROKEN_THE_SECOND_TIME)
    with trained(with_programs(folder, broken)).deploy(instance_type=SIZE) as endpoint:
        kill(folder)
        with pytest.raises(ScoringFailed, match=r"exit code 7.*no such weights"):
            pf.local.address(endpoint)


def test_what_has_no_server_on_this_machine(folder: Path) -> None:
    """An endpoint of Azure's, one whose answers are made up, and one that was built by hand."""
    with FakeAzure() as azure, trained(azure.workspace()).deploy(instance_type=SIZE) as endpoint:
        refused(endpoint, "one of Azure's")
    with trained(simulated(folder)).deploy(instance_type=SIZE) as endpoint:
        refused(endpoint, "made up")
    refused(pf.Endpoint("facts", "https://facts.example.invalid/score"), "not attached")


def test_an_endpoint_that_was_deleted(folder: Path, small_programs: Programs) -> None:
    """It is not there, as for any other call."""
    endpoint = trained(with_programs(folder, small_programs)).deploy(instance_type=SIZE)
    endpoint.delete()
    with pytest.raises(NotFound):
        pf.local.address(endpoint)
