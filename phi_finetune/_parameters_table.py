"""What each parameter of the chat-completion pipeline is, and the limits that its training code sets."""

from __future__ import annotations

import math
import os
from typing import Final, Literal, TypeAlias, TypedDict

import attrs

__all__ = ["GATES", "INERT", "RANGES", "FilePath", "ParameterValues", "Range"]

FilePath: TypeAlias = str | os.PathLike[str]
"""A path on this machine, or an address such as ``azureml://...``."""


class ParameterValues(TypedDict, total=False):
    """The parameters that :meth:`Finetune.with_parameters` takes, one for each input of the pipeline.

    The defaults named here are those of version 0.0.82 (Azure/azureml-assets, 2026-07-23); those of the
    version in use count, and most models set their own.

    Attributes:
        instance_type_model_import: Size for the model's import on serverless compute. Default
            ``Standard_d12_v2``.
        instance_type_preprocess: Size for preparing data on serverless compute. Default ``Standard_d12_v2``.
        instance_type_finetune: Size for training on serverless compute. Default ``Standard_nc24rs_v3``, a
            retired one.
        instance_type_model_evaluation: Does nothing: the pipeline has no evaluation step.
        shm_size_finetune: Shared memory of the training container, as ``"5g"``. Default ``5g``.
        num_nodes_finetune: Machines to train on. Default 1.
        number_of_gpu_to_use_finetuning: GPUs to train on in each machine; must match the size. Default 1.
        huggingface_id: Model to train, by its name on the Hugging Face hub; in place of the catalogue's.
        pytorch_model_path: Model to train, as a folder that holds a PyTorch model.
        mlflow_model_path: Model to train, as an MLflow model. This is what a catalogue model becomes.
        finetune_config_path: JSON file with further settings of the training code.
        trust_remote_code: Run code that comes with the model. Default False.
        task_name: Only ``ChatCompletion``.
        batch_size: Rows that are tokenised at a time. Default 1000.
        pad_to_max_length: Pad each row to ``max_seq_length``. Default False.
        max_seq_length: Tokens after which a row is cut; -1 for the tokeniser's own limit. Default -1.
        train_file_path: Conversations to train on.
        validation_file_path: Conversations to compute the evaluation loss on.
        test_file_path: Is prepared, and then not used: the pipeline has no evaluation step.
        train_mltable_path: Like ``train_file_path``, as an MLTable folder.
        validation_mltable_path: Like ``validation_file_path``, as an MLTable folder.
        test_mltable_path: Like ``test_file_path``, as an MLTable folder.
        apply_lora: Train low-rank adapters in place of all weights. Default False.
        merge_lora_weights: Merge the adapters into the model at the end. Default True.
        lora_alpha: Scale of the adapters. Default 128.
        lora_r: Rank of the adapters. Default 8.
        lora_dropout: Share of the adapters' input that is dropped, from 0 to below 1. Default 0.
        num_train_epochs: Passes over the training data. Default 1.
        max_steps: Steps after which training stops; -1 for as many as the epochs take. Default -1.
        per_device_train_batch_size: Rows in a step on each GPU. Default 1.
        per_device_eval_batch_size: Rows evaluated at a time on each GPU. Default 1.
        auto_find_batch_size: Halve the batch size until it fits the memory. Default False.
        optim: Optimiser. Default ``adamw_torch``.
        learning_rate: Learning rate at its highest. Default 2e-5.
        warmup_steps: Steps over which the learning rate rises to its highest. Default 0.
        weight_decay: Decay of the weights in AdamW. Default 0.
        adam_beta1: AdamW's beta1, from 0 to below 1. Default 0.9.
        adam_beta2: AdamW's beta2, from 0 to below 1. Default 0.999.
        adam_epsilon: AdamW's epsilon. Default 1e-8.
        gradient_accumulation_steps: Batches whose gradients are added up for one step. Default 1.
        eval_accumulation_steps: Evaluation batches held on the GPU before they are moved; -1 for all. Default
            -1.
        lr_scheduler_type: How the learning rate falls. Default ``linear``.
        precision: Bits of the weights in training. Default 32.
        seed: Seed of all random numbers. Default 42.
        enable_full_determinism: Use deterministic algorithms, which are slower. Default False.
        dataloader_num_workers: Processes that load data; 0 for the main one. Default 0.
        ignore_mismatched_sizes: Load a model whose weights differ in shape. Default False.
        max_grad_norm: Norm to which gradients are clipped; 0 for no clipping. Default 1.
        evaluation_strategy: When to compute the evaluation loss. Default ``epoch``.
        evaluation_steps_interval: Share of an epoch between evaluations, from 0 to 1; 0 to count
            ``eval_steps``.
        eval_steps: Steps between evaluations. Default 500.
        logging_strategy: When to log the loss. Default ``steps``.
        logging_steps: Steps between two logged losses. Default 10.
        metric_for_best_model: What decides which checkpoint is best. Default ``loss``.
        resume_from_checkpoint: Go on from the last checkpoint, such as after preemption. Default False.
        save_total_limit: Checkpoints to keep; -1 for all. Default -1.
        apply_early_stopping: Stop when evaluation no longer improves. Default False.
        early_stopping_patience: Evaluations without improvement before stopping. Default 1.
        early_stopping_threshold: Improvement that counts as one. Default 0.
        apply_deepspeed: Train with DeepSpeed. Default False.
        deepspeed: DeepSpeed's configuration, as a JSON file; without it, one is made from the stage.
        deepspeed_stage: DeepSpeed's ZeRO stage. Default 2.
        apply_ort: Train with ONNX Runtime. Default False.
        evaluation_config: Does nothing: the pipeline has no evaluation step.
        evaluation_config_params: Does nothing: the pipeline has no evaluation step.
        compute_model_import: Cluster that imports the model. Default ``serverless``.
        compute_preprocess: Cluster that prepares data. Default ``serverless``.
        compute_finetune: Cluster that trains. Default ``serverless``.
        compute_model_evaluation: Does nothing: the pipeline has no evaluation step.
    """

    instance_type_model_import: str
    instance_type_preprocess: str
    instance_type_finetune: str
    instance_type_model_evaluation: str
    shm_size_finetune: str
    num_nodes_finetune: int
    number_of_gpu_to_use_finetuning: int
    huggingface_id: str
    pytorch_model_path: FilePath
    mlflow_model_path: FilePath
    finetune_config_path: FilePath
    trust_remote_code: bool
    task_name: Literal["ChatCompletion"]
    batch_size: int
    pad_to_max_length: bool
    max_seq_length: int
    train_file_path: FilePath
    validation_file_path: FilePath
    test_file_path: FilePath
    train_mltable_path: FilePath
    validation_mltable_path: FilePath
    test_mltable_path: FilePath
    apply_lora: bool
    merge_lora_weights: bool
    lora_alpha: int
    lora_r: int
    lora_dropout: float
    num_train_epochs: int
    max_steps: int
    per_device_train_batch_size: int
    per_device_eval_batch_size: int
    auto_find_batch_size: bool
    optim: Literal["adamw_torch", "adafactor"]
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    gradient_accumulation_steps: int
    eval_accumulation_steps: int
    lr_scheduler_type: Literal[
        "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"
    ]
    precision: Literal[16, 32]
    seed: int
    enable_full_determinism: bool
    dataloader_num_workers: int
    ignore_mismatched_sizes: bool
    max_grad_norm: float
    evaluation_strategy: Literal["epoch", "steps", "disable"]
    evaluation_steps_interval: float
    eval_steps: int
    logging_strategy: Literal["epoch", "steps"]
    logging_steps: int
    metric_for_best_model: Literal["loss", "f1", "exact"]
    resume_from_checkpoint: bool
    save_total_limit: int
    apply_early_stopping: bool
    early_stopping_patience: int
    early_stopping_threshold: float
    apply_deepspeed: bool
    deepspeed: FilePath
    deepspeed_stage: Literal[2, 3]
    apply_ort: bool
    evaluation_config: FilePath
    evaluation_config_params: str
    compute_model_import: str
    compute_preprocess: str
    compute_finetune: str
    compute_model_evaluation: str


