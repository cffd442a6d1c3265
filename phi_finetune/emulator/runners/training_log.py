"""What a fine-tune logs, and when: lines as transformers' trainer prints them, and its metrics.

The names of the metrics are those that transformers' MLflow callback logs (``integration_utils.py``, 4.51):
``loss``, ``learning_rate`` and ``epoch`` at each logging step, ``eval_*`` at evaluations, ``train_*`` last.
Nothing that was not measured is logged: the simulated model has no gradient, so there is no ``grad_norm``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from phi_finetune.emulator.runners.runner import Metric
from phi_finetune.emulator.runners.training import EVAL_ROWS, Curve
from phi_finetune.emulator.runners.training_settings import TrainingSettings

__all__ = ["NOTICE", "Timing", "training_log", "training_metrics"]

NOTICE = (
    "SIMULATED RUN: an n-gram model stands in for Phi; its losses are measured, its durations are made up."
)

_LOADING = timedelta(minutes=2)
_SAVING = timedelta(minutes=1)
_ROW_SECONDS = 0.6
_EVAL_ROW_SECONDS = 0.2


@dataclass(frozen=True)
class Timing:
    """How long a training takes, from how many rows on how many GPUs; seconds are the simulated machine's."""

    settings: TrainingSettings
    curve: Curve
    train_rows: int
    eval_rows: int

    @property
    def step_seconds(self) -> float:
        """Seconds of one optimiser step."""
        return self.settings.batch_size * _ROW_SECONDS / self.settings.devices

    @property
    def train_seconds(self) -> float:
        """Seconds of all steps."""
        return self.curve.steps * self.step_seconds

    @property
    def eval_seconds(self) -> float:
        """Seconds of one evaluation."""
        return min(self.eval_rows, EVAL_ROWS) * _EVAL_ROW_SECONDS / self.settings.devices

    @property
    def lasts(self) -> timedelta:
        """The whole step, with loading and saving."""
        return _LOADING + timedelta(seconds=self.train_seconds) + _SAVING

    def after(self, step: int) -> timedelta:
        """When an optimiser step is over, after the step of the pipeline began."""
        return _LOADING + timedelta(seconds=step * self.step_seconds)


def training_log(timing: Timing) -> list[tuple[timedelta, str]]:
    """The lines of the log, in order, each with its time after the start."""
    settings, curve = timing.settings, timing.curve
    start = timing.after(0)
    lines = [
        (timedelta(0), NOTICE),
        (start, "***** Running training *****"),
        (start, f"  Num examples = {timing.train_rows}"),
        (start, f"  Num Epochs = {settings.values['num_train_epochs']}"),
        (start, f"  Instantaneous batch size per device = {settings.values['per_device_train_batch_size']}"),
        (
            start,
            f"  Total train batch size (w. parallel, distributed & accumulation) = {settings.batch_size}",
        ),
        (start, f"  Gradient Accumulation steps = {settings.values['gradient_accumulation_steps']}"),
        (start, f"  Total optimization steps = {curve.steps}"),
    ]
    lines += [(timing.after(step), str(values)) for step, values in _entries(timing)]
    return [*lines, (timing.lasts, "Training completed. The simulated model was saved.")]


def training_metrics(timing: Timing) -> list[Metric]:
    """The metrics, in the order logged."""
    return [
        Metric(key, value, step, timing.after(step))
        for step, values in _entries(timing)
        for key, value in values.items()
    ]


def _entries(timing: Timing) -> Iterator[tuple[int, Mapping[str, float]]]:
    curve, seconds = timing.curve, timing.eval_seconds
    losses = [
        (
            point.step,
            {
                "loss": round(point.loss, 4),
                "learning_rate": point.learning_rate,
                "epoch": round(point.epoch, 4),
            },
        )
        for point in curve.points
    ]
    evaluations = [
        (
            point.step,
            {
                "eval_loss": point.eval_loss,
                "eval_runtime": round(seconds, 4),
                "eval_samples_per_second": round(min(timing.eval_rows, EVAL_ROWS) / seconds, 3),
                "eval_steps_per_second": round(1 / seconds, 3),
                "epoch": round(point.epoch, 4),
            },
        )
        for point in curve.evaluations
    ]
    yield from sorted([*losses, *evaluations], key=lambda entry: entry[0])
    runtime = timing.train_seconds
    yield (
        curve.steps,
        {
            "train_runtime": round(runtime, 4),
            "train_samples_per_second": round(timing.train_rows * curve.epochs / runtime, 3),
            "train_steps_per_second": round(curve.steps / runtime, 3),
            "train_loss": curve.train_loss,
            "epoch": round(curve.epochs, 4),
        },
    )
