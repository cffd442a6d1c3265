"""The parameters of a fine-tune: who decides each value, what is refused, and what is sent."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune import _tags
from phi_finetune.emulator.catalogue import pipeline_components, registry_models
from phi_finetune.errors import InvalidParameter, UnexpectedAnswer
from phi_finetune.parameters import ComponentInput, FinetuneParameters, ParameterValues, parse_inputs

OLDER, NEWEST = (parse_inputs(component.spec) for component in pipeline_components())
PHI_4 = {
    "apply_deepspeed": "true",
    "deepspeed_stage": 3,
    "apply_lora": "true",
    "apply_ort": "false",
    "precision": 16,
    "learning_rate": "5e-6",
    "lr_scheduler_type": "cosine",
}


def resolve(
    user: Mapping[str, object] | None = None,
    *,
    derived: Mapping[str, object] | None = None,
    model: Mapping[str, object] | None = None,
    inputs: Mapping[str, ComponentInput] = NEWEST,
) -> FinetuneParameters:
    """Resolves with nothing given but what a test names."""
    return FinetuneParameters.resolve(
        user=cast("ParameterValues", user or {}),
        derived=derived or {},
        model_defaults=model or {},
        component_inputs=inputs,
    )


def test_typed_names_are_the_inputs_of_the_pipeline() -> None:
    """The names an editor completes are the inputs of 0.0.82, each with its documentation."""
    names = list(ParameterValues.__annotations__)
    assert names == list(NEWEST)
    assert len(names) == 69
    documented = inspect.cleandoc(ParameterValues.__doc__ or "")
    assert all(f"\n    {name}: " in documented for name in names)


def test_typed_names_have_the_types_of_the_inputs() -> None:
    """A flag is typed as bool, a whole number as int, a number as float."""
    hints = get_type_hints(ParameterValues)
    plain = {"flag": bool, "integer": int, "number": float, "text": str}
    declared = {name: plain[spec.kind] for name, spec in NEWEST.items() if spec.kind in plain}
    assert {name: hints[name] for name in declared} == declared


def test_inputs_are_read_from_texts() -> None:
    """The service's texts become kinds, limits, choices and optionality."""
    assert NEWEST["num_train_epochs"].minimum == 1.0
    assert NEWEST["num_train_epochs"].kind == "integer"
    assert NEWEST["deepspeed_stage"].choices == ("2", "3")
    assert NEWEST["apply_lora"].kind == "flag"
    assert NEWEST["train_file_path"].kind == "file"
    assert NEWEST["lora_r"].optional
    assert not NEWEST["task_name"].optional


def test_inputs_are_read_from_native_values() -> None:
    """A specification with native numbers and booleans is read to the same inputs."""
    native = {"inputs": {"seed": {"type": "integer", "default": 42, "optional": True, "min": 1, "max": 9}}}
    texts = {
        "inputs": {"seed": {"type": "integer", "default": "42", "optional": "True", "min": "1", "max": "9"}}
    }
    assert parse_inputs(native) == parse_inputs(texts)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"inputs": []},
        {"inputs": {}},
        {"inputs": {"a": "text"}},
        {"inputs": {"a": {"type": "tensor"}}},
        {"inputs": {"a": {}}},
        {"inputs": {"a": {"type": "integer", "min": "one"}}},
    ],
)
def test_unreadable_specification(spec: dict[str, object]) -> None:
    """A specification without inputs, or with one that cannot be read, is an error of its own."""
    with pytest.raises(UnexpectedAnswer):
        parse_inputs(spec)


def test_order_of_precedence() -> None:
    """The user wins over compute and data, these over the model, and the model over the pipeline."""
    everyone = {"learning_rate": 1e-3, "num_nodes_finetune": 3, "lora_r": 4}
    parameters = resolve(
        {"learning_rate": 1e-4},
        derived={"learning_rate": 1e-5, "num_nodes_finetune": 2},
        model=everyone,
    )
    assert (parameters["learning_rate"], parameters.origin("learning_rate")) == (1e-4, "user")
    assert (parameters["num_nodes_finetune"], parameters.origin("num_nodes_finetune")) == (
        2,
        "compute and data",
    )
    assert (parameters["lora_r"], parameters.origin("lora_r")) == (4, "model")
    assert (parameters["lora_alpha"], parameters.origin("lora_alpha")) == (128, "pipeline")


