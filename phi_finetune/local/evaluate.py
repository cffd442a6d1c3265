"""What a fine-tune changed: loss and perplexity before and after, and answers to the held-out questions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from phi_finetune.chat_dataset import Conversation
from phi_finetune.local.batches import Padding
from phi_finetune.local.generate import Generator, Sampling
from phi_finetune.local.losses import Loss, measure
from phi_finetune.local.preprocess import Rows

__all__ = ["Answered", "Comparison", "answers", "compare", "exact", "without_adapters"]

_MOST_NEW_TOKENS: Final = 128


@attrs.frozen
class Comparison:
    """The losses of a model before and after its fine-tune on the rows of one set.

    Attributes:
        before: What the base model has.
        after: What the tuned model has.
    """

    before: Loss
    after: Loss

    def as_metrics(self, name: str) -> dict[str, float]:
        """The numbers under the names that they are logged by, such as ``test_loss_before``."""
        return {
            f"{name}_loss_before": self.before.loss,
            f"{name}_loss_after": self.after.loss,
            f"{name}_perplexity_before": self.before.perplexity,
            f"{name}_perplexity_after": self.after.perplexity,
        }


@attrs.frozen
class Answered:
    """A held-out question with its answers; the last turn of the row is what was to be said.

    Attributes:
        question: The last question of the row.
        expected: The row's own answer.
        before: What the base model says.
        after: What the tuned model says.
    """

    question: str
    expected: str
    before: str
    after: str


def compare(
    base: Any,
    tuned: Any,
    sets: Mapping[str, Rows],
    *,
    pad_id: int,
    batch_size: int = 8,
    batch_tokens: int = 0,
) -> dict[str, Comparison]:
    """Measure two models on the same sets of rows.

    Args:
        base: The model before; None to switch the adapters of the tuned one off for it.
        tuned: The model after.
        sets: The rows of each set, by its name.
        pad_id: The token to pad with.
        batch_size: Rows at a time.
        batch_tokens: More rows than that are taken at a time while they come to no more tokens.
    """

    def losses(model: Any) -> dict[str, Loss]:
        return {
            name: measure(model, rows, Padding(pad_id), batch_size=batch_size, batch_tokens=batch_tokens)
            for name, rows in sets.items()
        }

    with without_adapters(base, tuned) as before:
        first = losses(before)
    return {name: Comparison(first[name], after) for name, after in losses(tuned).items()}


@contextlib.contextmanager
def without_adapters(base: Any, tuned: Any) -> Iterator[Any]:
    """The base model inside the block: the one given, or the tuned one with its adapters off."""
    if base is not None:
        yield base
        return
    with tuned.disable_adapter():
        yield tuned


def answers(base: Any, tuned: Any, tokenizer: Any, rows: Sequence[Conversation]) -> list[Answered]:
    """What both models say to rows' last questions, each always taking the likeliest token.

    Args:
        base: The model before; None to switch the adapters of the tuned one off for it.
        tuned: The model after.
        tokenizer: Their tokenizer.
        rows: Conversations; those that do not end with an answer are left out.
    """
    asked = [row.messages for row in rows if row.messages[-1].role == "assistant"]
    prompts = [[{"role": turn.role, "content": turn.content} for turn in row[:-1]] for row in asked]
    sampling = Sampling(max_new_tokens=_MOST_NEW_TOKENS, do_sample=False)
    with without_adapters(base, tuned) as model:
        before = Generator(model, tokenizer).answer(prompts, sampling)
    after = Generator(tuned, tokenizer).answer(prompts, sampling)
    return [
        Answered(row[-2].content, row[-1].content, first.text, second.text)
        for row, first, second in zip(asked, before, after, strict=True)
    ]


def exact(found: Sequence[Answered], *, before: bool = False) -> float:
    """The share of answers that are the expected ones, word for word; 0 where there are none.

    Args:
        found: The answers.
        before: Whether those of the base model count, and not those of the tuned one.
    """
    said = [(one.before if before else one.after).strip() == one.expected.strip() for one in found]
    return sum(said) / len(said) if said else 0.0
