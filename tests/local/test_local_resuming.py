"""A job that is to go on from the last checkpoint: of the same fine-tune's earlier job, and of no other."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from local_jobs import job_of
from local_workspaces import until

import phi_finetune as pf
from phi_finetune.errors import JobFailed
from phi_finetune.local.hardware import this_machine
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.parameters import settle
from phi_finetune.local.processes import read_process, write_process
from phi_finetune.local.resuming import resume
from phi_finetune.local.run_folder import RunFolder
from phi_finetune.local.step import run
from phi_finetune.local.train import last_checkpoint, step_of

TRAINING = "chat_completion_finetune"
QUICK: pf.ParameterValues = {
    "apply_lora": True,
    "lora_r": 4,
    "max_steps": 12,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "evaluation_strategy": "steps",
    "eval_steps": 2,
    "apply_early_stopping": True,
    "early_stopping_patience": 100,
}
NOTHING = "there is nothing to go on from"


def tune(folder: Path, phi: Path, **values: object) -> pf.Finetune:
    """A fine-tune that writes a checkpoint every other step."""
    workspace = pf.Workspace.local(folder)
    base = pf.local.add_model(workspace, phi, name="tiny-phi")
    data = pf.ChatDataset.from_records(pf.local.tiny_facts().train[:100], name="facts")
    given: pf.ParameterValues = {**QUICK, **values}  # type: ignore[typeddict-item]
    return (
        base.finetune(data)
        .on(workspace.gpu_compute("here", size="this-machine").ensure(base))
        .with_parameters(**given)
    )


def killed_after_a_checkpoint(folder: Path, tuning: pf.Finetune) -> tuple[pf.FinetuneJob, int]:
    """A job whose runner is killed as it trains, and the step of its last checkpoint."""
    job = tuning.submit()
    where = folder / "jobs" / job.name
    until(lambda: last_checkpoint(where / "checkpoints") is not None, 120)
    runner, step = (read_process(where / name) for name in ("process.json", "step.json"))
    assert runner is not None
    assert step is not None
    runner.tell(signal.SIGKILL)
    until(lambda: not runner.alive and not step.alive)
    with pytest.raises(JobFailed):
        job.wait()
    reached = last_checkpoint(where / "checkpoints")
    assert reached is not None
    return job, step_of(reached)


def log_of(job: Path) -> str:
    """What the training of a job has said so far."""
    log = JobFolder(job).step(TRAINING).log
    return log.read_text(encoding="utf-8") if log.exists() else ""


def everything_in(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_fine_tune_goes_on_after_a_kill(random_phi: Path, tmp_path: Path) -> None:
    """Submitted again it is a new job, which begins with the step after the last checkpoint, and says so."""
    tuning = tune(tmp_path, random_phi, resume_from_checkpoint=True)
    first, reached = killed_after_a_checkpoint(tmp_path, tuning)
    left = everything_in(tmp_path / "jobs" / first.name / "checkpoints")
    assert NOTHING in first.logs(TRAINING)

    second = tuning.submit()
    until(lambda: f"{TRAINING} is done" in log_of(tmp_path / "jobs" / second.name), 120)
    second.cancel()
    assert second.name == f"{first.name}-2"
    assert f"goes on from step {reached} of job {first.name}, which has" in second.logs(TRAINING)
    assert [point.step for point in second.metrics().history("loss")] == list(range(reached + 1, 13))
    assert everything_in(tmp_path / "jobs" / first.name / "checkpoints") == left
    assert f"/{first.name}/" not in "".join(states_of(tmp_path / "jobs" / second.name))


def states_of(job: Path) -> list[str]:
    """What the checkpoints of a job say of themselves."""
    return [path.read_text(encoding="utf-8") for path in job.glob("checkpoints/*/trainer_state.json")]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, random_phi: Path) -> JobFolder:
    """A job's folder before its training begins."""
    values = {key: value for key, value in QUICK.items() if isinstance(value, bool | int | float | str)}
    folder = job_of(tmp_path_factory.mktemp("prepared") / "job", random_phi, **values)
    for name in ("chat_completion_model_import", "chat_completion_datapreprocess"):
        assert run(name, folder).state == "Completed"
    (folder.path / "run.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def jobs(prepared: JobFolder, tmp_path: Path) -> tuple[JobFolder, JobFolder]:
    """A job that was killed with two checkpoints, of which the first is best, and one that is to go on."""
    first, second = (
        JobFolder(Path(shutil.copytree(prepared.path, tmp_path / name))) for name in ("first", "second")
    )
    for step in (2, 4):
        checkpoint = first.checkpoints / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "optimizer.pt").write_bytes(b"moments")
        state = {"global_step": step, "best_model_checkpoint": str(first.checkpoints / "checkpoint-2")}
        (checkpoint / "trainer_state.json").write_text(json.dumps(state), encoding="utf-8")
    change(second, resume_from_checkpoint=True)
    return first, second


