"""The training itself: transformers' Trainer, with our loss, our order of rows, and our word on what was logged."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import attrs

from phi_finetune.local.batches import Filled, LengthGrouped, Padding
from phi_finetune.local.losses import WantedOnly, measure
from phi_finetune.local.parameters import Settled
from phi_finetune.local.preprocess import Rows
from phi_finetune.local.threads import threads_for, use_threads

__all__ = ["OnMetrics", "Trained", "last_checkpoint", "step_of", "train"]

OnMetrics: TypeAlias = Callable[[int, Mapping[str, float]], None]
"""Is called with a step and what was measured at it."""

_CHECKPOINT: Final = re.compile(r"\Acheckpoint-[0-9]+\Z")
_WIDTHS: Final = 8
"""A GPU multiplies matrices whose sides are a multiple of this faster."""


@attrs.frozen
class Trained:
    """How a training went.

    Attributes:
        model: The model as it now is, with its adapters where it has some.
        steps: Steps of the optimiser, those before a resumption included.
        resumed_from: The step that it was resumed from; 0 if it was not.
        train_loss: The mean of the losses of the steps done now.
        eval_loss: The last evaluation's loss; None without one.
        seconds: How long the steps took that were done now.
        trained_tokens: Tokens that were seen in them, padding not counted.
        peak_bytes: The most memory held on the GPU, the fullest of several; without one, by this process.
        weights: The weights by name, where the model does not hold them whole; only in the first process.
    """

    model: Any = attrs.field(repr=False, eq=False)
    steps: int
    resumed_from: int
    train_loss: float
    eval_loss: float | None
    seconds: float
    trained_tokens: int
    peak_bytes: int
    weights: Any = attrs.field(default=None, repr=False, eq=False)


def train(
    model: Any,
    rows: Rows,
    validation: Rows,
    settled: Settled,
    folder: Path,
    *,
    pad_id: int,
    width: int | None = None,
    zero: Mapping[str, Any] | None = None,
    on_metrics: OnMetrics | None = None,
) -> Trained:
    """Train a model, and return it trained.

    Where the environment says that this process is one of several (``RANK``, ``WORLD_SIZE`` and what torch has with
    them), each trains on a part of each step's rows. They learn what one process with as many rows in a step would.

    With ``resume_from_checkpoint`` it goes on from the last whole checkpoint in the folder, and ends with the weights
    that it would have had without the interruption. Otherwise checkpoints that lie there are deleted.

    Args:
        model: The model, with adapters or not.
        rows: Rows to train on.
        validation: Rows to evaluate on; with none there is no evaluation.
        settled: The parameters.
        folder: Where checkpoints go.
        pad_id: The token to pad with.
        width: Tokens to which each row is padded; None to pad to the longest of each batch.
        zero: DeepSpeed's configuration, to train with DeepSpeed.
        on_metrics: Is called with what is logged, as it is logged.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback

    checkpoint = last_checkpoint(folder) if settled.values["resume_from_checkpoint"] else None
    if checkpoint is None and not int(os.environ.get("RANK", "0")):
        shutil.rmtree(folder, ignore_errors=True)
    arguments = _arguments(settled, folder, evaluates=bool(len(validation)), zero=zero)
    on_gpu = not settled.arguments["use_cpu"]
    trainer = _trainer_class()(
        model=model,
        args=arguments,
        train_dataset=Filled(rows) if arguments.world_size > 1 else rows,
        eval_dataset=validation,
        data_collator=Padding(pad_id, _WIDTHS if on_gpu else 1, width),
        callbacks=[_listener(on_metrics)] if on_metrics else [],
    )
    trainer.remove_callback(PrinterCallback)  # what is logged is passed on
    if arguments.load_best_model_at_end:
        patience, threshold = (settled.values[f"early_stopping_{name}"] for name in ("patience", "threshold"))
        stopping = EarlyStoppingCallback(patience, threshold)
        stopping.early_stopping_patience_counter = _evaluations_no_better(checkpoint)
        trainer.add_callback(stopping)
    started = time.monotonic()
    with use_threads(None if on_gpu else threads_for(sum(each.numel() for each in model.parameters()))):
        result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    trainer.only.close()
    evaluations = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    return Trained(
        model=trainer.model,
        steps=trainer.state.global_step,
        resumed_from=step_of(checkpoint) if checkpoint else 0,
        train_loss=result.training_loss,
        eval_loss=evaluations[-1] if evaluations else None,
        seconds=seconds,
        trained_tokens=trainer.over_all(trainer.seen_tokens, "sum"),
        peak_bytes=trainer.over_all(_peak_bytes(on_gpu=on_gpu), "max"),
        weights=trainer.accelerator.get_state_dict(trainer.model_wrapped) if settled.zero == 3 else None,
    )


