"""The steps of a fine-tune, each from a job's folder to the same folder, so that each can run in a process of its own.

The names are those of the pipeline's steps; ``chat_completion_model_evaluation`` is one that the pipeline of today
leaves out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from phi_finetune.chat_dataset import Conversation, sample_conversations
from phi_finetune.errors import ConfigurationError, InvalidData
from phi_finetune.local._files import read_json, write_json
from phi_finetune.local._needs import require
from phi_finetune.local.hardware import Hardware, this_machine
from phi_finetune.local.hub import from_hub
from phi_finetune.local.job_folder import Job, JobFolder
from phi_finetune.local.libraries import ANSWERING, load
from phi_finetune.local.memory import MemoryEstimate, check_fits, settle_to_fit
from phi_finetune.local.model import (
    ModelFacts,
    facts_of,
    find_model,
    import_model,
    load_model,
    load_tokenizer,
    pad_id_of,
)
from phi_finetune.local.parameters import Settled, settle
from phi_finetune.local.preprocess import Rows, prepare, read_conversations, row_limit, split_rows
from phi_finetune.local.zero import zero_config

__all__ = ["STEPS", "Say", "Step", "StepLog", "run_step"]

Say = Callable[[str], None]
"""Takes a line for the log."""

_SPLITS: Final = ("train", "validation", "test")
_SHOWN_ANSWERS: Final = 64
"""Held-out questions that are answered before and after: answering takes longer than measuring a loss."""

_EVERY: Final = 5
"""Of the general rows that are shipped every fifth is measured, before and after: all take a real model on a processor
minutes."""


@attrs.frozen
class StepLog:
    """Where a step says what it does.

    Attributes:
        say: Takes a line for the log.
        metrics: Takes a step and what was measured at it.
        restarted: Is told the step from which a training goes on; what was measured after it is forgotten.
        params: Takes the parameters that the step works with.
    """

    say: Say
    metrics: Callable[[int, Mapping[str, float]], None]
    restarted: Callable[[int], None]
    params: Callable[[Mapping[str, object]], None]


Step = Callable[[JobFolder, Job, StepLog], None]


def run_step(name: str, folder: JobFolder, log: StepLog) -> None:
    """Run a step of the job in a folder, in this process.

    Args:
        name: The step, one of :data:`STEPS`.
        folder: The job's folder; the steps before this one must have run.
        log: Where it says what it does.

    Raises:
        ConfigurationError: There is no such step, the model is missing or incomplete, or the memory does not suffice.
        InvalidParameter: A parameter cannot be honoured on this machine.
        InvalidData: The rows cannot be trained on.
        UntrustedModel: The model's weights are a pickle.
        MissingDependency: A package of the extra ``local`` is not installed.
    """
    if name not in STEPS:
        raise ConfigurationError(f"There is no step {name!r}", next_call=f"one of {', '.join(STEPS)}")
    STEPS[name](folder, folder.job(), log)


def _validate(folder: JobFolder, job: Job, log: StepLog) -> None:
    """Refuse what could only fail later."""
    require("torch", "transformers", "peft", "accelerate", "safetensors", "mlflow")
    hardware = this_machine()
    settled = settle(job.parameters, hardware)
    settled.check()
    zero_config(settled, folder.path)
    for note in settled.notes:
        log.say(note)
    for name, path in job.files.items():
        if not folder.resolved(path).is_file():
            raise ConfigurationError(f"There is no file at {path}", resource=f"parameter {name}")
    if "train_file_path" not in job.files:
        raise InvalidData("There are no rows to train on", rule="no-rows", next_call="give train_file_path")
    if job.model is not None:
        facts = facts_of(find_model(folder.resolved(job.model)))
        row_limit(settled.values["max_seq_length"], facts.context_length)  # type: ignore[arg-type]
        least = settle(job.parameters, hardware, checkpointing=True)
        log.say(f"needs at least {check_fits(facts, least, hardware, longest_row=1)}")
    log.say(f"trains on {hardware.name}")


def _import(folder: JobFolder, job: Job, log: StepLog) -> None:
    facts = import_model(_source(folder, job), folder.model)
    log.say(
        f"took in {facts.architecture} with {facts.parameters:,} parameters, context {facts.context_length:,}"
    )


def _source(folder: JobFolder, job: Job) -> Path:
    named = [job.model, *(job.values.get(name) for name in ("pytorch_model_path", "mlflow_model_path"))]
    for path in named:
        if isinstance(path, str) and path:
            return folder.resolved(path)
    hub_id = job.values.get("huggingface_id")
    if not hub_id:
        raise ConfigurationError("The job names no model", next_call="give a model's folder")
    return from_hub(str(hub_id))


def _preprocess(folder: JobFolder, job: Job, log: StepLog) -> None:
    settled = settle(job.parameters, this_machine())
    facts, tokenizer = facts_of(folder.model), load_tokenizer(folder.model)
    limit = row_limit(settled.values["max_seq_length"], facts.context_length)  # type: ignore[arg-type]
    given = {
        name: list(read_conversations(folder.resolved(job.files[f"{name}_file_path"])))
        for name in _SPLITS
        if f"{name}_file_path" in job.files
    }
    splits: dict[str, Iterable[Conversation]] = {**split_rows(given), "general": _general(folder, job)}
    shutil.rmtree(folder.data, ignore_errors=True)
    for name, rows in splits.items():
        size = int(settled.values["batch_size"] or 1)
        counts = prepare(rows, tokenizer, folder.data, name, limit=limit, batch_size=size)
        for line in counts.lines():
            log.say(f"{name}: {line}")
        log.metrics(0, {f"{name}_{key}": float(value) for key, value in attrs.asdict(counts).items()})


def _general(folder: JobFolder, job: Job) -> Sequence[Conversation]:
    """The rows on which forgetting is measured: the job's own, or some of those that this library ships."""
    if job.general_file is not None:
        return list(read_conversations(folder.resolved(job.general_file)))
    return sample_conversations()[::_EVERY]


