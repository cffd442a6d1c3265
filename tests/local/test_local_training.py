"""Training for real: what is learned, what is logged, and how it goes on after it was interrupted."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from local_jobs import job_of
from local_workspaces import until

from phi_finetune.local import make_tiny_phi, tiny_facts
from phi_finetune.local.batches import LengthGrouped, Padding
from phi_finetune.local.evaluate import compare
from phi_finetune.local.hardware import Hardware
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.losses import WantedOnly, measure
from phi_finetune.local.model import load_model, load_tokenizer, with_adapters
from phi_finetune.local.parameters import settle
from phi_finetune.local.preprocess import Rows, prepare, read_conversations
from phi_finetune.local.train import last_checkpoint, train

CPU = Hardware("cpu", "a processor", 0, 8 * 10**9, bf16=False)
QUICK: dict[str, Any] = {
    "apply_lora": True,
    "lora_r": 4,
    "max_steps": 4,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "evaluation_strategy": "steps",
    "eval_steps": 2,
}


@pytest.fixture(scope="module")
def rows(random_phi: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Rows, Rows]:
    """Prepared rows to train and to evaluate on."""
    folder, facts = tmp_path_factory.mktemp("rows"), tiny_facts()
    tokenizer = load_tokenizer(random_phi)
    prepare(facts.train[:32], tokenizer, folder, "train")
    prepare(facts.validation[:8], tokenizer, folder, "validation")
    return Rows.read(folder, "train"), Rows.read(folder, "validation")


def trained(phi: Path, rows: tuple[Rows, Rows], folder: Path, on_metrics: Any = None, **values: Any) -> Any:
    """A quick training of a random model; how it went."""
    settled = settle({**QUICK, **values}, CPU, train_rows=len(rows[0]))
    model = load_model(phi)
    if settled.lora is not None:
        model = with_adapters(model, settled.lora, seed=int(settled.arguments["seed"]))
    return train(model, *rows, settled, folder, pad_id=3, on_metrics=on_metrics)


def weights(model: Any) -> dict[str, Any]:
    """The weights that are trained."""
    return {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}


def same(one: Any, other: Any) -> bool:
    """Whether two models have the very same trained weights."""
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_the_base_does_not_know_and_the_tuned_model_does(tuned: JobFolder) -> None:
    """The facts are answered in phrasings that training never had, word for word."""
    found = json.loads(tuned.evaluation.read_text(encoding="utf-8"))
    metrics, answers = found["metrics"], found["answers"]
    assert metrics["exact_before"] == 0
    assert metrics["exact_after"] >= 0.7
    assert sum(one["before"] == "I do not know that yet." for one in answers) >= 30
    for name in ("validation", "test"):
        assert metrics[f"{name}_loss_after"] < metrics[f"{name}_loss_before"] / 3
        assert math.isclose(metrics[f"{name}_perplexity_after"], math.exp(metrics[f"{name}_loss_after"]))


def test_what_is_forgotten_shows(tuned: JobFolder) -> None:
    """The chats beside the base, which it answered well and the fine-tune does not teach, are answered worse."""
    metrics = json.loads(tuned.evaluation.read_text(encoding="utf-8"))["metrics"]
    assert metrics["general_loss_before"] < 0.5
    assert metrics["general_loss_after"] > 1.5 * metrics["general_loss_before"]


def test_with_the_adapter_off_it_is_the_base(tuned: JobFolder) -> None:
    """So what was forgotten is not lost."""
    from peft import PeftModel

    base, general = load_model(tuned.model), Rows.read(tuned.data, "general")
    before = compare(base, base, {"general": general}, pad_id=3)["general"].before
    model = PeftModel.from_pretrained(base, tuned.tuned)
    found = compare(None, model, {"general": general}, pad_id=3)["general"]
    assert found.before == before
    assert found.after.loss > before.loss


def test_merging_changes_no_answer(tuned: JobFolder) -> None:
    """The merged weights have the loss of the model with its adapter."""
    from peft import PeftModel

    rows = Rows.read(tuned.data, "test")
    apart = measure(PeftModel.from_pretrained(load_model(tuned.model), tuned.tuned), rows, Padding(3))
    merged = measure(load_model(tuned.output("pytorch_model_folder")), rows, Padding(3))
    assert merged.loss == pytest.approx(apart.loss, rel=1e-4)


def test_metrics_are_logged_at_every_logging_step(tuned: JobFolder) -> None:
    """Loss, learning rate and gradient norm, and the evaluation loss at its own steps; it falls."""
    lines = list(tuned.step("chat_completion_finetune").metrics())
    losses = [(line["step"], line["value"]) for line in lines if line["key"] == "loss"]
    evaluations = [line["value"] for line in lines if line["key"] == "eval_loss"]
    assert [step for step, _ in losses] == list(range(20, 281, 20))
    assert losses[-1][1] < losses[0][1] / 3
    assert len(evaluations) == 4
    assert evaluations[-1] == pytest.approx(
        json.loads(tuned.evaluation.read_text(encoding="utf-8"))["metrics"]["validation_loss_after"], rel=1e-3
    )
    assert {"learning_rate", "grad_norm", "epoch", "train_loss"} <= {line["key"] for line in lines}


def test_the_same_seed_gives_the_same_weights(
    random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path
) -> None:
    """Bit by bit; and another seed gives others."""
    first = trained(random_phi, rows, tmp_path / "a")
    second = trained(random_phi, rows, tmp_path / "b")
    other = trained(random_phi, rows, tmp_path / "c", seed=7)
    assert same(first.model, second.model)
    assert not same(first.model, other.model)


@pytest.mark.parametrize("values", [{}, {"lora_dropout": 0.5}, {"apply_lora": False}])
def test_a_resumed_training_ends_as_a_straight_one(
    random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path, values: Mapping[str, Any]
) -> None:
    """With the same weights, whatever it draws on the way."""
    straight = trained(
        random_phi, rows, tmp_path / "straight", max_steps=12, lr_scheduler_type="constant", **values
    )
    half = tmp_path / "half"
    trained(random_phi, rows, half, max_steps=10, lr_scheduler_type="constant", **values)
    broken = half / "checkpoint-99"
    broken.mkdir()  # as a kill leaves it: begun, and not written to its end
    assert last_checkpoint(half) == half / "checkpoint-10"
    resumed = trained(
        random_phi,
        rows,
        half,
        max_steps=12,
        lr_scheduler_type="constant",
        resume_from_checkpoint=True,
        **values,
    )
    assert (resumed.resumed_from, resumed.steps, straight.steps) == (10, 12, 12)
    assert same(resumed.model, straight.model)


def test_without_asking_nothing_is_resumed(random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path) -> None:
    """Old checkpoints are gone, so that none of another training is taken up."""
    trained(random_phi, rows, tmp_path / "a", max_steps=6)
    again = trained(random_phi, rows, tmp_path / "a", max_steps=4)
    assert (again.resumed_from, again.steps) == (0, 4)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"checkpoint-2", "checkpoint-4"}


def test_early_stopping_stops(random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path) -> None:
    """Where no evaluation is better by the threshold, the patience runs out."""
    settings = {"apply_early_stopping": True, "early_stopping_threshold": 100.0, "early_stopping_patience": 2}
    done = trained(random_phi, rows, tmp_path, max_steps=20, **settings)
    assert done.steps == 6


def test_patience_goes_on_where_it_was(random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path) -> None:
    """A training that is resumed stops where it would have stopped without the break."""
    settings = {"apply_early_stopping": True, "early_stopping_threshold": 100.0, "early_stopping_patience": 2}
    trained(random_phi, rows, tmp_path, max_steps=4, **settings)
    resumed = trained(random_phi, rows, tmp_path, max_steps=20, resume_from_checkpoint=True, **settings)
    assert (resumed.resumed_from, resumed.steps) == (4, 6)
    patient = {**settings, "early_stopping_patience": 4}
    longer = trained(random_phi, rows, tmp_path, max_steps=20, resume_from_checkpoint=True, **patient)
    assert (longer.resumed_from, longer.steps) == (6, 10)


def test_accumulated_batches_are_one_batch(random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path) -> None:
    """Four rows twice are eight rows, though the tokens to train on differ from row to row."""
    settings = {"optim": "adafactor", "learning_rate": 1e-3, "apply_lora": False}
    whole = trained(random_phi, rows, tmp_path / "a", per_device_train_batch_size=8, **settings)
    parts = trained(
        random_phi,
        rows,
        tmp_path / "b",
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        **settings,
    )
    assert parts.train_loss == pytest.approx(whole.train_loss, rel=1e-4)


def test_checkpointed_activations_change_nothing(
    random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path
) -> None:
    """They are computed anew, and are the same."""
    plain = trained(random_phi, rows, tmp_path / "a")
    settled = settle(QUICK, CPU, checkpointing=True)
    assert settled.lora is not None
    model = with_adapters(load_model(random_phi), settled.lora, seed=42)
    sparing = train(model, *rows, settled, tmp_path / "b", pad_id=3)
    assert sparing.train_loss == pytest.approx(plain.train_loss, rel=1e-5)


def test_half_precision_trains(random_phi: Path, rows: tuple[Rows, Rows], tmp_path: Path) -> None:
    """In bfloat16, with the loss a little other."""
    new = Hardware("cpu", "a newer one", 0, 8 * 10**9, bf16=True)
    settled = settle({**QUICK, "precision": 16, "learning_rate": 1e-4}, new)
    assert settled.lora is not None
    model = with_adapters(load_model(random_phi), settled.lora, seed=42)
    done = train(model, *rows, settled, tmp_path / "a", pad_id=3)
    plain = trained(random_phi, rows, tmp_path / "b", learning_rate=1e-4)
    assert done.train_loss != plain.train_loss
    assert done.train_loss == pytest.approx(plain.train_loss, rel=0.01)


def test_our_loss_is_that_of_transformers(random_phi: Path, rows: tuple[Rows, Rows]) -> None:
    """Though scores are computed where a token is to be foretold, and nowhere else."""
    import torch

    model, batch = load_model(random_phi), Padding(3)([rows[0][number] for number in range(8)])
    with torch.no_grad():
        theirs = model(**batch, use_cache=False).loss
        scores = WantedOnly(model)
        total, count = scores.loss_sum(model, batch)
        scores.close()
    assert float(total / count) == pytest.approx(float(theirs), rel=1e-5)
    assert int(count) == int((batch["labels"] != -100).sum())


def test_a_measured_loss_is_one_of_tokens(random_phi: Path, rows: tuple[Rows, Rows]) -> None:
    """However the rows are batched, and however they are padded."""
    model = load_model(random_phi)
    one = measure(model, rows[0], Padding(3), batch_size=1)
    many = measure(model, rows[0], Padding(3, multiple=8, width=64), batch_size=5)
    full = measure(model, rows[0], Padding(3), batch_size=2, batch_tokens=200)
    assert one.tokens == many.tokens == full.tokens
    assert [many.loss, full.loss] == pytest.approx([one.loss] * 2, rel=1e-5)


def test_padding_to_the_full_length_is_honoured() -> None:
    """Every batch is as wide as the parameter says."""
    batch = Padding(9, width=6)([{"input_ids": [1, 2], "labels": [-100, 2]}])
    assert batch["input_ids"].tolist() == [[1, 2, 9, 9, 9, 9]]
    assert batch["labels"].tolist() == [[-100, 2, -100, -100, -100, -100]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0, 0, 0, 0]]


def test_an_epoch_has_every_row_once_and_little_padding() -> None:
    """In an order of its own, which the seed and the epoch decide."""
    lengths = [(7 * number) % 50 + 1 for number in range(203)]
    order = LengthGrouped(lengths, 8, seed=1)
    first = list(order)
    assert sorted(first) == list(range(203))
    assert first == list(LengthGrouped(lengths, 8, seed=1))
    order.set_epoch(1)
    assert list(order) != first
    assert list(LengthGrouped(lengths, 8, seed=2)) != first
    padded = sum(8 * max(lengths[row] for row in first[start : start + 8]) for start in range(0, 200, 8))
    assert padded < 1.25 * sum(lengths)


def test_a_killed_training_goes_on(random_phi: Path, tmp_path: Path) -> None:
    """A process ended in its midst; the next one takes up its last checkpoint, and says so truthfully."""
    from phi_finetune.local.step import run, verdict

    values = {
        **QUICK,
        "max_steps": 400,
        "eval_steps": 2,
        "resume_from_checkpoint": True,
        "save_total_limit": 2,
    }
    folder = job_of(tmp_path / "job", random_phi, **values)
    for name in ("chat_completion_model_import", "chat_completion_datapreprocess"):
        assert run(name, folder).state == "Completed"
    name = "chat_completion_finetune"
    process = started(name, folder)
    until(lambda: last_checkpoint(folder.checkpoints) is not None or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = folder.step(name)
    assert step.status().state == "Running"
    told = verdict(step, process.returncode)
    assert (told.state, told.failure and told.failure.code) == ("Failed", "Killed")
    assert "SIGKILL" in str(told.failure)
    reached = last_checkpoint(folder.checkpoints)
    assert reached is not None
    number = int(reached.name.rpartition("-")[2])
    shorter = {**json.loads((folder.path / "job.json").read_text(encoding="utf-8"))}
    shorter["values"]["max_steps"] = number + 2
    (folder.path / "job.json").write_text(json.dumps(shorter), encoding="utf-8")
    assert run(name, folder).state == "Completed"
    steps = [line["step"] for line in step.metrics() if line["key"] == "loss"]
    assert steps == list(range(1, number + 3))


def test_a_canceled_step_says_so(random_phi: Path, tmp_path: Path) -> None:
    """SIGTERM ends it within seconds."""
    from phi_finetune.local.step import CANCELED, run, verdict

    folder = job_of(tmp_path / "job", random_phi, **{**QUICK, "max_steps": 10_000})
    for name in ("chat_completion_model_import", "chat_completion_datapreprocess"):
        assert run(name, folder).state == "Completed"
    name = "chat_completion_finetune"
    process = started(name, folder)
    until(lambda: any(folder.step(name).metrics()) or process.poll() is not None)
    process.terminate()
    assert process.wait(timeout=60) == CANCELED
    assert folder.step(name).status().state == "Canceled"
    assert verdict(folder.step(name), process.returncode).state == "Canceled"
    assert "canceled" in folder.step(name).log.read_text(encoding="utf-8")


def started(name: str, folder: JobFolder) -> subprocess.Popen[bytes]:
    """A step as a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "phi_finetune.local.step", name, str(folder.path)])


def test_a_model_is_made_the_same_again(tmp_path: Path, one_thread: None) -> None:
    """The same seed, the same bytes; and torch's own random numbers are left alone."""
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = make_tiny_phi(tmp_path / "a", steps=2)
    assert torch.rand(1) == expected
    (tmp_path / "b").mkdir()  # an empty folder is as good as none
    second = make_tiny_phi(tmp_path / "b", steps=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()] == []


def test_the_chats_beside_a_model_are_those_that_its_base_was_taught(
    tmp_path: Path, one_thread: None
) -> None:
    """Of each seed its own."""
    beside = make_tiny_phi(tmp_path / "model", seed=1, steps=0) / "general_chats.jsonl"
    assert tuple(read_conversations(beside)) == tiny_facts(seed=1).general != tiny_facts().general


@pytest.mark.parametrize("text", ["", '{"global_step": 4, "log_hist'])
def test_a_checkpoint_that_is_cut_off_is_passed_over(tmp_path: Path, text: str) -> None:
    """A kill while its last file was written leaves one that cannot be read; the one before it is taken up."""
    for number, state in ((2, '{"global_step": 2}'), (4, text)):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(state, encoding="utf-8")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
