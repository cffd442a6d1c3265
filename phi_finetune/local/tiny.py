"""A model of Phi-3's architecture that is made on the spot: a million parameters, in about half a minute.

It is for trying a whole fine-tune on a machine without a GPU, and for tests. It knows nothing of the world.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec

from phi_finetune.catalog import chat_templates
from phi_finetune.chat_dataset import Conversation
from phi_finetune.errors import ConfigurationError
from phi_finetune.local._files import write_json, write_text
from phi_finetune.local._needs import require
from phi_finetune.local.batches import LengthGrouped, Padding
from phi_finetune.local.job_folder import GENERAL_CHATS
from phi_finetune.local.losses import WantedOnly
from phi_finetune.local.preprocess import Counts, encode
from phi_finetune.local.quiet import without_progress_bars
from phi_finetune.local.templates import form_of
from phi_finetune.local.threads import use_threads
from phi_finetune.local.tiny_corpus import base_chats, tiny_facts

__all__ = ["TINY_PARAMETERS", "make_tiny_phi"]

TINY_PARAMETERS: Final[dict[str, Any]] = {
    "apply_lora": True,
    "lora_r": 16,
    "lora_alpha": 64,
    "lora_dropout": 0.0,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "linear",
    "warmup_steps": 10,
    "max_steps": 280,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 36,
    "logging_steps": 20,
    "evaluation_strategy": "steps",
    "eval_steps": 70,
}
"""Parameters with which a tiny model learns (local.md 2b): the rates of real models are too low for it."""

_SPECIAL: Final = (
    "<unk>",
    "<s>",
    "</s>",
    "<|endoftext|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)
_VOCABULARY: Final = 704
_CHATS: Final = 3000
_BATCH: Final = 32
_RATE: Final = 2e-3
_WARMUP: Final = 20
_TEMPLATE_OF: Final = "Phi-3-mini-4k-instruct"


def make_tiny_phi(folder: str | os.PathLike[str], *, seed: int = 0, steps: int = 180) -> Path:
    """Make a tiny Phi-3 with its tokenizer and chat template, and teach it what its base should know.

    The same seed gives the same bytes on the same machine with the same torch. It takes about half a minute of one
    core. :func:`~phi_finetune.local.tiny_facts` has the data to fine-tune it on, and chats that the base answers well:
    they lie beside the model too, so that a job shows what it forgot.

    Args:
        folder: Where the model goes; a new or an empty folder.
        seed: Seed of the weights and of the texts.
        steps: Steps of training; 0 for a model with random weights.

    Returns:
        The folder, in the form of a Hugging Face model (safetensors).

    Raises:
        ConfigurationError: The folder has something in it.
        MissingDependency: torch or transformers is not installed.
    """
    require("torch", "transformers", "tokenizers")
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(
            f"{target} is not empty",
            why="a model is only made in a new folder",
            next_call="name another folder",
        )
    import torch

    chats = base_chats(_CHATS, seed=seed)
    template = chat_templates.get(_TEMPLATE_OF)
    tokenizer = _tokenizer([template.render(chat.messages) for chat in chats], template.text)
    with use_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _model(tokenizer)
        _train(model, _rows(tokenizer, chats), steps, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        whole = Path(scratch, "model")
        with without_progress_bars():
            model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        made = {"seed": seed, "steps": steps, "made_by": "phi_finetune.local.make_tiny_phi"}
        write_json(whole / "tiny.json", made)
        known = (msgspec.json.encode(row).decode() + "\n" for row in tiny_facts(seed=seed).general)
        write_text(whole / GENERAL_CHATS, "".join(known))
        whole.replace(target)
    return target


def _tokenizer(texts: Sequence[str], chat_template: str) -> Any:
    """A byte-level BPE with Phi-3's own special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.BPE(unk_token=None))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=_VOCABULARY,
            special_tokens=list(_SPECIAL),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        padding_side="left",
    )


def _model(tokenizer: Any) -> Any:
    from transformers import GenerationConfig, Phi3Config, Phi3ForCausalLM

    end, turn, begin = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|end|>", "<s>"])
    config = Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=512,
        original_max_position_embeddings=512,
        tie_word_embeddings=True,
        sliding_window=None,
        attention_dropout=0.0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        bos_token_id=begin,
        eos_token_id=end,
        pad_token_id=end,
    )
    model = Phi3ForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=begin, eos_token_id=[end, turn], pad_token_id=end)
    return model


def _rows(tokenizer: Any, chats: Sequence[Conversation]) -> list[dict[str, list[int]]]:
    encoded = encode(chats, tokenizer, form_of(tokenizer), tokenizer.model_max_length, Counts())
    return [{"input_ids": ids, "labels": labels} for ids, labels in encoded]


def _train(model: Any, rows: Sequence[dict[str, list[int]]], steps: int, seed: int) -> None:
    """Train the model; a loop of its own, since the trainer takes longer to import than this runs."""
    import torch
    from transformers import get_cosine_schedule_with_warmup

    decayed = [weight for weight in model.parameters() if weight.dim() > 1]
    others = [weight for weight in model.parameters() if weight.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_RATE, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, _WARMUP, max(steps, 1))
    padding, scores = Padding(model.config.pad_token_id), WantedOnly(model)
    model.train()
    for numbers in _batches([len(row["input_ids"]) for row in rows], steps, seed):
        total, count = scores.loss_sum(model, padding([rows[number] for number in numbers]))
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    scores.close()
    model.eval()


def _batches(lengths: Sequence[int], steps: int, seed: int) -> Iterator[Sequence[int]]:
    order, epoch = LengthGrouped(lengths, _BATCH, seed=seed), 0
    while steps > 0:
        order.set_epoch(epoch)
        numbers = list(order)
        batches = [numbers[start : start + _BATCH] for start in range(0, len(numbers), _BATCH)]
        yield from batches[:steps]
        steps, epoch = steps - len(batches), epoch + 1
