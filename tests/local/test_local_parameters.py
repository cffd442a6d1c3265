"""Every parameter of the pipeline becomes something on this machine, or is refused with a reason."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from phi_finetune.errors import InvalidParameter
from phi_finetune.local.hardware import Hardware
from phi_finetune.local.parameters import DEFAULTS, settle
from phi_finetune.local.zero import zero_config

CPU = Hardware("cpu", "a processor", 0, 8 * 10**9, bf16=False)
NEW_CPU = Hardware("cpu", "a newer one", 0, 8 * 10**9, bf16=True)
GPU = Hardware("cuda", "a GPU", 1, 80 * 10**9, bf16=True)
GPUS = Hardware("cuda", "four GPUs", 4, 80 * 10**9, bf16=True)
GPUS_AND_DEEPSPEED = Hardware("cuda", "four GPUs", 4, 80 * 10**9, bf16=True, deepspeed=True)
OLD_GPU = Hardware("cuda", "an old GPU", 1, 16 * 10**9, bf16=False)

COMPONENT = json.loads(
    resources.files("phi_finetune.emulator.catalogue").joinpath("components.json").read_text(encoding="utf-8")
)

CHANGED: dict[str, Any] = {
    "num_train_epochs": 3,
    "max_steps": 7,
    "per_device_train_batch_size": 4,
    "per_device_eval_batch_size": 5,
    "auto_find_batch_size": True,
    "learning_rate": 1e-3,
    "warmup_steps": 9,
    "weight_decay": 0.1,
    "adam_beta1": 0.8,
    "adam_beta2": 0.99,
    "adam_epsilon": 1e-6,
    "gradient_accumulation_steps": 2,
    "eval_accumulation_steps": 3,
    "lr_scheduler_type": "cosine",
    "seed": 7,
    "dataloader_num_workers": 1,
    "max_grad_norm": 0.5,
    "logging_strategy": "epoch",
    "logging_steps": 3,
    "enable_full_determinism": True,
    "save_total_limit": 2,
    "evaluation_strategy": "steps",
    "eval_steps": 11,
    "evaluation_steps_interval": 0.5,
    "optim": "adafactor",
    "apply_early_stopping": True,
}
"""Another value than the default for each that becomes an argument of the training."""

LATER = {
    *(
        "apply_lora",
        "lora_r",
        "lora_alpha",
        "lora_dropout",
        "merge_lora_weights",
        "batch_size",
        "pad_to_max_length",
    ),
    *("max_seq_length", "ignore_mismatched_sizes", "resume_from_checkpoint", "early_stopping_patience"),
    *("early_stopping_threshold", "huggingface_id", "pytorch_model_path", "mlflow_model_path", "task_name"),
    *("train_file_path", "validation_file_path", "test_file_path", "precision", "metric_for_best_model"),
}
"""Those that a step heeds itself; each has its own test."""

REFUSED: dict[str, Any] = {
    "num_nodes_finetune": 2,
    "number_of_gpu_to_use_finetuning": 2,
    "finetune_config_path": "more.json",
    "trust_remote_code": True,
    "train_mltable_path": "table",
    "validation_mltable_path": "table",
    "test_mltable_path": "table",
    "deepspeed": "zero.json",
    "apply_ort": True,
    "evaluation_config": "evaluation.json",
    "evaluation_config_params": "{}",
}
STANDS_IN = {
    *("apply_deepspeed", "deepspeed_stage", "shm_size_finetune"),
    *(name for name in DEFAULTS if name.startswith(("compute_", "instance_type_"))),
}


def test_the_table_has_the_parameters_of_the_pipeline() -> None:
    """All of them, with the defaults of the newest version, so that none can be passed over."""
    declared = {each["name"]: each for each in COMPONENT["inputs"]}
    assert set(DEFAULTS) == set(declared)
    told = {name: spec["default"] for name, spec in declared.items() if "default" in spec}
    ours = {name: value for name, value in DEFAULTS.items() if value is not None}
    assert set(ours) == set(told)
    read = settle(told, CPU).values
    assert {name: read[name] for name in ours} == ours


def test_each_parameter_is_in_one_group_of_these_tests() -> None:
    """So a parameter that is new in the table needs a test of its own."""
    groups = [set(CHANGED), LATER, set(REFUSED), STANDS_IN]
    assert set().union(*groups) == set(DEFAULTS)
    assert sum(map(len, groups)) == len(DEFAULTS)


def test_the_defaults_are_honoured() -> None:
    """Nothing is refused of a job that names no parameter."""
    for hardware in (CPU, NEW_CPU, GPU, OLD_GPU):
        settled = settle({}, hardware)
        settled.check()
        assert [one.name for one in settled.outcomes] == list(DEFAULTS)
        assert settled.lora is None


@pytest.mark.parametrize("name", CHANGED)
def test_a_parameter_changes_the_training(name: str) -> None:
    """Another value gives other arguments, and is said to be honoured."""
    others = {"evaluation_strategy": "steps"} if name != "evaluation_strategy" else {}
    before = settle(others, CPU, train_rows=40)
    after = settle({**others, name: CHANGED[name]}, CPU, train_rows=40)
    assert before.arguments != after.arguments
    (said,) = [one for one in after.outcomes if one.name == name]
    assert (said.kind, said.value) == ("honoured", CHANGED[name])
    after.check()


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_with_a_reason(name: str) -> None:
    """Before anything begins, on every machine."""
    for hardware in (CPU, GPU):
        with pytest.raises(InvalidParameter) as caught:
            settle({name: REFUSED[name]}, hardware).check()
        assert caught.value.name == name
        assert name in str(caught.value.why)


@pytest.mark.parametrize("name", sorted(STANDS_IN))
def test_what_speaks_of_azures_machines_stands_in(name: str) -> None:
    """It is said why it changes nothing here."""
    value = {"apply_deepspeed": True, "deepspeed_stage": 3}.get(name, "Standard_NC24ads_A100_v4")
    settled = settle({"apply_deepspeed": True, name: value}, GPU)
    settled.check()
    (said,) = [one for one in settled.outcomes if one.name == name]
    assert said.kind == "stands in"
    assert said.note


def test_as_many_gpus_train_as_are_asked_for() -> None:
    """And not more than there are; the share of an epoch counts the rows of all."""
    one = {"evaluation_strategy": "steps", "evaluation_steps_interval": 0.5}
    settled = settle({**one, "number_of_gpu_to_use_finetuning": 4}, GPUS, train_rows=80)
    settled.check()
    assert (settled.ranks, settled.zero, settled.arguments["eval_steps"]) == (4, 0, 10)
    assert settle(one, GPUS, train_rows=80).arguments["eval_steps"] == 40
    for hardware, asked, why in (
        (GPUS, 5, "has 4 GPUs"),
        (GPU, 2, "has 1 GPU"),
        (CPU, 2, "has no GPU"),
        (GPUS, 0, "one at least"),
    ):
        with pytest.raises(InvalidParameter, match=why):
            settle({"number_of_gpu_to_use_finetuning": asked}, hardware).check()
    with pytest.raises(InvalidParameter, match="cannot make the others begin again"):
        settle({"number_of_gpu_to_use_finetuning": 2, "auto_find_batch_size": True}, GPUS).check()


def test_deepspeed_divides_where_there_are_several_gpus(tmp_path: Path) -> None:
    """With a configuration made from the stage, or the user's own; where it is not installed, it is refused."""
    asked: dict[str, Any] = {"apply_deepspeed": True, "number_of_gpu_to_use_finetuning": 2}
    with pytest.raises(InvalidParameter, match="pip install deepspeed"):
        settle(asked, GPUS).check()
    assert zero_config(settle({**asked, "number_of_gpu_to_use_finetuning": 1}, GPUS), tmp_path) is None
    for stage in (2, 3):
        settled = settle({**asked, "deepspeed_stage": stage}, GPUS_AND_DEEPSPEED)
        settled.check()
        made = zero_config(settled, tmp_path)
        assert made is not None
        assert (settled.zero, made["zero_optimization"]["stage"]) == (stage, stage)
        assert made["train_micro_batch_size_per_gpu"] == "auto"
    for refused, why in (
        ({"deepspeed_stage": 3, "apply_lora": True}, "adapters"),
        ({"deepspeed_stage": 4}, "2 and 3"),
        ({"optim": "adafactor"}, "rows and columns"),
    ):
        with pytest.raises(InvalidParameter, match=why):
            settle({**asked, **refused}, GPUS_AND_DEEPSPEED).check()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[", "not a JSON object"),
        ("{}", "has no zero_optimization"),
        ('{"zero_optimization": {"stage": 2}}', "its stage is 2"),
        ('{"zero_optimization": {"stage": 3}}', "stage3_gather_16bit_weights_on_model_save"),
    ],
)
def test_a_file_for_deepspeed_is_looked_at_beforehand(tmp_path: Path, text: str, why: str) -> None:
    """What it says is passed on, unless no whole model would come of it."""
    asked = {"apply_deepspeed": True, "number_of_gpu_to_use_finetuning": 2, "deepspeed": "zero.json"}
    settled = settle({**asked, "deepspeed_stage": 3}, GPUS_AND_DEEPSPEED)
    settled.check()
    (tmp_path / "zero.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidParameter) as caught:
        zero_config(settled, tmp_path)
    assert why in str(caught.value.why)
    good = {"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}, "x": 1}
    (tmp_path / "zero.json").write_text(json.dumps(good), encoding="utf-8")
    assert zero_config(settled, tmp_path) == good


def test_values_may_come_in_the_pipelines_own_form() -> None:
    """Flags and choices as texts, numbers as texts."""
    settled = settle({"apply_lora": "true", "precision": "32", "learning_rate": "1e-4", "lora_r": "4"}, CPU)
    assert settled.lora is not None
    assert settled.lora.r == 4
    assert settled.arguments["learning_rate"] == 1e-4
    with pytest.raises(InvalidParameter, match="lora_r"):
        settle({"lora_r": "four"}, CPU)
    with pytest.raises(InvalidParameter, match="apply_lora"):
        settle({"apply_lora": "perhaps"}, CPU)
    with pytest.raises(InvalidParameter, match="learning_rat "):
        settle({"learning_rat": 1.0}, CPU)


def test_half_precision_is_what_the_machine_has() -> None:
    """A processor without it refuses, since transformers would train in 32 bits and not say so."""
    flags = {
        hardware.name: [settle({"precision": 16}, hardware).arguments[kind] for kind in ("bf16", "fp16")]
        for hardware in (NEW_CPU, GPU, OLD_GPU)
    }
    assert flags == {"a newer one": [True, False], "a GPU": [True, False], "an old GPU": [False, True]}
    with pytest.raises(InvalidParameter, match="bfloat16"):
        settle({"precision": "16"}, CPU).check()
    with pytest.raises(InvalidParameter, match="32 and 16"):
        settle({"precision": 8}, GPU).check()


def test_best_is_by_the_loss() -> None:
    """The other metrics of the pipeline are not measured for chats."""
    with pytest.raises(InvalidParameter, match="loss"):
        settle({"metric_for_best_model": "f1"}, CPU).check()


def test_early_stopping_keeps_the_best() -> None:
    """It evaluates and saves at the same steps, which transformers demands."""
    arguments = settle({"apply_early_stopping": True}, CPU).arguments
    assert arguments["load_best_model_at_end"] is True
    assert arguments["save_strategy"] == arguments["eval_strategy"] == "epoch"
    with pytest.raises(InvalidParameter, match="evaluation"):
        settle({"apply_early_stopping": True, "evaluation_strategy": "disable"}, CPU).check()


def test_the_share_of_an_epoch_goes_before_the_steps() -> None:
    """As in the pipeline: a quarter of 25 steps is 6."""
    values = {
        "evaluation_strategy": "steps",
        "evaluation_steps_interval": 0.25,
        "per_device_train_batch_size": 4,
    }
    assert settle(values, CPU, train_rows=100).arguments["eval_steps"] == 6
