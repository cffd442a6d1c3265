"""Fine-tuning on this machine beside TRL's ``SFTTrainer``, each run a process of its own (see ``local.py``).

Ours and TRL's train the same adapters of the same model on the same rows for the same epochs, with the same rate, seed
and rows a batch, and on as many threads. The clock starts once the modules are imported and the model is loaded.
*Preparing* is from the JSON lines to what the trainer takes; *training* is ``train()``, the checkpoint at its end
included. The tokens are those of the rows, padding not counted. What was learned is measured by one function.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

BATCH: Final = 8
SEED: Final = 42
RATE: Final = 3e-3
WAYS_OF_TRL: Final = ("trl_default", "trl_float32", "trl_matched")
_MIXED_ROWS: Final = 240
_LONGEST: Final = 480
"""Tokens; a tiny model takes 512."""

MARKED: Final = """{%- for turn in messages -%}
    {%- if turn.role == "assistant" -%}
        {{- "<|assistant|>\\n" -}}
        {%- generation -%}{{- turn.content + "<|end|>" -}}{%- endgeneration -%}
        {{- "\\n" -}}
    {%- elif turn.role in ("system", "user") -%}
        {{- "<|" + turn.role + "|>\\n" + turn.content + "<|end|>\\n" -}}
    {%- endif -%}
{%- endfor -%}
{{- "<|assistant|>\\n" if add_generation_prompt else eos_token -}}
"""
"""Phi-3's chat template with the marks that TRL's ``assistant_only_loss`` goes by, on the tokens that ours trains."""

Given: TypeAlias = Mapping[str, Any]
"""What a run is given: the folder of the model, the file of rows, that of the held-out ones, the epochs."""


def write_rows(folder: Path, base: Path) -> dict[str, Path]:
    """Write the rows: those of the tiny facts, those of mixed length, and held-out ones; their files."""
    from phi_finetune.local import tiny_facts

    facts = tiny_facts()
    rows = {"train": facts.train, "validation": facts.validation, "mixed": list(mixed(base))}
    files = {}
    for name, talks in rows.items():
        files[name] = folder / f"{name}.jsonl"
        lines = [json.dumps({"messages": [_turn(turn) for turn in talk.messages]}) for talk in talks]
        files[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return files


def _turn(turn: Any) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content}


def mixed(base: Path) -> Iterator[Any]:
    """Conversations of 20 to 480 tokens, as many short as long on a logarithmic scale, as chat data has them."""
    from phi_finetune.chat_dataset import Conversation
    from phi_finetune.local import tiny_facts
    from phi_finetune.local.model import load_tokenizer
    from phi_finetune.local.templates import form_of

    draw, tokenizer = random.Random(SEED), load_tokenizer(base)
    form, pairs = form_of(tokenizer), [talk.messages for talk in tiny_facts().train if len(talk.messages) == 2]
    for _ in range(_MIXED_ROWS):
        wanted, turns = 20 * (_LONGEST / 20) ** draw.random(), ()
        while True:
            more = (*turns, *draw.choice(pairs))
            length = len(tokenizer(form.render(more))["input_ids"])
            if turns and length > wanted:
                break
            turns = more
        yield Conversation(turns)


def ours(given: Given) -> dict[str, float]:
    """This library's way."""
    import transformers.trainer  # noqa: F401 - imported before the clock starts

    from phi_finetune.local.losses import measure  # noqa: F401
    from phi_finetune.local.model import load_model, load_tokenizer, with_adapters
    from phi_finetune.local.parameters import settle
    from phi_finetune.local.preprocess import Rows, prepare, read_conversations
    from phi_finetune.local.train import train

    base, scratch = Path(given["base"]), Path(given["scratch"])
    tokenizer, hardware = load_tokenizer(base), _processor()
    values = {
        **_lora_values(),
        "num_train_epochs": given["epochs"],
        "per_device_train_batch_size": BATCH,
        "learning_rate": RATE,
        "seed": SEED,
    }
    settled = settle(values, hardware)
    assert settled.lora is not None
    model = with_adapters(load_model(base), settled.lora, seed=SEED)
    clock = Clock()
    prepare(read_conversations(Path(given["rows"])), tokenizer, scratch / "data", "train")
    rows = Rows.read(scratch / "data", "train")
    clock.lap("prepare")
    nothing = Rows(rows.ids[:0], rows.labels[:0], rows.starts[:1])
    done = train(model, rows, nothing, settled, scratch / "checkpoints", pad_id=tokenizer.pad_token_id)
    clock.lap("train")
    return clock.laps | {
        "tokens": sum(rows.lengths()) * given["epochs"],
        "loss": held_out_loss(done.model, given, tokenizer),
    }


