"""What each parameter of the chat-completion pipeline becomes on this machine.

Every parameter is honoured, or *stands in* (it speaks of Azure's machines, and this machine is there in their place),
or is refused with a reason. None is ignored: :func:`settle` says what became of each. The table is the one place that
knows transformers' names for them (local.md 3); its arguments are never taken from a user's own dictionary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs

from phi_finetune.errors import InvalidParameter
from phi_finetune.local.hardware import Hardware

__all__ = ["DEFAULTS", "Given", "Lora", "Outcome", "Settled", "settle"]

Given: TypeAlias = bool | int | float | str | None
Kind: TypeAlias = Literal["honoured", "stands in", "refused"]


@attrs.frozen
class Outcome:
    """What became of a parameter.

    Attributes:
        name: The parameter.
        value: Its value.
        kind: ``honoured``; ``stands in`` where it speaks of what this machine has not, and changes nothing of the
            result; or ``refused``.
        note: How, or why not; empty where there is nothing to say.
    """

    name: str
    value: Given
    kind: Kind
    note: str = ""


@attrs.frozen
class Lora:
    """The adapters to train.

    Attributes:
        r: Their rank.
        alpha: Their scale.
        dropout: Share of their input that is dropped.
        merge: Whether they are merged into the model at the end.
    """

    r: int
    alpha: int
    dropout: float
    merge: bool


@attrs.frozen
class Settled:
    """All parameters of a fine-tune, settled for this machine.

    Attributes:
        values: Every parameter with its value, as Python has it.
        arguments: Arguments for transformers' ``TrainingArguments``.
        lora: The adapters to train; None to train all weights.
        outcomes: What became of each parameter.
        ranks: Processes that train together, each on a GPU of its own.
        zero: The stage of DeepSpeed that divides the training's state among them; 0 where each has all of it.
    """

    values: Mapping[str, Given]
    arguments: Mapping[str, Any]
    lora: Lora | None
    outcomes: tuple[Outcome, ...]
    ranks: int = 1
    zero: int = 0

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """The parameters that this machine cannot honour."""
        return tuple(one for one in self.outcomes if one.kind == "refused")

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say of parameters that were not refused; sentences for a log."""
        names: dict[str, list[str]] = {}
        for one in self.outcomes:
            if one.note and one.kind != "refused":
                names.setdefault(one.note, []).append(one.name)
        return tuple(f"{', '.join(named)}: {note}" for note, named in names.items())

    def steps(self, train_rows: int) -> int:
        """The optimiser's steps of the whole training, on that many rows."""
        most = int(self.arguments["max_steps"])
        if most > 0:
            return most
        batches = math.ceil(train_rows / (int(self.arguments["per_device_train_batch_size"]) * self.ranks))
        in_an_epoch = math.ceil(batches / int(self.arguments["gradient_accumulation_steps"]))
        return int(self.arguments["num_train_epochs"]) * in_an_epoch

    def check(self) -> None:
        """Give nothing back if all are honoured.

        Raises:
            InvalidParameter: One is refused; ``why`` has the reasons of all that are.
        """
        if not self.refused:
            return
        first = self.refused[0]
        raise InvalidParameter(
            f"{first.name}={first.value!r} cannot be honoured on this machine",
            name=first.name,
            value=first.value,
            why="; ".join(f"{one.name}: {one.note}" for one in self.refused),
            resource=f"parameter {first.name}",
            next_call=f"leave out {first.name}, or train on Azure",
        )