def test_falsy_user_value_wins() -> None:
    """False and 0 are values like any other."""
    parameters = resolve(
        {"apply_lora": False, "warmup_steps": 0}, model={"apply_lora": "true", "warmup_steps": 5}
    )
    assert parameters["apply_lora"] is False
    assert parameters["warmup_steps"] == 0


def test_values_have_python_types() -> None:
    """Texts of the model's tag become bools, ints and floats; what nobody gives is None."""
    parameters = resolve(model=PHI_4)
    assert parameters["apply_lora"] is True
    assert parameters["deepspeed_stage"] == 3
    assert parameters["learning_rate"] == 5e-6
    assert parameters["adam_epsilon"] == 1e-8
    assert parameters["huggingface_id"] is None
    assert list(parameters) == list(NEWEST)
    assert len(parameters) == 69


def test_sent_in_the_form_of_the_pipeline() -> None:
    """Flags and choices go as texts, numbers as numbers, paths as texts; pipeline defaults do not."""
    parameters = resolve(
        {"merge_lora_weights": False}, derived={"train_file_path": Path("train.jsonl")}, model=PHI_4
    )
    assert parameters.as_component_inputs() == {
        "train_file_path": "train.jsonl",
        "apply_lora": "true",
        "merge_lora_weights": "false",
        "learning_rate": 5e-6,
        "lr_scheduler_type": "cosine",
        "precision": "16",
        "apply_deepspeed": "true",
        "deepspeed_stage": "3",
        "apply_ort": "false",
    }


def test_every_model_of_the_catalogue_resolves() -> None:
    """No default of a catalogue model is refused, whatever form it comes in."""
    tags = [model.tags["model_specific_defaults"] for model in registry_models() if len(model.tags) > 1]
    defaults = [cast("dict[str, object]", _tags.parse_literal(tag)) for tag in tags if tag]
    assert len(defaults) > 10
    for model in defaults:
        parameters = resolve(model=model)
        limits = {"learning_rate_min", "learning_rate_max"} & model.keys()
        assert parameters.dropped == ()
        assert set(parameters.as_component_inputs()) == set(model) - limits


def test_model_range_is_kept_and_not_sent() -> None:
    """Limits in the model's tag are shown beside the value and go nowhere."""
    parameters = resolve(model={"learning_rate_min": "5e-7", "learning_rate_max": "5e-5"})
    row = next(row for row in parameters.rows if row.name == "learning_rate")
    assert row.allowed == "from 5e-07 up to 5e-05"
    assert parameters.as_component_inputs() == {}
    assert parameters.dropped == ()


@pytest.mark.parametrize("rate", [1e-7, 1e-3])
def test_outside_the_model_range(rate: float) -> None:
    """A user's value outside the model's own range is refused, naming the range."""
    with pytest.raises(InvalidParameter) as caught:
        resolve({"learning_rate": rate}, model={"learning_rate_min": "5e-7", "learning_rate_max": "5e-5"})
    assert caught.value.allowed == "from 5e-07 up to 5e-05 (the model's own range)"


def test_unknown_model_keys_are_dropped() -> None:
    """A key of the model that the pipeline lacks is listed, limits without a number included."""
    parameters = resolve(derived={"of_tomorrow": 1}, model={"lora_target": "q", "learning_rate_min": "small"})
    assert parameters.dropped == ("of_tomorrow", "lora_target", "learning_rate_min")


def test_unusable_model_default_is_left_to_the_pipeline() -> None:
    """A default that the pipeline would refuse is not sent, and a warning says so."""
    parameters = resolve(model={"precision": 8, "lora_r": "many"})
    assert parameters.as_component_inputs() == {}
    assert [warning.split("=")[0] for warning in parameters.warnings] == [
        "the model's own default is not used: lora_r",
        "the model's own default is not used: precision",
    ]


