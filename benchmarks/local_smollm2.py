"""The same comparisons on a real chat model, SmolLM2 with 135 million weights (see ``local.py``, ``smollm2.py``).

They take few rows and few steps, as each takes seconds: the speeds are of the model, the losses only of these steps.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import local_learning
import local_serving
import local_training
import smollm2
from local_runs import call

ROWS: Final = 32
"""Of the tiny facts, of 50 tokens each with what SmolLM2's template puts before them."""
LONG_ROWS: Final = 12
"""A job refuses fewer than ten."""
HELD_OUT: Final = 12
QUESTIONS: Final = 8
RATE: Final = 5e-4
FEW_STEPS: Final[dict[str, Any]] = {
    "learning_rate": RATE,
    "warmup_steps": 0,
    "max_steps": 16,
    "per_device_train_batch_size": 4,
    "evaluation_strategy": "disable",
}
PLANS: Final = {"lora long": ("long", local_learning.LORA), "full long": ("long", {})}

MARKED: Final = """{%- for message in messages -%}
    {%- if loop.first and message.role != "system" -%}
        {{- "<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, " -}}
        {{- "trained by Hugging Face<|im_end|>\\n" -}}
    {%- endif -%}
    {{- "<|im_start|>" + message.role + "\\n" -}}
    {%- if message.role == "assistant" -%}
        {%- generation -%}{{- message.content + "<|im_end|>" -}}{%- endgeneration -%}
    {%- else -%}
        {{- message.content + "<|im_end|>" -}}
    {%- endif -%}
    {{- "\\n" -}}
{%- endfor -%}
{{- "<|im_start|>assistant\\n" if add_generation_prompt else "" -}}
"""
"""SmolLM2's chat template with the marks that TRL's ``assistant_only_loss`` goes by, on the tokens that ours trains."""


def make(folder: Path) -> None:
    """Make a folder with the model ``base``, and rows as JSON lines: ``train``, ``validation``, ``long``."""
    try:
        smollm2.packed()
    except smollm2.NotInstalled as error:
        raise SystemExit(str(error)) from None
    folder.mkdir()
    call(__file__, "making", {"folder": str(folder)})


def making(folder: str) -> str:
    """Make the model and write the rows, into a folder; where the model is."""
    from phi_finetune.local import tiny_facts

    here, facts = Path(folder), tiny_facts()
    base = smollm2.unpack(here / "base")
    local_training.write_lines(here / "train.jsonl", facts.train[:ROWS])
    local_training.write_lines(here / "validation.jsonl", facts.validation[:HELD_OUT])
    local_training.write_lines(here / "long.jsonl", local_training.talks(base, LONG_ROWS, shortest=460))
    return str(base)


def compared(folder: Path, *, runs: int) -> dict[str, list[dict[str, float]]]:
    """Ours and TRL's ways, but for the one in 16 bits; the runs of each, by ``ROWS WAY``."""
    plan = [("train", ("ours", "trl_float32", "trl_matched"), 1)]
    return local_training.taking_turns(folder, plan, runs=runs, rate=RATE, marked=MARKED)


def learned(folder: Path) -> dict[str, float]:
    """A whole job of a few steps: its losses, its answers, and its memory."""
    return local_learning.learned(folder, FEW_STEPS)


def memory(folder: Path) -> dict[str, dict[str, float]]:
    """The estimated and the measured bytes of fine-tunes on long rows, of adapters and of all weights."""
    return local_learning.peaks_of(folder, folder / "base", PLANS)


def served(folder: Path, *, runs: int) -> dict[str, list[dict[str, float]]]:
    """Ours and MLflow's server with what the job tuned."""
    questions = local_training.questions(folder)[:QUESTIONS]
    return local_serving.served(folder / "learned", questions, runs=runs, rounds=1)


def main(arguments: Sequence[str]) -> None:
    """What a process of its own does."""
    _, given = arguments
    print(json.dumps(making(**json.loads(given))))


if __name__ == "__main__":
    main(sys.argv[1:])
