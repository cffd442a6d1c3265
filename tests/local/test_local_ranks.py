"""Several processes that train one model together, on the processor in place of as many GPUs."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from local_jobs import job_of

from phi_finetune.local.batches import Filled, LengthGrouped, Padding
from phi_finetune.local.finetune import Plan
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.preprocess import Rows
from phi_finetune.local.ranks import STEP, folder_of, tune_in_ranks
from phi_finetune.local.recorder import Ended
from phi_finetune.local.step import run
from phi_finetune.local.train import last_checkpoint

PLAN = Plan(sparing=False, estimated_bytes=1)
VALUES: dict[str, Any] = {
    "apply_lora": False,
    "lr_scheduler_type": "constant",
    "learning_rate": 1e-3,
    "warmup_steps": 0,
    "logging_steps": 1,
    "evaluation_strategy": "steps",
    "eval_steps": 2,
    "resume_from_checkpoint": True,
    "max_steps": 1000,
    "per_device_train_batch_size": 4,
    "number_of_gpu_to_use_finetuning": 2,
}
ROWS = 18
"""In steps of eight the last one of an epoch has two rows, and the second process has none of them."""
needs_pidfd = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="only Linux tells of foreign processes"
)


def prepared(folder: Path, model: Path, **values: Any) -> JobFolder:
    """A job that is ready to be fine-tuned, on few rows."""
    job = job_of(folder, model, **{**VALUES, **values})
    rows = folder / "train.jsonl"
    rows.write_text("".join(rows.read_text("utf-8").splitlines(keepends=True)[:ROWS]), encoding="utf-8")
    for name in ("chat_completion_model_import", "chat_completion_datapreprocess"):
        assert run(name, job).state == "Completed"
    return job


def one_process(folder: Path, model: Path, **values: Any) -> JobFolder:
    """The same job, trained by one process in batches of twice the size."""
    one = {"per_device_train_batch_size": 8, "number_of_gpu_to_use_finetuning": 1}
    job = prepared(folder, model, **{**values, **one})
    assert run(STEP, job).state == "Completed", job.step(STEP).status()
    return job


def change(job: JobFolder, **values: Any) -> None:
    """Give a job other parameters."""
    told = json.loads((job.path / "job.json").read_text(encoding="utf-8"))
    told["values"] |= values
    (job.path / "job.json").write_text(json.dumps(told), encoding="utf-8")


def logged(job: JobFolder, *keys: str) -> dict[tuple[str, int], float]:
    """What was measured at which step."""
    return {
        (line["key"], line["step"]): line["value"] for line in job.step(STEP).metrics() if line["key"] in keys
    }


def weights(job: JobFolder) -> dict[str, Any]:
    """The weights that a job gave."""
    from safetensors.torch import load_file

    return load_file(job.output("pytorch_model_folder") / "model.safetensors")


def told(says: Callable[[], bool], ended: threading.Event) -> None:
    """Wait until it says so, or it is too late."""
    while not says() and not ended.wait(0.02):
        pass


def process_of(job: JobFolder, number: int) -> int:
    """The number of a process that runs; 0 before it does."""
    status = folder_of(job, number).status()
    return status.pid if status.state == "Running" else 0


def test_a_killed_process_fails_the_step_and_a_resumed_training_ends_as_that_of_one(
    random_phi: Path, tmp_path: Path, one_thread: None
) -> None:
    """With nearly the same losses and weights; none of the processes outlives its fellow."""
    job, ended, lines = prepared(tmp_path / "two", random_phi), threading.Event(), list[str]()

    def far() -> bool:
        reached = last_checkpoint(job.checkpoints)
        return reached is not None and reached.name not in ("checkpoint-2", "checkpoint-4")

    def kill() -> None:
        told(far, ended)
        os.kill(process_of(job, 1), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(Ended, match=r"process 1 of 2 failed.*SIGKILL") as caught:
        tune_in_ranks(job, 2, PLAN, say=lines.append)
    ended.set()
    killer.join()
    assert caught.value.failure.code == "Killed"
    assert "ranks/1/log.txt" in lines[0]
    with pytest.raises(ProcessLookupError):
        os.kill(folder_of(job, 0).status().pid, 0)
    reached = last_checkpoint(job.checkpoints)
    assert reached is not None
    steps = int(reached.name.rpartition("-")[2]) + 3
    change(job, max_steps=steps)
    tune_in_ranks(job, 2, PLAN, say=lines.append)
    one = one_process(tmp_path / "one", random_phi, max_steps=steps)
    expected = logged(one, "loss", "eval_loss", "grad_norm")
    assert len(expected) > 2 * steps
    assert logged(job, "loss", "eval_loss", "grad_norm") == pytest.approx(expected, rel=1e-4)
    ours, theirs = weights(job), weights(one)
    assert ours.keys() == theirs.keys()
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in ours) < 1e-4


@needs_pidfd
def test_no_process_outlives_the_one_that_started_it(random_phi: Path, tmp_path: Path) -> None:
    """Not even if that is killed; and they are in its group, which a cancel of the job ends."""
    job, done = prepared(tmp_path / "two", random_phi), threading.Event()
    program = (
        "import sys; from pathlib import Path; from phi_finetune.local.finetune import Plan; "
        "from phi_finetune.local.job_folder import JobFolder; from phi_finetune.local.ranks import tune_in_ranks; "
        "tune_in_ranks(JobFolder(Path(sys.argv[1])), 2, Plan(False, 1), say=print)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program, str(job.path)], process_group=0)
    told(lambda: all(process_of(job, number) for number in (0, 1)) or starter.poll() is not None, done)
    handles = [os.pidfd_open(process_of(job, number)) for number in (0, 1)]
    assert {os.getpgid(process_of(job, number)) for number in (0, 1)} == {starter.pid}
    starter.kill()
    starter.wait()
    try:
        for handle in handles:
            assert select.select([handle], [], [], 30)[0] == [handle]
    finally:
        for handle in handles:
            os.close(handle)


def evaluated_on_others(job: JobFolder) -> JobFolder:
    """Let a job be evaluated on rows of which one process has those that are trained on, and the other longer ones
    with wrong answers, which the model foretells worse and worse."""
    rows = [json.loads(line) for line in (job.path / "train.jsonl").read_text("utf-8").splitlines()[:4]]
    wrong = " ".join(row["messages"][-1]["content"][::-1] for row in rows)
    others = [{"messages": [*row["messages"][:-1], {"role": "assistant", "content": wrong}]} for row in rows]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, *others])
    (job.path / "validation.jsonl").write_text(text, encoding="utf-8")
    assert run("chat_completion_datapreprocess", job).state == "Completed"
    return job


def test_all_processes_stop_early_at_the_same_step(
    random_phi: Path, tmp_path: Path, one_thread: None
) -> None:
    """At that at which one process would, though by its own rows the first would go on; none waits for another."""
    values = {
        "apply_early_stopping": True,
        "early_stopping_patience": 2,
        "eval_steps": 1,
        "learning_rate": 1e-2,
        "max_steps": 8,
        "per_device_eval_batch_size": 4,
    }
    job = evaluated_on_others(prepared(tmp_path / "two", random_phi, **values))
    too_long = threading.Timer(180, lambda: os.kill(process_of(job, 0), signal.SIGKILL))
    too_long.start()
    tune_in_ranks(job, 2, PLAN, say=lambda line: None)
    too_long.cancel()
    alone = {**values, "per_device_train_batch_size": 8, "number_of_gpu_to_use_finetuning": 1}
    one = evaluated_on_others(prepared(tmp_path / "one", random_phi, **alone))
    assert run(STEP, one).state == "Completed"
    expected = logged(one, "eval_loss")
    assert sorted(expected) == [("eval_loss", step) for step in (1, 2, 3)]
    assert logged(job, "eval_loss") == pytest.approx(expected, rel=1e-4)


def test_a_process_that_fails_says_why(random_phi: Path, tmp_path: Path) -> None:
    """In the words that it would have failed with alone."""
    job = prepared(tmp_path / "two", random_phi)
    (job.model / "model.safetensors").unlink()
    with pytest.raises(Ended, match=r"process . of 2 failed.*cannot be used") as caught:
        tune_in_ranks(job, 2, PLAN, say=lambda line: None)
    assert caught.value.failure.code == "ConfigurationError"


@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_steps_of_two_have_the_rows_of_one(accumulated: int) -> None:
    """Each row once, and empty ones where there are too few."""
    lengths = [(7 * number) % 50 + 1 for number in range(ROWS)]
    size = 8 * accumulated
    one, two = LengthGrouped(lengths, size, seed=1), LengthGrouped(lengths, size, seed=1, multiple=8)
    assert len(two) == len(list(two)) == 24
    assert list(two) == [*one, *[ROWS] * 6]


def test_an_empty_row_teaches_nothing(random_phi: Path, tmp_path: Path) -> None:
    """It has no token that is trained on, and the others of its batch stay as they are."""
    job = prepared(tmp_path / "job", random_phi)
    rows = Rows.read(job.data, "train")
    filled = Filled(rows)
    assert len(filled) == len(rows)
    assert filled[3] == rows[3]
    batch = Padding(3)([filled[3], filled[len(rows)]])
    assert batch["labels"][1].eq(-100).all()
    assert int(batch["attention_mask"][1].sum()) == 1


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_divides_and_learns_the_same(
    random_phi: Path, tmp_path: Path, one_thread: None, stage: int
) -> None:
    """And the weights that it gives are whole."""
    values = {"max_steps": 4}
    job = prepared(tmp_path / "two", random_phi, apply_deepspeed=True, deepspeed_stage=stage, **values)
    tune_in_ranks(job, 2, PLAN, say=lambda line: None)
    one = one_process(tmp_path / "one", random_phi, **values)
    assert logged(job, "loss", "eval_loss") == pytest.approx(logged(one, "loss", "eval_loss"), rel=1e-3)
    ours, theirs = weights(job), weights(one)
    assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-3