DEFAULTS: Final[dict[str, Given]] = {
    "instance_type_model_import": "Standard_d12_v2",
    "instance_type_preprocess": "Standard_d12_v2",
    "instance_type_finetune": "Standard_nc24rs_v3",
    "instance_type_model_evaluation": "Standard_nc24rs_v3",
    "shm_size_finetune": "5g",
    "num_nodes_finetune": 1,
    "number_of_gpu_to_use_finetuning": 1,
    "huggingface_id": None,
    "pytorch_model_path": None,
    "mlflow_model_path": None,
    "finetune_config_path": None,
    "trust_remote_code": False,
    "task_name": "ChatCompletion",
    "batch_size": 1000,
    "pad_to_max_length": False,
    "max_seq_length": -1,
    "train_file_path": None,
    "validation_file_path": None,
    "test_file_path": None,
    "train_mltable_path": None,
    "validation_mltable_path": None,
    "test_mltable_path": None,
    "apply_lora": False,
    "merge_lora_weights": True,
    "lora_alpha": 128,
    "lora_r": 8,
    "lora_dropout": 0.0,
    "num_train_epochs": 1,
    "max_steps": -1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "auto_find_batch_size": False,
    "optim": "adamw_torch",
    "learning_rate": 2e-5,
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "gradient_accumulation_steps": 1,
    "eval_accumulation_steps": -1,
    "lr_scheduler_type": "linear",
    "precision": 32,
    "seed": 42,
    "enable_full_determinism": False,
    "dataloader_num_workers": 0,
    "ignore_mismatched_sizes": False,
    "max_grad_norm": 1.0,
    "evaluation_strategy": "epoch",
    "evaluation_steps_interval": 0.0,
    "eval_steps": 500,
    "logging_strategy": "steps",
    "logging_steps": 10,
    "metric_for_best_model": "loss",
    "resume_from_checkpoint": False,
    "save_total_limit": -1,
    "apply_early_stopping": False,
    "early_stopping_patience": 1,
    "early_stopping_threshold": 0.0,
    "apply_deepspeed": False,
    "deepspeed": None,
    "deepspeed_stage": 2,
    "apply_ort": False,
    "evaluation_config": None,
    "evaluation_config_params": None,
    "compute_model_import": "serverless",
    "compute_preprocess": "serverless",
    "compute_finetune": "serverless",
    "compute_model_evaluation": "serverless",
}
"""The parameters of version 0.0.82 with its defaults (Azure/azureml-assets, 2026-07-23); files have none."""

_Said: TypeAlias = tuple[Kind, str]
_HONOURED: Final[_Said] = ("honoured", "")
_Rule: TypeAlias = Callable[[Mapping[str, Any], Hardware], _Said]


def settle(
    values: Mapping[str, Given], hardware: Hardware, *, train_rows: int = 0, checkpointing: bool = False
) -> Settled:
    """Settle every parameter for a machine.

    Args:
        values: The parameters, as Python values or in the pipeline's own form (``"true"``, ``"32"``); those left
            out have their default.
        hardware: The machine.
        train_rows: Rows to train on; ``evaluation_steps_interval`` is a share of their epoch.
        checkpointing: Whether to compute activations anew in the backward pass, which takes less memory and more time.

    Raises:
        InvalidParameter: A name is no parameter of the pipeline, or a value is not of the parameter's type.
    """
    for name in values:
        if name not in DEFAULTS:
            raise InvalidParameter(
                f"{name} is not an input of the pipeline", name=name, allowed="an input of version 0.0.82"
            )
    read = {name: _read(name, values.get(name), default) for name, default in DEFAULTS.items()}
    outcomes = tuple(
        Outcome(name, value, *_RULES.get(name, _honoured)(read, hardware)) for name, value in read.items()
    )
    lora = Lora(read["lora_r"], read["lora_alpha"], read["lora_dropout"], read["merge_lora_weights"])
    arguments = _arguments(read, hardware, train_rows) | {"activation_checkpointing": checkpointing}
    ranks, zero = _ranks(read), int(read["deepspeed_stage"]) if _divides(read) else 0
    return Settled(read, arguments, lora if read["apply_lora"] else None, outcomes, ranks, zero)


def _read(name: str, given: Given, default: Given) -> Any:
    """A value of the type that the default has; a file, and a choice of texts, is as it was given."""
    if given is None or default is None or type(given) is type(default):
        return default if given is None else given
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[str(given).lower()]
        if isinstance(default, int):
            return int(str(given))
        return float(given) if isinstance(default, float) else str(given)
    except (KeyError, ValueError):
        raise InvalidParameter(
            f"{name} is not of its type", name=name, value=given, allowed=f"a value such as {default!r}"
        ) from None