def test_unknown_user_key() -> None:
    """A misspelt name is refused with the name that was probably meant."""
    with pytest.raises(InvalidParameter) as caught:
        resolve({"learning_rat": 1e-5})
    assert caught.value.name == "learning_rat"
    assert caught.value.next_call == "with_parameters(learning_rate=...)"


def test_input_of_a_newer_version() -> None:
    """An input that the version in use lacks is refused, though a newer one has it."""
    assert resolve({"trust_remote_code": True})["trust_remote_code"] is True
    with pytest.raises(InvalidParameter, match="this version of the pipeline"):
        resolve({"trust_remote_code": True}, inputs=OLDER)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("num_train_epochs", 0, "from 1"),
        ("num_train_epochs", 1.5, "a whole number"),
        ("num_train_epochs", "2", "a whole number"),
        ("num_train_epochs", True, "a whole number"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", math.nan, "a finite number"),
        ("learning_rate", math.inf, "a finite number"),
        ("learning_rate", "5e-6", "a finite number"),
        ("learning_rate", True, "a finite number"),
        ("learning_rate", None, "a finite number"),
        ("adam_beta1", 1.0, "from 0 to below 1"),
        ("lora_dropout", 1, "from 0 to below 1"),
        ("lora_r", 0, "from 1"),
        ("max_steps", 0, "-1, or from 1"),
        ("max_seq_length", -2, "-1, or from 1"),
        ("seed", 2**32, "from 0 up to 4294967295"),
        ("evaluation_steps_interval", 1.5, "from 0 up to 1"),
        ("apply_lora", 1, "True or False"),
        ("apply_lora", "yes", "True or False"),
        ("deepspeed_stage", 4, "one of 2, 3"),
        ("precision", True, "one of 32, 16"),
        ("optim", "sgd", "one of 'adamw_torch', 'adafactor'"),
        ("task_name", "TextGeneration", "one of 'ChatCompletion'"),
        ("huggingface_id", " ", "a text that is not empty"),
        ("compute_finetune", "gpu'cluster", "a name without \\ and '"),
        ("shm_size_finetune", "5 gigabytes", "a number and one of b, k, m, g, such as '5g'"),
        ("deepspeed", 3, "a path or an address, as text or as an os.PathLike of text"),
        ("train_file_path", "it's.jsonl", "a path without '"),
    ],
)
def test_refused_values(name: str, value: object, allowed: str) -> None:
    """Type, choice, minimum and the training code's ranges are checked before anything is sent."""
    with pytest.raises(InvalidParameter) as caught:
        resolve({name: value})
    assert (caught.value.name, caught.value.allowed) == (name, allowed)
    assert name in str(caught.value)
    assert caught.value.next_call


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_steps", -1),
        ("max_seq_length", 4096),
        ("seed", 2**32 - 1),
        ("lora_dropout", 0),
        ("warmup_steps", 0),
        ("shm_size_finetune", "64G"),
        ("early_stopping_threshold", 0.0),
    ],
)
def test_values_at_the_edge(name: str, value: object) -> None:
    """The last value inside a range is taken."""
    assert resolve({name: value})[name] == value


def test_long_value_is_cut_in_the_error() -> None:
    """An error's text shows the beginning of a long value only."""
    with pytest.raises(InvalidParameter) as caught:
        resolve({"optim": "x" * 500})
    assert len(str(caught.value)) < 300


@given(st.floats(width=32) | st.integers(-5, 5) | st.booleans() | st.text(max_size=5) | st.none())
def test_accepted_numbers_are_in_range(value: object) -> None:
    """Whatever is given as dropout is refused, or is a finite number from 0 to below 1."""
    try:
        parameters = resolve({"lora_dropout": value}, model={"apply_lora": "true"})
    except InvalidParameter:
        return
    dropout = parameters["lora_dropout"]
    assert isinstance(dropout, float)
    assert 0 <= dropout < 1


def test_stage_3_excludes_onnx_runtime() -> None:
    """DeepSpeed stage 3, here the model's, cannot go with ONNX Runtime."""
    with pytest.raises(InvalidParameter, match="stage 3") as caught:
        resolve({"apply_ort": True}, model=PHI_4)
    assert caught.value.next_call == "with_parameters(apply_ort=False), or deepspeed_stage=2"
    assert resolve({"apply_ort": True, "deepspeed_stage": 2}, model=PHI_4)["apply_ort"] is True


