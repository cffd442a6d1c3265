"""The fine-tune itself, in the process that trains: the model is loaded, trained and written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune.local.hardware import Hardware, this_machine
from phi_finetune.local.job_folder import Job, JobFolder
from phi_finetune.local.libraries import TRAINING, load
from phi_finetune.local.model import (
    ModelFacts,
    facts_of,
    load_model,
    load_tokenizer,
    merge,
    pad_id_of,
    with_adapters,
)
from phi_finetune.local.parameters import Settled, settle
from phi_finetune.local.preprocess import Rows, row_limit
from phi_finetune.local.train import Trained, last_checkpoint, step_of, train
from phi_finetune.local.zero import zero_config

if TYPE_CHECKING:
    from phi_finetune.local.steps import StepLog

__all__ = ["Plan", "tune"]


@attrs.frozen
class Plan:
    """What was settled before a fine-tune begins.

    Attributes:
        sparing: Whether activations are computed anew in the backward pass.
        estimated_bytes: The memory that it was estimated to take on each device.
    """

    sparing: bool
    estimated_bytes: int


def tune(folder: JobFolder, job: Job, log: StepLog, plan: Plan, *, rank: int = 0) -> None:
    """Train the model of a job on its prepared rows, and write it into the job's folder.

    Args:
        folder: The job's folder.
        job: The job.
        log: Where it says what it does.
        plan: What was settled.
        rank: Which of the processes this is that train together; only the first one writes the model.
    """
    hardware, facts = this_machine(), facts_of(folder.model)
    rows, validation = (Rows.read(folder.data, name) for name in ("train", "validation"))
    settled = settle(job.parameters, hardware, train_rows=len(rows), checkpointing=plan.sparing)
    load(TRAINING)
    model, tokenizer = _model_to_train(folder, settled, hardware), load_tokenizer(folder.model)
    trained_weights = sum(each.numel() for each in model.parameters() if each.requires_grad)
    where = f"{settled.ranks} x {hardware.name}" if settled.ranks > 1 else hardware.name
    log.say(f"trains {trained_weights:,} of {facts.parameters:,} weights on {where}")
    checkpoint = last_checkpoint(folder.checkpoints) if settled.values["resume_from_checkpoint"] else None
    log.restarted(step_of(checkpoint) if checkpoint else -1)
    done = train(
        model,
        rows,
        validation,
        settled,
        folder.checkpoints,
        pad_id=pad_id_of(tokenizer),
        width=_width(settled, facts),
        zero=zero_config(settled, folder.path),
        on_metrics=lambda step, values: _logged(log, step, values),
    )
    if rank:
        return
    measured = {"estimated_memory_bytes": plan.estimated_bytes, "peak_memory_bytes": done.peak_bytes}
    log.metrics(done.steps, measured)
    speed = done.trained_tokens / max(done.seconds, 1e-9)
    log.say(
        f"{done.steps} steps in {done.seconds:.1f} s, {speed:,.0f} tokens a second, loss {done.train_loss:.4f}"
    )
    _write(folder, settled, tokenizer, done)


def _write(folder: JobFolder, settled: Settled, tokenizer: Any, done: Trained) -> None:
    from phi_finetune.local.package import save_pytorch

    for path in (folder.tuned, folder.output("pytorch_model_folder")):
        shutil.rmtree(path, ignore_errors=True)
    merged, tuned = done.model, done.model
    if settled.lora is not None:
        tuned.save_pretrained(folder.tuned)
        merged = merge(tuned) if settled.lora.merge else tuned
    save_pytorch(
        merged,
        tokenizer,
        folder.output("pytorch_model_folder"),
        base=folder.model,
        merged=settled.lora is None or settled.lora.merge,
        weights=done.weights,
    )


def _logged(log: StepLog, step: int, values: Mapping[str, float]) -> None:
    log.metrics(step, values)
    log.say(f"step {step}: " + ", ".join(f"{key} {value:.6g}" for key, value in values.items()))


def _model_to_train(folder: JobFolder, settled: Settled, hardware: Hardware) -> Any:
    half = settled.values["precision"] == 16 and settled.lora is not None and hardware.device == "cuda"
    mismatched = bool(settled.values["ignore_mismatched_sizes"])
    # DeepSpeed itself puts on each GPU what belongs there.
    place = attrs.evolve(hardware, device="cpu") if settled.zero else hardware
    model = load_model(folder.model, hardware=place, half=half, ignore_mismatched_sizes=mismatched)
    if settled.lora is None:
        return model
    return with_adapters(model, settled.lora, seed=int(settled.arguments["seed"]))


def _width(settled: Settled, facts: ModelFacts) -> int | None:
    if not settled.values["pad_to_max_length"]:
        return None
    return row_limit(int(settled.values["max_seq_length"] or -1), facts.context_length)
