"""The training settings of a job, read from the component's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phi_finetune.emulator.runners.training import Every

__all__ = ["TrainingSettings", "refusal"]

_LOGGED = (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "optim",
    "precision",
    "seed",
    "max_seq_length",
    "evaluation_strategy",
    "logging_strategy",
    "logging_steps",
    "save_total_limit",
    "apply_lora",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "apply_deepspeed",
    "deepspeed_stage",
)


@dataclass(frozen=True)
class TrainingSettings:
    """What the simulated training heeds: early stopping and the optimiser have no part in it."""

    values: Mapping[str, str]

    def whole(self, name: str) -> int:
        """An input that is a whole number."""
        return int(self.values[name])

    def is_set(self, name: str) -> bool:
        """An input that is ``true`` or ``false``."""
        return self.values[name] == "true"

    @property
    def devices(self) -> int:
        """GPUs, over all nodes."""
        return self.whole("num_nodes_finetune") * self.whole("number_of_gpu_to_use_finetuning")

    @property
    def batch_size(self) -> int:
        """Rows of one optimiser step, over all GPUs and accumulated batches."""
        accumulated = self.whole("per_device_train_batch_size") * self.whole("gradient_accumulation_steps")
        return accumulated * self.devices

    @property
    def logging_steps(self) -> Every:
        """Steps between two logged losses."""
        return "epoch" if self.values["logging_strategy"] == "epoch" else self.whole("logging_steps")

    def eval_every(self, steps_per_epoch: int) -> Every | None:
        """Steps between two evaluations. ``evaluation_steps_interval``, a share of an epoch, goes first."""
        strategy = self.values["evaluation_strategy"]
        if strategy == "disable":
            return None
        if strategy == "epoch":
            return "epoch"
        interval = float(self.values["evaluation_steps_interval"])
        return max(1, int(interval * steps_per_epoch)) if interval > 0 else self.whole("eval_steps")

    def params(self) -> dict[str, str]:
        """What the run logs as parameters: transformers' MLflow callback logs its training arguments."""
        return {name: self.values[name] for name in _LOGGED if name in self.values}


def refusal(settings: TrainingSettings) -> str | None:
    """Why the training code refuses these settings, in its words; None where it does not (pain.md F4)."""
    staged = settings.is_set("apply_deepspeed") and settings.values["deepspeed_stage"] == "3"
    if staged and settings.is_set("apply_ort"):
        return "Invalid settings found. Deep Speed stage3 doesn't work with {'apply_ort': True}."
    return None