def change(folder: JobFolder, **values: object) -> None:
    """Give a job other parameters."""
    told = json.loads((folder.path / "job.json").read_text(encoding="utf-8"))
    told["values"] |= values
    (folder.path / "job.json").write_text(json.dumps(told), encoding="utf-8")


def resumed(folder: JobFolder) -> str:
    """What a job says as it goes on."""
    lines: list[str] = []
    job = folder.job()
    resume(folder, job, settle(job.parameters, this_machine()), say=lines.append)
    [line] = lines
    return line


@pytest.mark.parametrize(("max_steps", "step"), [(12, 4), (100, 4), (4, 2)])
def test_a_longer_or_shorter_training_goes_on(
    jobs: tuple[JobFolder, JobFolder], max_steps: int, step: int
) -> None:
    """From what lies before its own end, also where the earlier job was not asked to go on; that one stays as it is."""
    first, second = jobs
    change(second, max_steps=max_steps)
    left = everything_in(first.path)
    assert f"goes on from step {step} of job try" in resumed(second)
    reached = last_checkpoint(second.checkpoints)
    assert reached == second.checkpoints / f"checkpoint-{step}"
    best = second.checkpoints / "checkpoint-2"
    assert all(json.loads(text)["best_model_checkpoint"] == str(best) for text in states_of(second.path)[-1:])
    assert (best / "optimizer.pt").read_bytes() == b"moments"
    assert everything_in(first.path) == left
    assert f"goes on from step {step}, where it was interrupted" in resumed(second)


def _another_file(first: JobFolder) -> None:
    (first.path / "train.jsonl").write_text("{}", encoding="utf-8")


def _other_rows(first: JobFolder) -> None:
    ids = first.data / "train.ids"
    ids.write_bytes(b"x" * ids.stat().st_size)


def _other_weights(first: JobFolder) -> None:
    weights = first.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")


def _cut_off(first: JobFolder) -> None:
    for path in first.checkpoints.glob("*/trainer_state.json"):
        path.write_text('{"global_step', encoding="utf-8")


DIFFERENT: dict[str, Callable[[JobFolder], None]] = {
    "another rate": lambda first: change(first, learning_rate=5e-3),
    "another file": _another_file,
    "other rows": _other_rows,
    "another model": _other_weights,
    "checkpoints cut off": _cut_off,
    "it still runs": lambda first: write_process(RunFolder(first.path).process, os.getpid()),
    "its step still runs": lambda first: write_process(RunFolder(first.path).step_process, os.getpid()),
    "a newer version's": lambda first: change(first, of_another_version=1),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_no_other_jobs_checkpoint_is_taken(jobs: tuple[JobFolder, JobFolder], what: str) -> None:
    """Nor one of a job that may still write; the log says that there is nothing."""
    first, second = jobs
    DIFFERENT[what](first)
    assert NOTHING in resumed(second)
    assert not second.checkpoints.exists()


def test_a_training_that_is_at_its_end_has_nowhere_to_go(jobs: tuple[JobFolder, JobFolder]) -> None:
    """A checkpoint of the last step, or of one after it, is left alone."""
    change(jobs[1], max_steps=2)
    assert NOTHING in resumed(jobs[1])


def test_an_epochs_steps_are_counted() -> None:
    """Where no number of steps is given."""
    values = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_train_epochs": 2}
    settled = settle(values, this_machine())
    assert [settled.steps(rows) for rows in (1, 12, 13, 24, 25)] == [2, 2, 4, 4, 6]
