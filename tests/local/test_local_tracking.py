"""The runs of a local workspace's jobs in MLflow's own store: one for each job, and one below it for each step."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from local_workspaces import finetune, programs, until, with_programs

from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.processes import read_process
from phi_finetune.local.programs import PYTHON
from phi_finetune.local.run_folder import RunFolder
from phi_finetune.local.tracking import main

TRAINING, *AFTER = "chat_completion_finetune", "chat_completion_model_evaluation", "ft_nlp_model_converter"
BEFORE = ("ft_nlp_common_validation", "chat_completion_model_import", "chat_completion_datapreprocess")
LASTS, LASTS_TOO = 14, 15
STEP = f"""
    if job["values"]["seed"] in ("{LASTS}", "{LASTS_TOO}"): print("lasts", flush=True); signal.pause()
"""

Runs = Mapping[str, Any]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runs]:
    """The runs of jobs that were canceled or killed while they trained; "" has the job's."""
    place = tmp_path_factory.mktemp("tracked")
    folder, doing = place / "runs", programs(place / "programs", step=STEP)
    workspace = with_programs(folder, doing)
    tunes = {
        "canceled": finetune(workspace).with_parameters(seed=LASTS),
        "killed": finetune(workspace).with_parameters(seed=LASTS_TOO),
    }
    submitted = {name: tune.submit() for name, tune in tunes.items()}
    places = {name: folder / "jobs" / job.name for name, job in submitted.items()}
    for log in (place / "steps" / TRAINING / "log.txt" for place in places.values()):
        until(lambda log=log: log.exists() and "lasts" in log.read_text(), 120)  # type: ignore[misc]
    submitted["canceled"].cancel()
    kill(places["killed"])
    with_programs(folder, doing)
    # Before that the store may be in the making.
    until(lambda: all((place / "tracking.json").exists() for place in places.values()), 120)
    until(lambda: not any(_going(_runs(folder, job.name)) for job in submitted.values()), 120)
    return {name: _runs(folder, job.name) for name, job in submitted.items()}


def kill(place: Path) -> None:
    """Kill the process that runs a job."""
    runner = read_process(place / "process.json")
    assert runner is not None
    runner.tell(signal.SIGKILL)
    until(lambda: not runner.alive)


def _runs(folder: Path, job: str) -> Runs:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("phi-finetune")
    every = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in every if run.info.run_name == job]
    steps = [run for run in every if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    return {"": parent, **{run.info.run_name: run for run in steps}}


def _going(runs: Runs) -> bool:
    return any(run.info.status == "RUNNING" for run in runs.values())


def statuses(runs: Runs) -> dict[str, str]:
    """The status of each run."""
    return {name: run.info.status for name, run in runs.items()}


def _ended(how: str) -> dict[str, str]:
    """The statuses of a job that ended so as it trained: what would have come after never ran."""
    after = dict.fromkeys(AFTER, "KILLED")
    return {"": how, **dict.fromkeys(BEFORE, "FINISHED"), TRAINING: how, **after}


def test_what_completed_is_finished(tuned: JobFolder) -> None:
    """The job and each of its steps, each with its end."""
    folder, job = tuned.path.parents[1], tuned.path.name
    until(lambda: not _going(_runs(folder, job)))
    runs = _runs(folder, job)
    assert statuses(runs) == dict.fromkeys(("", *BEFORE, TRAINING, *AFTER), "FINISHED")
    assert all(run.info.end_time >= run.info.start_time for run in runs.values())


@pytest.mark.slow
def test_mlflow_ui_shows_the_runs(tuned: JobFolder, tmp_path: Path) -> None:
    """As docs/local.md has the command: it serves its page, and the metrics of the training."""
    store = f"sqlite:///{tuned.path.parents[1] / 'mlflow.db'}"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        store,
        "--port",
        port,
        "--workers",
        "1",
    ]
    with (tmp_path / "log.txt").open("wb") as log:
        ui = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(f"{url}/health"), 120)
        asked = {"experiment_ids": ["1"], "filter": f"attributes.run_name = '{TRAINING}'"}
        [run] = requests.post(f"{url}/api/2.0/mlflow/runs/search", json=asked, timeout=60).json()["runs"]
        assert run["info"]["status"] == "FINISHED"
        assert {"loss", "eval_loss"} <= {metric["key"] for metric in run["data"]["metrics"]}
        assert "<!doctype html>" in requests.get(url, timeout=60).text
    finally:
        os.killpg(ui.pid, signal.SIGKILL)
        ui.wait()