def trl(given: Given, *, template: str | None = None, **settings: Any) -> dict[str, float]:
    """TRL's way, with these settings beside what is the same for all."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from phi_finetune.local.model import FAMILIES

    base, scratch = Path(given["base"]), Path(given["scratch"])
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template or tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    lora = _lora_values()
    adapters = LoraConfig(
        r=lora["lora_r"],
        lora_alpha=lora["lora_alpha"],
        lora_dropout=0.0,
        target_modules=list(FAMILIES[model.config.model_type]),
        bias="none",
        task_type="CAUSAL_LM",
    )
    arguments = SFTConfig(
        output_dir=str(scratch / "checkpoints"),
        num_train_epochs=given["epochs"],
        per_device_train_batch_size=BATCH,
        learning_rate=RATE,
        seed=SEED,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        **settings,
    )
    clock = Clock()
    rows = load_dataset("json", data_files=given["rows"], split="train", cache_dir=str(scratch / "cache"))
    torch.manual_seed(SEED)
    trainer = SFTTrainer(
        model, args=arguments, train_dataset=rows, processing_class=tokenizer, peft_config=adapters
    )
    clock.lap("prepare")
    trainer.train()
    clock.lap("train")
    tokenizer.chat_template = AutoTokenizer.from_pretrained(base).chat_template
    return clock.laps | {
        "tokens": sum(len(row) for row in trainer.train_dataset["input_ids"]) * given["epochs"],
        "loss": held_out_loss(trainer.model, given, tokenizer),
    }


def trl_default(given: Given) -> dict[str, float]:
    """With TRL's defaults: 16 bits, activations computed anew, loss on all tokens."""
    return trl(given)


def trl_float32(given: Given) -> dict[str, float]:
    """With TRL's defaults but for the precision, since many processors calculate slowly in 16 bits."""
    return trl(given, bf16=False)


def trl_matched(given: Given) -> dict[str, float]:
    """With what ours has: 32 bits, activations kept, loss on the assistant's tokens."""
    return trl(given, template=MARKED, bf16=False, gradient_checkpointing=False, assistant_only_loss=True)


def held_out_loss(model: Any, given: Given, tokenizer: Any) -> float:
    """The loss on the held-out rows, in 32 bits."""
    from phi_finetune.local.batches import Padding
    from phi_finetune.local.losses import measure
    from phi_finetune.local.preprocess import Rows, prepare, read_conversations

    folder = Path(given["scratch"]) / "held out"
    prepare(read_conversations(Path(given["held_out"])), tokenizer, folder, "rows")
    return measure(model, Rows.read(folder, "rows"), Padding(tokenizer.pad_token_id)).loss


class Clock:
    """Takes the seconds on the wall, and those of the processor, between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._then = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter(), time.process_time()
        self.laps |= {name: now[0] - self._then[0], f"{name}_cpu": now[1] - self._then[1]}
        self._then = now


def _lora_values() -> dict[str, Any]:
    from phi_finetune.local import TINY_PARAMETERS

    return {name: value for name, value in TINY_PARAMETERS.items() if "lora" in name}


def _processor() -> Any:
    import attrs

    from phi_finetune.local.hardware import this_machine

    return attrs.evolve(this_machine(), device="cpu", gpus=0)


WAYS: Final[dict[str, Callable[[Given], dict[str, float]]]] = {
    way.__name__: way for way in (ours, trl_default, trl_float32, trl_matched)
}


def in_a_process(way: str, given: Given) -> dict[str, float]:
    """One run, in a process of its own, on one thread."""
    command = [sys.executable, __file__, way, json.dumps(given)]
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings})
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str]) -> None:
    """What such a process does."""
    way, given = arguments
    print(json.dumps(WAYS[way](json.loads(given))))


if __name__ == "__main__":
    main(sys.argv[1:])
