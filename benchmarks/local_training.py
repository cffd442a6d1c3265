"""Fine-tuning on this machine beside TRL's ``SFTTrainer``, each run a process of its own (see ``local.py``).

Ours and TRL's train the same adapters of the same model on the same rows for the same epochs, with the same rate, seed
and rows a batch, and on as many threads. The clock starts once the modules are imported and the model is loaded.
*Preparing* is from the JSON lines to what the trainer takes; *training* is ``train()``, the checkpoint at its end
included. The tokens are those of the rows, padding not counted. What was learned is measured by one function.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from local_runs import Clock, call

BATCH: Final = 8
SEED: Final = 42
RATE: Final = 3e-3
WAYS_OF_TRL: Final = ("trl_default", "trl_float32", "trl_matched")
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
"""What a run is given: the folder of the model, the file of rows, that of the held-out ones, the epochs, the rate, and
the marked chat template."""


def write_rows(folder: Path, base: Path) -> None:
    """Write rows: those of the tiny facts, held-out ones, those of mixed length, and those of great length."""
    from phi_finetune.local import tiny_facts

    facts = tiny_facts()
    write_lines(folder / "train.jsonl", facts.train)
    write_lines(folder / "validation.jsonl", facts.validation)
    write_lines(folder / "mixed.jsonl", talks(base, 240, shortest=20))
    write_lines(folder / "long.jsonl", talks(base, 24, shortest=460))


def write_lines(path: Path, chosen: Iterable[Any]) -> None:
    """Write conversations as JSON lines."""
    lines = [json.dumps({"messages": [_turn(turn) for turn in talk.messages]}) for talk in chosen]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _turn(turn: Any) -> dict[str, str]:
    return {"role": turn.role, "content": turn.content}


def talks(base: Path, rows: int, *, shortest: int) -> Iterator[Any]:
    """Conversations of so many tokens up to 480, as many short as long on a logarithmic scale."""
    from phi_finetune.chat_dataset import Conversation
    from phi_finetune.local import tiny_facts
    from phi_finetune.local.model import load_tokenizer
    from phi_finetune.local.templates import form_of

    draw, tokenizer = random.Random(SEED), load_tokenizer(base)
    form, pairs = (
        form_of(tokenizer),
        [talk.messages for talk in tiny_facts().train if len(talk.messages) == 2],
    )
    for _ in range(rows):
        wanted, turns = shortest * (_LONGEST / shortest) ** draw.random(), draw.choice(pairs)
        while len(tokenizer(form.render(more := (*turns, *draw.choice(pairs))))["input_ids"]) <= wanted:
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
        "learning_rate": given["rate"],
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
        learning_rate=given["rate"],
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
    return trl(
        given, template=given["marked"], bf16=False, gradient_checkpointing=False, assistant_only_loss=True
    )


def held_out_loss(model: Any, given: Given, tokenizer: Any) -> float:
    """The loss on the held-out rows, in 32 bits."""
    from phi_finetune.local.batches import Padding
    from phi_finetune.local.losses import measure
    from phi_finetune.local.preprocess import Rows, prepare, read_conversations

    folder = Path(given["scratch"]) / "held out"
    prepare(read_conversations(Path(given["held_out"])), tokenizer, folder, "rows")
    return measure(model, Rows.read(folder, "rows"), Padding(tokenizer.pad_token_id)).loss


def _lora_values() -> dict[str, Any]:
    from phi_finetune.local import TINY_PARAMETERS

    return {name: value for name, value in TINY_PARAMETERS.items() if "lora" in name}


def _processor() -> Any:
    import attrs

    from phi_finetune.local.hardware import this_machine

    return attrs.evolve(this_machine(), device="cpu", gpus=0)


def making(given: Given) -> None:
    """Make the model and write the rows, into a folder."""
    from phi_finetune.local import make_tiny_phi

    folder = Path(given["folder"])
    write_rows(folder, make_tiny_phi(folder / "base"))


WAYS: Final[dict[str, Callable[[Given], Any]]] = {
    way.__name__: way for way in (making, ours, trl_default, trl_float32, trl_matched)
}


def make(folder: Path) -> None:
    """Make a folder with the model ``base``, and rows as JSON lines: ``train``, ``validation``, ``mixed``, ``long``."""
    call(__file__, "making", {"folder": str(folder)})


def questions(folder: Path) -> list[str]:
    """The held-out questions."""
    lines = (folder / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["messages"][0]["content"] for line in lines]


def compared(folder: Path, *, epochs: int, runs: int) -> dict[str, list[dict[str, float]]]:
    """Every way with the tiny model on the same rows; the runs of each, by ``ROWS WAY``."""
    plan = [
        ("train", ("ours", *WAYS_OF_TRL), epochs),
        ("mixed", ("ours", "trl_matched"), max(1, epochs // 4)),
    ]
    return taking_turns(folder, plan, runs=runs, rate=RATE, marked=MARKED)


def taking_turns(
    folder: Path, plan: Sequence[tuple[str, Sequence[str], int]], *, runs: int, rate: float, marked: str
) -> dict[str, list[dict[str, float]]]:
    """What a plan says, so many times; the runs of each way, by ``ROWS WAY``.

    The plan is rows, ways, epochs; ``marked`` is the model's chat template with marks, as ``MARKED`` is.
    """
    found: dict[str, list[dict[str, float]]] = {}
    settings = {"rate": rate, "marked": marked}
    for _ in range(runs):
        for rows, ways, count in plan:
            for way in ways:
                run = _run(folder, rows, way, {**settings, "epochs": count})
                found.setdefault(f"{rows} {way}", []).append(run)
    return found


def _run(folder: Path, rows: str, way: str, settings: Given) -> dict[str, float]:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        given = {
            "base": str(folder / "base"),
            "rows": str(folder / f"{rows}.jsonl"),
            "held_out": str(folder / "validation.jsonl"),
            "scratch": scratch,
            **settings,
        }
        found: dict[str, float] = call(__file__, way, given)
        return found


def main(arguments: Sequence[str]) -> None:
    """What such a process does."""
    way, given = arguments
    print(json.dumps(WAYS[way](json.loads(given))))


if __name__ == "__main__":
    main(sys.argv[1:])
