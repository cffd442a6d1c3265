"""Whole fine-tunes by the local engine's own steps, as its jobs run them: what is learned, and the memory it takes.

Each step is the process that a job has for it: ``python -m phi_finetune.local.step``. Its peak is the most memory that
the process had resident, from its start to its end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from local_runs import call, peak_of

_FINETUNE: Final = "chat_completion_finetune"
_FIRST: Final = ("chat_completion_model_import", "chat_completion_datapreprocess")
_QUICK: Final = {
    "max_steps": 2,
    "per_device_train_batch_size": 2,
    "evaluation_strategy": "disable",
    "learning_rate": 1e-4,
}
LORA: Final = {"apply_lora": True, "lora_r": 16, "lora_alpha": 32}
LARGER: Final = {"hidden": 512, "layers": 8, "heads": 8}
"""The model whose memory is measured: 27 million random weights."""


def learned(folder: Path, changed: Mapping[str, Any] = MappingProxyType({})) -> dict[str, float]:
    """A whole job with the parameters of the tiny model, or changed ones: its losses, its answers, and its memory."""
    from phi_finetune.local import TINY_PARAMETERS
    from phi_finetune.local.steps import STEPS

    job = _job(folder, "learned", folder / "base", {**TINY_PARAMETERS, **changed}, rows="train")
    peaks = {name: peak_of(_command(name, job)) for name in STEPS}
    found = json.loads((job / "evaluation.json").read_text(encoding="utf-8"))["metrics"]
    return {
        "eval_loss_before": found["validation_loss_before"],
        "eval_loss_after": found["validation_loss_after"],
        "held_out_exact": found["exact_after"],
        "estimate": _metric(job, "estimated_memory_bytes"),
        "peak": peaks[_FINETUNE],
    }


def memory(folder: Path) -> dict[str, dict[str, float]]:
    """The estimated and the measured bytes of fine-tunes of the larger model, by what sets them apart."""
    call(__file__, "making_larger", {"folder": str(folder)})
    plans = {"larger lora": ("long", LORA), "larger full": ("long", {}), "larger full short": ("train", {})}
    found = peaks_of(folder, folder / "larger", plans)
    found["larger full checkpointing"] = call(__file__, "sparing", {"job": str(folder / "larger full")})
    return found


def peaks_of(
    folder: Path, model: Path, plans: Mapping[str, tuple[str, Mapping[str, Any]]]
) -> dict[str, dict[str, float]]:
    """The estimated and the measured bytes of a model's fine-tunes, by name; a plan is rows and parameters."""
    found = {}
    for name, (rows, values) in plans.items():
        job = _job(folder, name, model, {**_QUICK, **values}, rows=rows)
        for step in _FIRST:
            peak_of(_command(step, job))
        peak = peak_of(_command(_FINETUNE, job))
        found[name] = {"estimate": _metric(job, "estimated_memory_bytes"), "peak": peak}
    return found


def sparing(job: str) -> dict[str, float]:
    """The fine-tune of a job with activations computed anew, as its step does it where memory is scarce."""
    from phi_finetune.local.hardware import this_machine
    from phi_finetune.local.job_folder import JobFolder
    from phi_finetune.local.memory import estimate
    from phi_finetune.local.model import facts_of, load_model, load_tokenizer
    from phi_finetune.local.parameters import settle
    from phi_finetune.local.preprocess import Rows
    from phi_finetune.local.train import train

    folder, hardware = JobFolder(Path(job)), this_machine()
    rows = Rows.read(folder.data, "train")
    counts = json.loads((folder.data / "train.counts.json").read_text(encoding="utf-8"))
    share = counts["trained_tokens"] / counts["tokens"]
    settled = settle(folder.job().values, hardware, checkpointing=True)
    need = estimate(
        facts_of(folder.model), settled, hardware, longest_row=max(rows.lengths()), trained_share=share
    )
    pad = load_tokenizer(folder.model).pad_token_id
    nothing = Rows(rows.ids[:0], rows.labels[:0], rows.starts[:1])
    done = train(load_model(folder.model), rows, nothing, settled, folder.checkpoints, pad_id=pad)
    return {"estimate": need.total, "peak": done.peak_bytes}


def making_larger(folder: str) -> None:
    """Make the larger model, with the tiny one's tokenizer."""
    import torch
    from transformers import AutoTokenizer, Phi3Config, Phi3ForCausalLM

    base, target = Path(folder) / "base", Path(folder) / "larger"
    told = json.loads((base / "config.json").read_text(encoding="utf-8"))
    hidden, heads = LARGER["hidden"], LARGER["heads"]
    told |= {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": LARGER["layers"]}
    told |= {"num_attention_heads": heads, "num_key_value_heads": heads}
    torch.manual_seed(0)
    Phi3ForCausalLM(Phi3Config.from_dict(told)).save_pretrained(target)
    AutoTokenizer.from_pretrained(base).save_pretrained(target)


def _job(folder: Path, name: str, model: Path, values: Mapping[str, Any], *, rows: str) -> Path:
    from phi_finetune.local.job_folder import Job, JobFolder

    held_out = str(folder / "validation.jsonl")
    files = {"train_file_path": str(folder / f"{rows}.jsonl"), "validation_file_path": held_out}
    files["test_file_path"] = held_out
    # No figure is of the general rows, and those that the library ships take a real model minutes.
    job = Job(name, values, files, str(model), "tiny", general_file=held_out)
    return JobFolder.create(folder / name, job).path


def _command(step: str, job: Path) -> list[str]:
    return [sys.executable, "-m", "phi_finetune.local.step", step, str(job)]


def _metric(job: Path, name: str) -> float:
    from phi_finetune.local.job_folder import JobFolder

    return float(
        next(line["value"] for line in JobFolder(job).step(_FINETUNE).metrics() if line["key"] == name)
    )


def main(arguments: Sequence[str]) -> None:
    """What a process of its own does."""
    name, given = arguments
    print(json.dumps({"sparing": sparing, "making_larger": making_larger}[name](**json.loads(given))))


if __name__ == "__main__":
    main(sys.argv[1:])