def _arguments(read: Mapping[str, Any], hardware: Hardware, train_rows: int) -> dict[str, Any]:
    same = (
        *("num_train_epochs", "max_steps", "per_device_train_batch_size", "per_device_eval_batch_size"),
        *(
            "auto_find_batch_size",
            "learning_rate",
            "warmup_steps",
            "weight_decay",
            "adam_beta1",
            "adam_beta2",
        ),
        *(
            "adam_epsilon",
            "gradient_accumulation_steps",
            "lr_scheduler_type",
            "seed",
            "dataloader_num_workers",
        ),
        *("max_grad_norm", "logging_strategy", "logging_steps"),
    )
    half = read["precision"] == 16
    strategy = {"disable": "no"}.get(read["evaluation_strategy"], read["evaluation_strategy"])
    every = _steps_between(read, train_rows)
    return {
        **{name: read[name] for name in same},
        "optim": {"adamw_torch": "adamw_torch_fused"}.get(read["optim"], read["optim"]),
        "eval_accumulation_steps": None
        if read["eval_accumulation_steps"] == -1
        else read["eval_accumulation_steps"],
        "full_determinism": read["enable_full_determinism"],
        "save_total_limit": None if read["save_total_limit"] == -1 else read["save_total_limit"],
        "eval_strategy": strategy,
        "eval_steps": every,
        "save_strategy": "epoch" if strategy == "no" else strategy,
        "save_steps": every,
        "load_best_model_at_end": read["apply_early_stopping"],
        "metric_for_best_model": "loss" if read["apply_early_stopping"] else None,
        "greater_is_better": False if read["apply_early_stopping"] else None,
        "bf16": half and hardware.bf16,
        "fp16": half and not hardware.bf16 and hardware.device == "cuda",
        "use_cpu": hardware.device == "cpu",
        "dataloader_pin_memory": hardware.device == "cuda",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "logging_nan_inf_filter": False,  # a loss that is no number is logged as it is
    }


def _steps_between(read: Mapping[str, Any], train_rows: int) -> int:
    """Steps between two evaluations; the share of an epoch goes before the count, as in the pipeline."""
    share = read["evaluation_steps_interval"]
    if not share:
        return int(read["eval_steps"])
    batch = read["per_device_train_batch_size"] * read["gradient_accumulation_steps"] * _ranks(read)
    return max(1, int(share * math.ceil(train_rows / batch)))


