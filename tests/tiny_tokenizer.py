"""A tokenizer made on the spot, of the same kind as Phi-4's."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from phi_finetune.chat_dataset import sample_conversations

SPECIAL = [
    "<s>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_sep|>",
    "<|im_end|>",
]


@cache
def tiny() -> Tokenizer:
    """A byte-level BPE of 600 tokens, that puts ``<s>`` before each text unless told not to."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [turn.content for row in sample_conversations() for turn in row.messages]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=600, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return tokenizer