@attrs.frozen
class Range:
    """The numbers that a parameter takes.

    Attributes:
        low: The least.
        high: The greatest.
        above_low: Whether the least is itself excluded.
        below_high: Whether the greatest is itself excluded.
        or_minus_one: Whether -1 is taken as well, for "no limit".
    """

    low: float
    high: float = math.inf
    above_low: bool = attrs.field(default=False, kw_only=True)
    below_high: bool = attrs.field(default=False, kw_only=True)
    or_minus_one: bool = attrs.field(default=False, kw_only=True)

    def holds(self, number: float) -> bool:
        """Whether the number is one of them."""
        if self.or_minus_one and number == -1:
            return True
        if number < self.low or (self.above_low and number == self.low):
            return False
        return number < self.high or (number == self.high and not self.below_high)

    def __str__(self) -> str:
        words = ["-1, or"] if self.or_minus_one else []
        if self.low > -math.inf:
            words.append(f"{'above' if self.above_low else 'from'} {_shown(self.low)}")
        if self.high < math.inf:
            words.append(f"{'to below' if self.below_high else 'up to'} {_shown(self.high)}")
        return " ".join(words)


def _shown(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


_AT_LEAST_ONE: Final = Range(1)
_NOT_NEGATIVE: Final = Range(0)
_SHARE_BELOW_ONE: Final = Range(0, 1, below_high=True)
_ONE_OR_NO_LIMIT: Final = Range(1, or_minus_one=True)

# What torch, transformers and peft refuse on the GPU node; the component itself sets a minimum for few inputs
# only.
RANGES: Final[dict[str, Range]] = {
    "lora_r": _AT_LEAST_ONE,
    "lora_alpha": _AT_LEAST_ONE,
    "lora_dropout": _SHARE_BELOW_ONE,
    "max_seq_length": _ONE_OR_NO_LIMIT,
    "max_steps": _ONE_OR_NO_LIMIT,
    "learning_rate": Range(0, above_low=True),
    "warmup_steps": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "adam_beta1": _SHARE_BELOW_ONE,
    "adam_beta2": _SHARE_BELOW_ONE,
    "adam_epsilon": _NOT_NEGATIVE,
    "gradient_accumulation_steps": _AT_LEAST_ONE,
    "eval_accumulation_steps": _ONE_OR_NO_LIMIT,
    "seed": Range(0, 2**32 - 1),
    "dataloader_num_workers": _NOT_NEGATIVE,
    "max_grad_norm": _NOT_NEGATIVE,
    "evaluation_steps_interval": Range(0, 1),
    "eval_steps": _AT_LEAST_ONE,
    "logging_steps": _AT_LEAST_ONE,
    "save_total_limit": _ONE_OR_NO_LIMIT,
    "early_stopping_patience": _AT_LEAST_ONE,
    "early_stopping_threshold": _NOT_NEGATIVE,
}

# Azure/azureml-assets, 2026-07-23: prediction and metrics are commented out of the pipeline's specification.
INERT: Final = frozenset(
    {
        "instance_type_model_evaluation",
        "compute_model_evaluation",
        "evaluation_config",
        "evaluation_config_params",
        "test_file_path",
        "test_mltable_path",
    }
)

# Parameters that are read only where another one is on.
GATES: Final[dict[str, str]] = {
    "lora_r": "apply_lora",
    "lora_alpha": "apply_lora",
    "lora_dropout": "apply_lora",
    "merge_lora_weights": "apply_lora",
    "deepspeed": "apply_deepspeed",
    "deepspeed_stage": "apply_deepspeed",
    "early_stopping_patience": "apply_early_stopping",
    "early_stopping_threshold": "apply_early_stopping",
}