def _honoured(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    return _HONOURED


def _stands_in(note: str) -> _Rule:
    return lambda read, hardware: ("stands in", note)


def _refused_if_given(name: str, why: str) -> _Rule:
    return lambda read, hardware: ("refused", why) if read[name] is not None else _HONOURED


def _refused_if_on(name: str, why: str) -> _Rule:
    return lambda read, hardware: ("refused", why) if read[name] else _HONOURED


def _noted(note: str) -> _Rule:
    return lambda read, hardware: ("honoured", note)


def _nodes(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    return _HONOURED if read["num_nodes_finetune"] == 1 else ("refused", "there is this one machine")


def _ranks(read: Mapping[str, Any]) -> int:
    return max(1, int(read["number_of_gpu_to_use_finetuning"]))


def _divides(read: Mapping[str, Any]) -> bool:
    return bool(read["apply_deepspeed"]) and _ranks(read) > 1


def _gpus(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    asked = read["number_of_gpu_to_use_finetuning"]
    if asked < 1:
        return "refused", "one at least must train"
    if asked > max(hardware.gpus, 1):
        return "refused", f"this machine has {hardware.gpus or 'no'} GPU" + ("s" if hardware.gpus > 1 else "")
    return _HONOURED if hardware.gpus else ("stands in", "this machine has no GPU, and its processor trains")


def _precision(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if read["precision"] == 32:
        return _HONOURED
    if read["precision"] != 16:
        return "refused", "the pipeline knows 32 and 16"
    if hardware.bf16:
        return "honoured", "calculates in bfloat16, and keeps the weights that are trained in 32 bits"
    if hardware.device == "cuda":
        return "honoured", "calculates in float16, and keeps the weights that are trained in 32 bits"
    return "refused", "this processor has no bfloat16, and float16 is not calculated with on a processor"


def _deepspeed(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if not read["apply_deepspeed"]:
        return _HONOURED
    if not _divides(read):
        return "stands in", _NOTHING_TO_DIVIDE
    if not hardware.deepspeed:
        return "refused", "DeepSpeed is not installed: pip install deepspeed, or leave apply_deepspeed out"
    return "honoured", "divides the training's state among the GPUs; nothing of it is moved to the processor"


def _stage(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if not read["apply_deepspeed"]:
        return _HONOURED
    if read["deepspeed_stage"] not in (2, 3):
        return "refused", "the pipeline knows 2 and 3"
    if not _divides(read):
        return "stands in", _NOTHING_TO_DIVIDE
    if read["deepspeed_stage"] == 3 and read["apply_lora"]:
        return "refused", "adapters cannot be trained with stage 3, and the pipeline refuses them as well"
    return _HONOURED


def _deepspeed_file(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if read["deepspeed"] is None:
        return _HONOURED
    if not read["apply_deepspeed"]:
        return "refused", "it would do nothing, since apply_deepspeed is off"
    if not _divides(read):
        return "refused", "DeepSpeed is not used on one device"
    return "honoured", "its settings are DeepSpeed's; its stage must be deepspeed_stage"


def _batch_size(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if read["auto_find_batch_size"] and _ranks(read) > 1:
        return "refused", "a GPU whose memory runs out cannot make the others begin again with less"
    return _HONOURED


def _best(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if read["metric_for_best_model"] == "loss":
        return _HONOURED
    return "refused", "the loss is what a chat model's training measures here"


def _stopping(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if read["apply_early_stopping"] and read["evaluation_strategy"] == "disable":
        return "refused", "it needs an evaluation to go by, and evaluation_strategy is 'disable'"
    return _HONOURED


def _optimiser(read: Mapping[str, Any], hardware: Hardware) -> _Said:
    if read["optim"] not in ("adamw_torch", "adafactor"):
        return "refused", "the pipeline knows it not"
    if read["optim"] == "adafactor" and _divides(read):
        return "refused", "it goes by rows and columns, and DeepSpeed divides weights without regard to them"
    return _HONOURED


_NOTHING_TO_DIVIDE: Final = (
    "DeepSpeed divides a model's state among GPUs; on one device there is nothing to divide"
)
_MACHINE: Final = "this machine does the step"
_NO_EVALUATION: Final = "the pipeline has no evaluation step, and this does nothing on Azure either"
_MLTABLE: Final = "MLTable folders are not read here: give the file of JSON lines"
_RULES: Final[dict[str, _Rule]] = {
    **{
        f"{kind}_{step}": _stands_in(_MACHINE)
        for kind in ("instance_type", "compute")
        for step in ("model_import", "preprocess", "finetune", "model_evaluation")
    },
    "shm_size_finetune": _stands_in("there is no container whose shared memory could be limited"),
    "num_nodes_finetune": _nodes,
    "number_of_gpu_to_use_finetuning": _gpus,
    "finetune_config_path": _refused_if_given(
        "finetune_config_path",
        "its settings are those of Azure's own training code, which is not what trains here",
    ),
    "trust_remote_code": _refused_if_on("trust_remote_code", "no code that comes with a model is run here"),
    **{name: _refused_if_given(name, _MLTABLE) for name in DEFAULTS if name.endswith("_mltable_path")},
    "test_file_path": _noted("is evaluated after the training; on Azure it is prepared and not used"),
    "optim": _optimiser,
    "precision": _precision,
    "eval_accumulation_steps": _noted("evaluation holds sums only, so there is nothing to move"),
    "metric_for_best_model": _best,
    "apply_early_stopping": _stopping,
    "apply_deepspeed": _deepspeed,
    "deepspeed": _deepspeed_file,
    "deepspeed_stage": _stage,
    "auto_find_batch_size": _batch_size,
    "apply_ort": _refused_if_on("apply_ort", "ONNX Runtime's training is not maintained any more"),
    "evaluation_config": _refused_if_given("evaluation_config", _NO_EVALUATION),
    "evaluation_config_params": _refused_if_given("evaluation_config_params", _NO_EVALUATION),
}