def _answers(url: str) -> bool:
    with suppress(requests.ConnectionError):
        return requests.get(url, timeout=60).ok
    return False


def test_what_was_canceled_is_killed(jobs: Mapping[str, Runs]) -> None:
    """The job and the step that ran; those before it are finished."""
    assert statuses(jobs["canceled"]) == _ended("KILLED")


def test_what_was_killed_has_failed(jobs: Mapping[str, Runs]) -> None:
    """The job and the step that ran, once somebody opens the folder; those before it are finished, those after never
    ran."""
    assert statuses(jobs["killed"]) == _ended("FAILED")


def test_the_jobs_run_has_its_parameters(jobs: Mapping[str, Runs]) -> None:
    """As they were asked for."""
    assert {name: runs[""].data.params["seed"] for name, runs in jobs.items()} == {
        "canceled": str(LASTS),
        "killed": str(LASTS_TOO),
    }


def test_a_broken_folder_keeps_no_other_job_from_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told of."""
    good, broken = tmp_path / "good", tmp_path / "broken"
    for folder in (good, broken):
        folder.mkdir()
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (good / "job.json").write_text(json.dumps({"name": "good", "values": {}, "tracking_uri": store}))
    (good / "run.json").write_text(json.dumps({"steps": [TRAINING]}))
    assert main(["begin", str(good)]) == 0
    (broken / "tracking.json").write_text("{")
    assert main(["end", str(broken), str(good)]) == 1
    assert str(broken) in capsys.readouterr().err
    assert not _going(_runs(tmp_path, "good"))


def test_what_failed_has_failed(tmp_path: Path) -> None:
    """The job and the step that failed; those before it are finished, and those after it never ran."""
    job = RunFolder(tmp_path / "job")
    job.path.mkdir()
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    told = {"name": "job", "values": {}, "tracking_uri": store}
    (job.path / "job.json").write_text(json.dumps(told))
    (job.path / "run.json").write_text(json.dumps({"name": "job", "steps": [*BEFORE, TRAINING, *AFTER]}))
    assert main(["begin", str(job.path)]) == 0
    for step in BEFORE:
        job.tell({"step": step, "state": "Completed"})
    failure = {"code": "UserError", "message": "As it was asked to."}
    job.tell({"step": TRAINING, "state": "Failed", "failure": failure})
    job.tell({"state": "Failed"})
    assert main(["end", str(job.path)]) == 0
    assert statuses(_runs(tmp_path, "job")) == _ended("FAILED")


def test_what_failed_has_failed_whatever_is_canceled_later(tmp_path: Path) -> None:
    """Even while the runs are only beginning: they end as the job did, and so does the process. What would have come
    after never ran."""
    job = tmp_path / "job"
    job.mkdir()
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    (job / "job.json").write_text(json.dumps({"name": "job", "values": {}, "tracking_uri": store}))
    (job / "run.json").write_text(
        json.dumps({"name": "job", "steps": [TRAINING, *AFTER], "command": ["/bin/false"]})
    )
    runner = subprocess.Popen([*PYTHON, "phi_finetune.local.run_job", str(job)], start_new_session=True)
    folder = RunFolder(job)
    until(lambda: len(list(folder.events())) == 3)
    runner.terminate()
    assert runner.wait(60) == 0
    assert [event.state for event in folder.events()] == ["Running", "Failed", "Failed"]
    ended = {"": "FAILED", TRAINING: "FAILED", **dict.fromkeys(AFTER, "KILLED")}
    assert statuses(_runs(tmp_path, "job")) == ended