def _finetune(folder: JobFolder, job: Job, log: StepLog) -> None:
    from phi_finetune.local.finetune import Plan, tune
    from phi_finetune.local.ranks import tune_in_ranks
    from phi_finetune.local.resuming import resume

    hardware, facts = this_machine(), facts_of(folder.model)
    settled, need = _settled(folder, job, facts, hardware)
    given = {name: value for name, value in settled.values.items() if name not in job.files}
    log.params({name: value for name, value in given.items() if value is not None})
    log.say(f"the memory is estimated as {need}" + (" on each GPU" if settled.ranks > 1 else ""))
    if settled.values["resume_from_checkpoint"]:
        resume(folder, job, settled, say=log.say)
    plan = Plan(bool(settled.arguments["activation_checkpointing"]), need.total)
    if settled.ranks > 1:
        tune_in_ranks(folder, settled.ranks, plan, say=log.say)
    else:
        tune(folder, job, log, plan)


def _settled(
    folder: JobFolder, job: Job, facts: ModelFacts, hardware: Hardware
) -> tuple[Settled, MemoryEstimate]:
    """The parameters, with activations computed anew where the memory would not suffice otherwise."""
    rows = Rows.read(folder.data, "train")
    counts = read_json(folder.data / "train.counts.json")
    return settle_to_fit(
        job.parameters,
        facts,
        hardware,
        train_rows=len(rows),
        longest_row=max(rows.lengths()),
        trained_share=counts["trained_tokens"] / max(counts["tokens"], 1),
    )


def _evaluate(folder: JobFolder, job: Job, log: StepLog) -> None:
    from phi_finetune.local.evaluate import answers, compare, exact
    from phi_finetune.local.threads import threads_for, use_threads

    load(ANSWERING)
    settled, hardware = settle(job.parameters, this_machine()), this_machine()
    tokenizer = load_tokenizer(folder.model)
    base, tuned = _both(folder, settled, hardware)
    names = [name for name in ("validation", "test", "general") if len(Rows.read(folder.data, name))]
    sets = {name: Rows.read(folder.data, name) for name in names}
    # Training held as many tokens, and their gradients: what it had room for, measuring has.
    trained = int(settled.values["per_device_train_batch_size"] or 1)
    sizes = {
        "batch_size": int(settled.values["per_device_eval_batch_size"] or 1),
        "batch_tokens": trained * max(Rows.read(folder.data, "train").lengths()),
    }
    with use_threads(threads_for(facts_of(folder.model).parameters)):
        found = compare(base, tuned, sets, pad_id=pad_id_of(tokenizer), **sizes)
        said = answers(base, tuned, tokenizer, _asked(folder, job))
    metrics = {key: value for name, each in found.items() for key, value in each.as_metrics(name).items()}
    metrics |= {"exact_before": exact(said, before=True), "exact_after": exact(said)}
    log.metrics(0, metrics)
    for key, value in metrics.items():
        log.say(f"{key} {value:.4f}")
    write_json(folder.evaluation, {"metrics": metrics, "answers": [attrs.asdict(one) for one in said]})


def _both(folder: JobFolder, settled: Settled, hardware: Hardware) -> tuple[Any, Any]:
    """The model before and after; the first is None where it is the second with its adapters off."""
    half = settled.values["precision"] == 16 and hardware.device == "cuda"
    base = load_model(folder.model, hardware=hardware, half=half)
    if settled.lora is None:
        return base, load_model(folder.output("pytorch_model_folder"), hardware=hardware, half=half)
    from peft import PeftModel

    return None, PeftModel.from_pretrained(base, folder.tuned)


def _asked(folder: JobFolder, job: Job) -> Sequence[Conversation]:
    """Held-out questions: those of the validation file, else of the test file."""
    for name in ("validation_file_path", "test_file_path"):
        if name in job.files:
            return list(read_conversations(folder.resolved(job.files[name])))[:_SHOWN_ANSWERS]
    rows = list(read_conversations(folder.resolved(job.files["train_file_path"])))
    return list(split_rows({"train": rows})["validation"])[:_SHOWN_ANSWERS]


def _convert(folder: JobFolder, job: Job, log: StepLog) -> None:
    from phi_finetune.local.package import save_mlflow

    target = folder.output("mlflow_model_folder")
    shutil.rmtree(target, ignore_errors=True)
    metadata = {
        "base_model_asset_id": job.model_id,
        "is_finetuned_model": True,
        "job": job.name,
        "trained_by": "phi_finetune.local",
    }
    save_mlflow(folder.output("pytorch_model_folder"), target, metadata=metadata)
    log.say("wrote the MLflow model")


STEPS: Final[Mapping[str, Step]] = {
    "ft_nlp_common_validation": _validate,
    "chat_completion_model_import": _import,
    "chat_completion_datapreprocess": _preprocess,
    "chat_completion_finetune": _finetune,
    "chat_completion_model_evaluation": _evaluate,
    "ft_nlp_model_converter": _convert,
}
"""The steps by name, in the order in which they run."""