def test_early_stopping_needs_evaluation() -> None:
    """Early stopping without any evaluation is refused."""
    with pytest.raises(InvalidParameter, match="apply_early_stopping"):
        resolve({"apply_early_stopping": True, "evaluation_strategy": "disable"})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train_file_path", "train_mltable_path"),
        ("mlflow_model_path", "huggingface_id"),
        ("mlflow_model_path", "pytorch_model_path"),
    ],
)
def test_rivals(first: str, second: str) -> None:
    """Two sources of the same thing are refused, the second one by name."""
    with pytest.raises(InvalidParameter) as caught:
        resolve({second: "b"}, derived={first: "a"})
    assert caught.value.name == second


@pytest.mark.parametrize(
    ("user", "warning"),
    [
        ({"evaluation_config": "e.json"}, "evaluation_config does nothing"),
        ({"compute_model_evaluation": "cluster"}, "compute_model_evaluation does nothing"),
        ({"lora_r": 16}, "lora_r does nothing: apply_lora is off"),
        ({"apply_lora": True}, "LoRA without DeepSpeed"),
        ({"precision": 16}, "precision=16 without DeepSpeed"),
        (
            {"apply_deepspeed": True, "deepspeed_stage": 3, "auto_find_batch_size": True},
            "auto_find_batch_size does nothing",
        ),
    ],
)
def test_warnings(user: dict[str, object], warning: str) -> None:
    """What would do nothing, or something else than asked, is said in one warning."""
    (text,) = resolve(user).warnings
    assert text.startswith(warning)


def test_no_warning_about_what_nobody_chose() -> None:
    """A model's own settings, and what compute and data imply, are no reason for a warning."""
    quiet = {"compute_model_evaluation": "cluster", "instance_type_model_evaluation": "Standard_DS3_v2"}
    assert resolve(derived={**quiet, "test_file_path": "t.jsonl"}, model=PHI_4).warnings == ()


def test_total_batch_size() -> None:
    """The rows of one step are per device x accumulation x GPUs x machines."""
    parameters = resolve(
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
        derived={"number_of_gpu_to_use_finetuning": 4, "num_nodes_finetune": 5},
    )
    assert parameters.total_batch_size() == 120
    assert parameters.total_batch_size(gpus=1, nodes=2) == 12


def test_explain() -> None:
    """The table for people has a line for each value, with its origin and the model's range."""
    lines = resolve({"learning_rate": 1e-6}, model={"learning_rate_max": 1e-5}).explain().splitlines()
    shown = {line.split()[0]: line for line in lines}
    assert shown["learning_rate"].split(maxsplit=2)[1:] == ["1e-06", "user (up to 1e-05)"]
    assert shown["lora_r"].split() == ["lora_r", "8", "pipeline"]
    assert "huggingface_id" not in shown


def test_a_value_like_any_other() -> None:
    """Parameters are equal when their values are, can be hashed, and survive pickling."""
    parameters = resolve({"seed": 7}, model=PHI_4)
    assert parameters == resolve({"seed": 7}, model=PHI_4)
    assert parameters != resolve({"seed": 8}, model=PHI_4)
    assert pickle.loads(pickle.dumps(parameters)) == parameters
    assert hash(parameters) == hash(resolve({"seed": 7}, model=PHI_4))


def test_unknown_name() -> None:
    """Asking for a name that the pipeline lacks is a KeyError, and get gives its default."""
    parameters: Mapping[str, Any] = resolve()
    with pytest.raises(KeyError):
        parameters["nothing"]
    assert parameters.get("nothing", 5) == 5


def test_a_default_the_input_would_not_take() -> None:
    """A future default outside of what is known here is shown as text and stops nothing."""
    spec = {"inputs": {"logging_steps": {"type": "integer", "default": "0", "optional": "True"}}}
    assert resolve(inputs=parse_inputs(spec))["logging_steps"] == "0"
