"""Training the simulated model: steps, epochs, the learning rate, and how the loss went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from phi_finetune.emulator.runners.ngram import NgramModel, Row, Tally

__all__ = ["EVAL_ROWS", "Curve", "EvalPoint", "Every", "LossPoint", "learning_rate_at", "train"]

Every = int | Literal["epoch"]

EVAL_ROWS = 40
"""The most held-out rows that an evaluation measures, evenly spaced over those given."""

_SCHEDULERS = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
_POLYNOMIAL_END = 1e-7  # transformers' lr_end


@dataclass(frozen=True, slots=True)
class LossPoint:
    """A logged training loss, after so many optimiser steps and epochs (a fraction).

    Attributes:
        rows_seen: Rows learnt, those of earlier epochs counted again.
        loss: Nats per token of the rows since the last point, each measured before the model learnt it.
        learning_rate: That of this step.
    """

    step: int
    rows_seen: int
    epoch: float
    loss: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class EvalPoint:
    """A held-out loss, in nats per token, with the model as it stood after a step."""

    step: int
    epoch: float
    eval_loss: float


@dataclass(frozen=True, slots=True)
class Curve:
    """How a training went.

    Attributes:
        points: The logged losses.
        evaluations: The held-out losses.
        steps: Optimiser steps done.
        epochs: Epochs done, as a fraction.
        train_loss: Nats per token over the whole training, each row measured before the model learnt it.
    """

    points: tuple[LossPoint, ...]
    evaluations: tuple[EvalPoint, ...]
    steps: int
    epochs: float
    train_loss: float


def train(
    model: NgramModel,
    train_rows: Sequence[Row],
    eval_rows: Sequence[Row],
    *,
    epochs: int,
    batch_size: int,
    logging_steps: Every,
    learning_rate: float,
    scheduler: str,
    warmup_steps: int,
    max_steps: int = -1,
    eval_every: Every | None = "epoch",
) -> Curve:
    """Train a model on rows, in their order, and say how its loss went.

    A step measures a batch, then learns it. The learning rate is logged, and has no part in the counting.

    Args:
        model: The model to train; it is changed.
        train_rows: The rows to learn.
        eval_rows: Held-out rows; at most :data:`EVAL_ROWS` of them are measured. Empty: no evaluation.
        epochs: Passes over the rows, where ``max_steps`` does not say otherwise.
        batch_size: Rows of one optimiser step, over all devices and accumulated batches.
        logging_steps: Steps between two logged losses; ``"epoch"``: one at each epoch's end.
        learning_rate: The peak.
        scheduler: See :func:`learning_rate_at`.
        warmup_steps: Steps in which the learning rate rises.
        max_steps: Steps to do, whatever the epochs; -1 (the default): as many as the epochs need.
        eval_every: Steps between two evaluations; ``"epoch"``: at each epoch's end; None: no evaluation.

    Raises:
        ValueError: No row has an assistant turn, or a setting is outside its range.
    """
    _check_positive(epochs=epochs, batch_size=batch_size, logging_steps=logging_steps, eval_every=eval_every)
    per_epoch = max(1, math.ceil(len(train_rows) / batch_size))
    steps = max_steps if max_steps > 0 else epochs * per_epoch
    rates = [learning_rate_at(n, scheduler, learning_rate, warmup_steps, steps) for n in range(steps)]
    measured = min(len(eval_rows), EVAL_ROWS)
    held_out = [eval_rows[number * len(eval_rows) // measured] for number in range(measured)]
    points, evaluations = list[LossPoint](), list[EvalPoint]()
    whole, window, seen = Tally(), Tally(), 0
    # transformers (4.51 and later) logs the rate that the step used.
    for step, rate in enumerate(rates, start=1):
        start = (step - 1) % per_epoch * batch_size
        batch = train_rows[start : start + batch_size]
        tally = model.observe(batch)
        whole, window, seen = whole + tally, window + tally, seen + len(batch)
        ends_epoch = step % per_epoch == 0 or step == steps
        if window.tokens and _is_due(logging_steps, step, ends_epoch):
            points.append(LossPoint(step, seen, step / per_epoch, window.per_token(), rate))
            window = Tally()
        if held_out and _is_due(eval_every, step, ends_epoch):
            evaluations.append(EvalPoint(step, step / per_epoch, model.cross_entropy(held_out)))
    return Curve(tuple(points), tuple(evaluations), steps, steps / per_epoch, whole.per_token())


def _check_positive(**settings: Every | None) -> None:
    for name, value in settings.items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


def _is_due(every: Every | None, step: int, ends_epoch: bool) -> bool:
    if every == "epoch":
        return ends_epoch
    return every is not None and step % every == 0


def learning_rate_at(step: int, scheduler: str, peak: float, warmup_steps: int, steps: int) -> float:
    """The learning rate after so many steps, as transformers' schedules have it (optimization.py, 2026).

    Args:
        step: Steps done; 0 for the rate that the first step uses.
        scheduler: ``linear``, ``cosine``, ``cosine_with_restarts`` (one cycle), ``polynomial`` (power 1, down
            to 1e-7), ``constant`` (which has no warm-up) or ``constant_with_warmup``.
        peak: The rate at the end of the warm-up.
        warmup_steps: Steps in which the rate rises from 0.
        steps: Steps of the whole training.

    Raises:
        ValueError: The scheduler is none of these, or ``polynomial`` would have to end above its peak.
    """
    if scheduler not in _SCHEDULERS:
        raise ValueError(f"scheduler must be one of {', '.join(_SCHEDULERS)}, not {scheduler!r}")
    if scheduler == "polynomial" and peak <= _POLYNOMIAL_END:
        raise ValueError(
            f"a polynomial schedule ends at {_POLYNOMIAL_END}: its peak must be above, not {peak}"
        )
    if step < warmup_steps and scheduler != "constant":
        return peak * step / warmup_steps
    progress = min((step - warmup_steps) / max(1, steps - warmup_steps), 1.0)
    if scheduler == "linear":
        return peak * (1 - progress)
    if scheduler == "polynomial":
        return (peak - _POLYNOMIAL_END) * (1 - progress) + _POLYNOMIAL_END
    if scheduler.startswith("cosine"):  # the one cycle of "with restarts" has nowhere to restart
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak
