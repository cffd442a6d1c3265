"""The loss of a model on rows: the mean over all tokens that are trained on, wherever in batches they stand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from phi_finetune.local.preprocess import IGNORED, Rows

__all__ = ["Loss", "WantedOnly", "measure"]


@attrs.frozen
class Loss:
    """What was measured.

    Attributes:
        loss: Nats per token.
        tokens: Tokens measured.
    """

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """The loss as a perplexity; infinite where it is too large for a number."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


class WantedOnly:
    """Lets a model compute scores only where a token is to be foretold, which spares the output layer the rest.

    The output layer of Phi-3-mini is 32,000 wide, and in chat data most tokens are the user's.
    """

    def __init__(self, model: Any) -> None:
        """Attach to a model's output layer; :meth:`loss_sum` must then be how the model is called.

        Args:
            model: A causal language model of transformers, with or without adapters.
        """
        self._wanted: Any = None
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._hook = base.get_output_embeddings().register_forward_pre_hook(self._choose)

    def close(self) -> None:
        """Leave the model as it was."""
        self._hook.remove()

    def _choose(self, layer: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (arguments[0][self._wanted],) if self._wanted is not None else None

    def loss_sum(self, model: Any, batch: dict[str, Any]) -> tuple[Any, Any]:
        """The sum of the losses of a batch's tokens, and how many they are."""
        import torch

        labels = torch.nn.functional.pad(batch["labels"][:, 1:], (0, 1), value=IGNORED)
        self._wanted = labels != IGNORED
        try:
            answer = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
            )
        finally:
            wanted, self._wanted = self._wanted, None
        losses = torch.nn.functional.cross_entropy(answer.logits.float(), labels[wanted], reduction="sum")
        return losses, wanted.sum()


def measure(
    model: Any,
    rows: Rows,
    padding: Any,
    *,
    batch_size: int = 8,
    batch_tokens: int = 0,
    only: WantedOnly | None = None,
    device: Any = None,
    share: tuple[int, int] = (0, 1),
) -> Loss:
    """The loss of a model on prepared rows.

    Args:
        model: The model.
        rows: The rows.
        padding: Makes batches of rows (:class:`~phi_finetune.local.batches.Padding`).
        batch_size: Rows at a time; it has no influence on the result.
        batch_tokens: More rows than that are taken at a time while they come to no more tokens, padding included.
        only: What is attached to the model already; otherwise it is attached for as long as this takes.
        device: Where the model calculates; None where its weights are.
        share: Which part this process measures, and of how many; all processes get the loss of the whole.
    """
    import torch

    device, (part, parts) = device or model.device, share
    if not len(rows):
        return Loss(math.nan, 0)
    batches = list(_batches(rows.lengths(), batch_size, batch_tokens))
    total, count = 0.0, 0
    with _evaluating(model), _attached(model, only) as scores, torch.no_grad():
        for numbers, counts in _shared(batches, part, parts):
            batch = padding([rows[number] for number in numbers])
            losses, tokens = scores.loss_sum(model, {name: each.to(device) for name, each in batch.items()})
            total += float(losses) * counts
            count += int(tokens) * counts
    if parts > 1:
        both = torch.tensor([total, count], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(both)
        total, count = float(both[0]), int(both[1])
    return Loss(total / count, count)


def _batches(lengths: Sequence[int], size: int, tokens: int) -> Iterator[list[int]]:
    """Which rows go together, the shorter ones first."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(batch) >= size and (len(batch) + 1) * lengths[number] > tokens:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def _shared(batches: Sequence[list[int]], part: int, parts: int) -> Iterator[tuple[list[int], bool]]:
    """A part of the batches, and whether each counts: where weights are divided, all must calculate as often."""
    for first in range(0, len(batches), parts):
        counts = first + part < len(batches)
        yield batches[first + part if counts else first], counts


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)


@contextmanager
def _attached(model: Any, only: WantedOnly | None) -> Iterator[WantedOnly]:
    if only is not None:
        yield only
        return
    scores = WantedOnly(model)
    try:
        yield scores
    finally:
        scores.close()