def _arguments(settled: Settled, folder: Path, *, evaluates: bool, zero: Mapping[str, Any] | None) -> Any:
    from transformers import TrainingArguments

    chosen = dict(settled.arguments)
    if not evaluates:
        chosen |= {"eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "epoch"}
    if zero is not None:
        chosen |= {"deepspeed": dict(zero)}
    elif settled.ranks > 1:
        chosen["ddp_backend"] = "gloo" if chosen["use_cpu"] else "nccl"
    return TrainingArguments(output_dir=str(folder), ddp_find_unused_parameters=False, **chosen)


def last_checkpoint(folder: Path, before: float = math.inf) -> Path | None:
    """The last checkpoint of a folder that was written to its end; None if there is none.

    Args:
        folder: Where checkpoints lie.
        before: The step that it must come before.
    """
    whole = [path for path in folder.glob("checkpoint-*") if _CHECKPOINT.match(path.name) and _is_whole(path)]
    return max((path for path in whole if step_of(path) < before), key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])


def _evaluations_no_better(checkpoint: Path | None) -> int:
    """How many evaluations in a row were no better when a checkpoint was written; 0 without one that says it."""
    if checkpoint is None:
        return 0
    state = json.loads((checkpoint / "trainer_state.json").read_bytes())
    kept = state.get("stateful_callbacks", {}).get("EarlyStoppingCallback", {})
    return int(kept.get("attributes", {}).get("early_stopping_patience_counter", 0))


def _is_whole(checkpoint: Path) -> bool:
    """Whether the file that the trainer writes last is there, and to its end: a kill may have come in the middle."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return True


class _Together:
    """What a trainer of transformers does otherwise where it is one of several processes."""

    args: Any
    accelerator: Any
    train_dataset: Rows | Filled

    def training_step(self, *given: Any, **named: Any) -> Any:
        """Give the loss of all processes, which the trainer sums up, and not this one's own part."""
        loss = super().training_step(*given, **named)  # type: ignore[misc]
        return self.accelerator.reduce(loss, "mean") if self.args.world_size > 1 else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGrouped:
        ranks, rows = self.args.world_size, self.train_dataset
        at_once = self.args.train_batch_size * ranks
        return LengthGrouped(
            (rows.rows if isinstance(rows, Filled) else rows).lengths(),
            at_once * self.args.gradient_accumulation_steps,
            seed=self.args.seed,
            multiple=at_once if ranks > 1 else 1,
        )

    def over_all(self, value: Any, how: Literal["sum", "max"]) -> int:
        """The sum or the greatest of the values of all processes."""
        import torch

        own = torch.as_tensor(value, dtype=torch.long, device=self.args.device)
        found = self.accelerator.gather(own.reshape(1))
        return int(found.sum() if how == "sum" else found.max())

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)  # type: ignore[misc]
        # A checkpoint counts as whole with the file that the first process writes after this.
        self.accelerator.wait_for_everyone()


def _trainer_class() -> Any:
    """The trainer, as a class of transformers that is only known once that is imported."""
    from transformers import Trainer

    class MaskedTrainer(_Together, Trainer):  # type: ignore[misc]
        """Trains on the tokens that are wanted, in batches of rows of about one length."""

        loss_is_scaled_for_ga = True

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.control: Any
            self.model_accepts_loss_kwargs = True  # so that the tokens of all accumulated batches are counted
            self.only = WantedOnly(self.model)
            self.seen_tokens: Any = 0

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            total, count = self.only.loss_sum(model, inputs)
            # It is no number yet: a GPU goes on.
            self.seen_tokens = self.seen_tokens + inputs["attention_mask"].sum()
            # The gradients of the processes are averaged, and the tokens are those of all.
            share = total * self.args.world_size
            return share / (count if num_items_in_batch is None else num_items_in_batch)

        def evaluate(
            self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
        ) -> dict[str, float]:
            started, size = time.monotonic(), self.args.eval_batch_size
            found = measure(
                self.model,
                self.eval_dataset,
                self.data_collator,
                batch_size=size,
                only=self.only,
                device=self.args.device,
                share=(self.args.process_index, self.args.world_size),
            )
            seconds = max(time.monotonic() - started, 1e-9)
            metrics = {
                "eval_loss": found.loss,
                "eval_runtime": round(seconds, 4),
                "eval_samples_per_second": round(len(self.eval_dataset) / seconds, 3),
                "eval_steps_per_second": round(-(-len(self.eval_dataset) // size) / seconds, 3),
            }
            self.log(metrics)
            self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

    return MaskedTrainer


def _listener(on_metrics: OnMetrics) -> Any:
    from transformers import TrainerCallback

    class Listener(TrainerCallback):  # type: ignore[misc]
        """Passes on what the trainer logs."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
            on_metrics(
                state.global_step, {key: float(value) for key, value in logs.items() if key != "total_flos"}
            )

    return Listener()


def _peak_bytes(*, on_gpu: bool) -> int:
    if on_gpu:
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows
        return 0
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
