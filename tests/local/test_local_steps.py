"""A step reads and writes its job's folder, and its status tells the truth of how it ended."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from local_jobs import answers_of_mlflow, job_of, write_rows
from local_workspaces import until
from safetensors import SafetensorError

from phi_finetune import Conversation, Message
from phi_finetune.errors import ConfigurationError, MissingDependency
from phi_finetune.local import tiny_facts
from phi_finetune.local._needs import require
from phi_finetune.local.job_folder import Job, JobFolder, StepStatus
from phi_finetune.local.processes import spawn, started_here
from phi_finetune.local.programs import PYTHON, Programs
from phi_finetune.local.run_folder import RunFolder
from phi_finetune.local.step import run, verdict
from phi_finetune.local.steps import STEPS

FIRST, IMPORT, PREPARE, TUNE, EVALUATE, CONVERT = STEPS


def failed(name: str, folder: JobFolder) -> str:
    """Run a step that must fail; its failure's code."""
    status = run(name, folder)
    assert status.state == "Failed"
    assert status.failure is not None
    assert folder.step(name).status() == status
    assert status.failure.message in folder.step(name).log.read_text(encoding="utf-8")
    return status.failure.code


def changed(folder: JobFolder, **fields: Any) -> JobFolder:
    """The same job with other fields."""
    return JobFolder.create(folder.path, attrs.evolve(folder.job(), **fields))


def test_the_steps_are_those_of_the_pipeline() -> None:
    """In its order, with the evaluation that it leaves out."""
    from importlib import resources

    text = resources.files("phi_finetune.emulator.catalogue").joinpath("components.json").read_text("utf-8")
    pipeline = [each if isinstance(each, str) else each["name"] for each in json.loads(text)["steps"]]
    assert [name for name in STEPS if name != EVALUATE] == pipeline


def test_every_step_of_a_job_completes(tuned: JobFolder) -> None:
    """And says when, by which process, with a log."""
    for name in STEPS:
        status = tuned.step(name).status()
        assert status.state == "Completed"
        assert 0 < status.started <= status.ended
        assert status.pid > 0
        assert tuned.step(name).log.read_text(encoding="utf-8").rstrip().endswith("is done")


def test_what_preprocessing_did_is_logged(tuned: JobFolder) -> None:
    """As counts for each split."""
    counts = {line["key"]: line["value"] for line in tuned.step(PREPARE).metrics()}
    assert (counts["train_rows"], counts["train_kept"], counts["train_truncated"]) == (204, 204, 0)
    assert "train: 204 of 204 rows kept" in tuned.step(PREPARE).log.read_text(encoding="utf-8")


def test_forgetting_is_measured_on_chats_beside_the_model_or_on_those_that_are_shipped(
    tuned: JobFolder, random_phi: Path, tmp_path: Path
) -> None:
    """Which are both kept apart from what is trained on."""

    def general(folder: JobFolder) -> float:
        return next(line["value"] for line in folder.step(PREPARE).metrics() if line["key"] == "general_rows")

    shipped = changed(job_of(tmp_path / "job", random_phi), general_file=None)
    for name in (IMPORT, PREPARE):
        assert run(name, shipped).state == "Completed"
    assert 50 < general(shipped) < 100
    assert general(tuned) == len(tiny_facts().general)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"trust_remote_code": True}, "InvalidParameter"),
        ({"max_seq_length": 513}, "InvalidParameter"),
        ({"no_such_thing": 1}, "InvalidParameter"),
    ],
)
def test_a_parameter_is_refused_before_anything_long(
    random_phi: Path, tmp_path: Path, values: dict[str, Any], code: str
) -> None:
    """By the first step."""
    assert failed(FIRST, job_of(tmp_path / "job", random_phi, **values)) == code


def test_what_is_missing_is_refused_before_anything_long(random_phi: Path, tmp_path: Path) -> None:
    """A model, a file, rows."""
    folder = job_of(tmp_path / "job", random_phi)
    job = folder.job()
    assert failed(FIRST, changed(folder, model=str(tmp_path / "nowhere"))) == "ConfigurationError"
    assert failed(IMPORT, changed(folder, model=None)) == "ConfigurationError"
    assert failed(FIRST, changed(folder, model=job.model, files={})) == "InvalidData"
    assert failed(FIRST, changed(folder, files={"train_file_path": "nowhere.jsonl"})) == "ConfigurationError"


def test_rows_that_cannot_be_trained_on_are_refused(random_phi: Path, tmp_path: Path) -> None:
    """Rows without an answer, and too few."""
    folder = job_of(tmp_path / "job", random_phi)
    assert run(IMPORT, folder).state == "Completed"
    question = Conversation((Message("user", "Hello?"),))
    write_rows(folder.path / "train.jsonl", (question,) * 20)
    assert failed(PREPARE, folder) == "InvalidData"
    write_rows(folder.path / "train.jsonl", (question,))
    assert failed(PREPARE, folder) == "InvalidData"


def test_a_hub_model_that_is_not_in_the_cache_is_refused(random_phi: Path, tmp_path: Path) -> None:
    """There is no network here to fetch it."""
    folder = job_of(tmp_path / "job", random_phi, huggingface_id="nobody/nothing")
    assert failed(IMPORT, changed(folder, model=None)) == "ConfigurationError"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "DiskFull"),
        (SafetensorError("Error while serializing: I/O error: No space left on device"), "DiskFull"),
        (RuntimeError("write(): fd 3 failed with No space left on device"), "DiskFull"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            "RuntimeError",
        ),
        (MemoryError(), "OutOfMemory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "OutOfMemory"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError"),
    ],
)
def test_what_ended_a_step_is_told(
    random_phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    """A full disk, no memory, or a fault of ours with its traceback."""

    def fail(*anything: Any) -> None:
        raise error

    folder = job_of(tmp_path / "job", random_phi)
    monkeypatch.setattr("phi_finetune.local.step.run_step", fail)
    assert failed(TUNE, folder) == code
    assert "Traceback" in folder.step(TUNE).log.read_text(encoding="utf-8")


def test_an_archive_that_breaks_off_on_a_full_disk_is_told_as_that(
    random_phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch says only where it stopped."""

    def fail(*anything: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")

    folder = job_of(tmp_path / "job", random_phi)
    monkeypatch.setattr("phi_finetune.local.step.run_step", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda place: namedtuple("Usage", "free")(4096))
    assert failed(TUNE, folder) == "DiskFull"


def test_the_memory_is_looked_at_before_training(
    random_phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails with what would fit."""
    from phi_finetune.local.hardware import this_machine

    small = attrs.evolve(this_machine(), memory_bytes=300_000_000)
    monkeypatch.setattr("phi_finetune.local.steps.this_machine", lambda: small)
    folder = job_of(tmp_path / "job", random_phi)
    assert failed(FIRST, folder) == "ConfigurationError"
    failure = folder.step(FIRST).status().failure
    assert failure is not None
    assert "does not fit" in failure.message


def test_a_process_that_said_nothing_is_judged_by_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed by the system for lack of memory, by a signal, or gone."""
    step = JobFolder(tmp_path).step(TUNE)
    assert step.status().state == "NotStarted"

    def told(exit_code: int | None, kills: int) -> str:
        step.set_status(StepStatus("Running", 1, 1.0, out_of_memory_kills=3))
        monkeypatch.setattr("phi_finetune.local.recorder.out_of_memory_kills", lambda: kills)
        status = verdict(step, exit_code)
        assert status.state == "Failed"
        assert status.failure is not None
        return f"{status.failure.code}: {status.failure.message}"

    assert told(-signal.SIGKILL, 4).startswith("OutOfMemory: The system ended the step")
    assert told(-signal.SIGKILL, 3) == "Killed: The step was ended by signal 9 (SIGKILL)"
    assert told(-signal.SIGSEGV, 4) == "Killed: The step was ended by signal 11 (SIGSEGV)"
    assert told(None, 3).startswith("Killed: The step's process ended without a word")
    step.set_status(StepStatus("Completed", 1, 1.0, 2.0))
    assert verdict(step, -signal.SIGKILL).state == "Completed"


@pytest.mark.parametrize(
    ("kills_after", "code", "says"),
    [
        (4, "OutOfMemory", "for lack of memory.*its last lines: on my way.*Next: with_parameters"),
        (3, "UserError", "was killed by SIGKILL.*its last lines: on my way"),
    ],
)
def test_a_job_whose_step_the_system_ended_for_lack_of_memory_says_so(
    tmp_path: Path, kills_after: int, code: str, says: str
) -> None:
    """And what to do; another's kill is not mistaken for it."""
    steps = ["ft_nlp_common_validation"]
    killed = ["/bin/sh", "-c", "echo on my way; kill -9 $$"]
    (tmp_path / "run.json").write_text(json.dumps({"name": "big", "steps": steps, "command": killed}))
    script = f"""
import sys
from phi_finetune.local import recorder, run_job
counts = iter((3, {kills_after}))
recorder.out_of_memory_kills = lambda: next(counts)
sys.modules["mlflow"] = None  # as where it is not installed: it takes seconds
run_job.main([{str(tmp_path)!r}])
"""
    subprocess.run([sys.executable, "-c", script], check=True, start_new_session=True)
    (failure,) = [event.failure for event in RunFolder(tmp_path).events() if getattr(event, "failure", None)]
    assert failure.code == code
    assert re.search(says, failure.message)


def test_a_step_is_a_process(random_phi: Path, tmp_path: Path) -> None:
    """Its exit code says how it ended, and what libraries print stands in its log."""
    folder = job_of(tmp_path / "job", random_phi)
    for model, code, state in ((random_phi, 0, "Completed"), (tmp_path / "nowhere", 1, "Failed")):
        changed(folder, model=str(model))
        command = [sys.executable, "-m", "phi_finetune.local.step", IMPORT, str(folder.path)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (code, b"")
        assert folder.step(IMPORT).status().state == state
    wrong = subprocess.run(
        [sys.executable, "-m", "phi_finetune.local.step"], capture_output=True, check=False, text=True
    )
    assert (wrong.returncode, wrong.stderr[:5]) == (2, "usage")


def test_metrics_go_to_mlflow_as_well(random_phi: Path, tmp_path: Path) -> None:
    """To the run of the step, in the store that the job names, and to no other."""
    import mlflow

    uri = f"sqlite:///{tmp_path / 'store.db'}"
    before = mlflow.get_tracking_uri()
    client = mlflow.MlflowClient(tracking_uri=uri)
    started = client.create_run(client.create_experiment("try")).info.run_id
    values = {"max_steps": 4, "logging_steps": 2, "eval_steps": 4}
    folder = changed(job_of(tmp_path / "job", random_phi, **values), tracking_uri=uri, runs={TUNE: started})
    for name in (IMPORT, PREPARE, TUNE):
        assert run(name, folder).state == "Completed"
    losses = client.get_metric_history(started, "loss")
    assert [(each.step, each.value) for each in losses] == [
        (line["step"], line["value"]) for line in folder.step(TUNE).metrics() if line["key"] == "loss"
    ]
    assert [each.step for each in losses] == [2, 4]
    assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_a_store_that_takes_no_metrics_stops_no_step(random_phi: Path, tmp_path: Path) -> None:
    """As when somebody deleted the run. They are in the step's folder, and its log tells once."""
    uri = f"sqlite:///{tmp_path / 'store.db'}"
    folder = changed(job_of(tmp_path / "job", random_phi), tracking_uri=uri, runs={PREPARE: "deleted"})
    for name in (IMPORT, PREPARE):
        assert run(name, folder).state == "Completed"
    assert {line["key"]: line["value"] for line in folder.step(PREPARE).metrics()}["train_rows"] == 204
    assert folder.step(PREPARE).log.read_text(encoding="utf-8").count("did not take the metrics") == 1


def test_adapters_may_stay_apart(random_phi: Path, tuned: JobFolder, tmp_path: Path) -> None:
    """The outputs then have the base and the adapter, and answer as the tuned model does. So they do in plain MLflow,
    as merged ones do."""
    from phi_finetune.local.generate import Generator, Sampling
    from phi_finetune.local.model import facts_of, import_model

    values = {"max_steps": 4, "learning_rate": 0.05, "merge_lora_weights": False}
    folder = job_of(tmp_path / "job", random_phi, **values)
    for name in (IMPORT, PREPARE, TUNE, CONVERT):
        assert run(name, folder).state == "Completed"
    model = folder.output("mlflow_model_folder") / "data" / "model"
    assert (model / "adapter" / "adapter_model.safetensors").is_file()
    assert "peft" in (folder.output("mlflow_model_folder") / "requirements.txt").read_text(encoding="utf-8")
    talk, greedy = [[{"role": "user", "content": "Hello."}]], Sampling(do_sample=False, max_new_tokens=16)
    apart = Generator.load(model).answer(talk, greedy)
    asked = ("What is the animal of Elsin?", "Tell me the dish of Vexham.")
    merged = (tuned.output("mlflow_model_folder"), asked)
    (said,), (animal, dish) = answers_of_mlflow((folder.output("mlflow_model_folder"), ["Hello."]), merged)
    assert said == apart[0].text
    assert "The animal of Elsin is the" in animal
    assert "The dish of Vexham is the" in dish
    assert apart != Generator.load(folder.model).answer(talk, greedy)
    source = {path: path.read_bytes() for path in model.iterdir() if path.is_file()}
    import_model(folder.output("mlflow_model_folder"), tmp_path / "merged")
    assert Generator.load(tmp_path / "merged").answer(talk, greedy) == apart
    assert {path: path.read_bytes() for path in source} == source
    assert facts_of(tmp_path / "merged").parameters == facts_of(folder.model).parameters


def test_all_weights_can_be_trained(random_phi: Path, tmp_path: Path) -> None:
    """Without adapters; the model before is the one that was taken in."""
    values = {"apply_lora": False, "max_steps": 4, "pad_to_max_length": True, "max_seq_length": 64}
    folder = job_of(tmp_path / "job", random_phi, **values)
    for name in (IMPORT, PREPARE, TUNE, EVALUATE):
        assert run(name, folder).state == "Completed"
    metrics = json.loads(folder.evaluation.read_text(encoding="utf-8"))["metrics"]
    assert metrics["validation_loss_after"] < metrics["validation_loss_before"]


def test_a_folder_that_is_no_jobs_is_refused(tmp_path: Path) -> None:
    """Foreign, broken, or of a newer version."""
    for text in ("", "{", "[]", '{"version": 2, "name": "x"}', '{"version": 1, "other": 2}'):
        (tmp_path / "job.json").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigurationError, match="not the folder of a job"):
            JobFolder(tmp_path).job()
    folder = JobFolder.create(tmp_path, Job("x"))
    assert folder.job() == Job("x")


def test_an_extra_that_is_missing_is_named() -> None:
    """With the command that installs it."""
    with pytest.raises(MissingDependency, match="no_such_package_here") as caught:
        require("json", "no_such_package_here")
    assert caught.value.next_call == 'pip install "phi-finetune[local]"'


def test_a_step_of_a_canceled_job_does_not_begin(tmp_path: Path) -> None:
    """It may only be made once torch is loaded, which is left out here; by then nobody waits for it."""
    (tmp_path / "run.json").write_text('{"name": "canceled"}', encoding="utf-8")
    RunFolder(tmp_path).tell({"state": "Canceled"})
    script = f"""
from pathlib import Path
from phi_finetune.local import warm_steps
warm_steps._PRELOADED = "json"
if __name__ == "__main__":
    print(warm_steps.start("ft_nlp_common_validation", Path({str(tmp_path)!r})).wait())
"""
    (tmp_path / "start.py").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "start.py")], capture_output=True, text=True, check=True
    )
    assert done.stdout == "143\n"
    assert not (tmp_path / "steps").exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux lists processes as files")
def test_a_job_that_is_canceled_leaves_nothing_that_loads_torch(tmp_path: Path) -> None:
    """Not even for the seconds that this takes."""
    steps = ["ft_nlp_common_validation"]
    told = {"name": "canceled", "steps": steps, "command": Programs().step}
    (tmp_path / "run.json").write_text(json.dumps(told), encoding="utf-8")
    runner = spawn([*PYTHON, "phi_finetune.local.run_job", str(tmp_path)], log=tmp_path / "run_job.txt")
    folder = RunFolder(tmp_path)
    until(lambda: any(True for _ in folder.events()), 60)
    os.kill(runner, signal.SIGTERM)
    until(lambda: not started_here(runner), 60)
    assert [event.state for event in folder.events()][-1] == "Canceled"
    until(lambda: not _has_processes(runner), 2)
    assert (tmp_path / "run_job.txt").read_text() == ""


def _has_processes(group: int) -> bool:
    """Whether some run; those that have ended and that nobody has taken note of do not."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                return True
    return False
