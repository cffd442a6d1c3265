"""Checks of parameters before anything is sent: one value at a time, then values against each other."""

from __future__ import annotations

import math
import numbers
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from phi_finetune._component_inputs import ComponentInput, Kind
from phi_finetune._parameters_table import GATES, INERT, RANGES, Range
from phi_finetune.errors import InvalidParameter

__all__ = [
    "Value",
    "check_range",
    "check_together",
    "from_default",
    "from_text",
    "from_user",
    "refusal",
    "warnings_about",
]

Value: TypeAlias = bool | int | float | str
"""A parameter's value, as Python has it."""

_MEMORY: Final = re.compile(r"\A[1-9][0-9]*[bkmg]\Z", re.IGNORECASE)
_SHOWN: Final = 60


def from_user(declared: ComponentInput, value: object) -> Value:
    """The value that a caller gave, checked against what the component declares and the training code takes.

    Raises:
        InvalidParameter: It is of another type, none of the choices, or out of range.
    """
    return _checked(declared, _READERS[declared.kind](declared, value))


def from_text(declared: ComponentInput, value: object) -> Value:
    """The value that a model's tag gives, where a number may be written as text.

    Raises:
        InvalidParameter: It does not stand for a value that the input takes.
    """
    if isinstance(value, str) and declared.kind in ("integer", "number"):
        value = _number_in(declared, value)
    return from_user(declared, value)


def from_default(declared: ComponentInput) -> Value | None:
    """The component's own default; as text if the input itself would not take it, as it is never sent."""
    if declared.default is None:
        return None
    try:
        return from_text(declared, declared.default)
    except InvalidParameter:
        return declared.default


def check_range(name: str, value: Value, limits: Range, whose: str) -> None:
    """Refuses a number outside of limits.

    Raises:
        InvalidParameter: It is outside.
    """
    if not isinstance(value, str) and not limits.holds(value):
        raise refusal(name, value, f"{limits}{whose}")


def refusal(name: str, value: object, allowed: str, next_call: str | None = None) -> InvalidParameter:
    """The error for a parameter, its value cut short."""
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return InvalidParameter(
        f"{name}={shown} is not allowed",
        name=name,
        value=value,
        allowed=allowed,
        resource=f"parameter {name}",
        why=f"it takes {allowed}",
        next_call=next_call or f"with_parameters({name}=...) with a value that it takes",
    )


def check_together(values: Mapping[str, Value | None]) -> None:
    """Refuses values that the training code rejects together (azureml-acft-contrib-hf-nlp 0.0.91).

    Raises:
        InvalidParameter: Two of them exclude each other.
    """
    if _uses_stage_3(values) and values.get("apply_ort"):
        allowed = "False with DeepSpeed stage 3, which cannot train with ONNX Runtime"
        raise refusal("apply_ort", True, allowed, "with_parameters(apply_ort=False), or deepspeed_stage=2")
    if values.get("apply_early_stopping") and values.get("evaluation_strategy") == "disable":
        allowed = "False while evaluation_strategy is 'disable': it needs an evaluation to go by"
        raise refusal("apply_early_stopping", True, allowed, "with_parameters(evaluation_strategy='epoch')")
    for rivals in _RIVALS:
        given = [name for name in rivals if values.get(name) is not None]
        if len(given) > 1:
            allowed = f"a value only where {given[0]} has none"
            raise refusal(given[1], values[given[1]], allowed, f"leave out {given[0]} or {given[1]}")


def warnings_about(
    values: Mapping[str, Value | None], chosen: frozenset[str], *, on_azure: bool
) -> Iterator[str]:
    """What the training code would do other than asked, or not at all.

    Args:
        values: All values.
        chosen: The names whose values the user gave.
        on_azure: Whether it is Azure's; that of this machine says itself what it does.
    """
    for name in sorted(chosen & GATES.keys()):
        if not values.get(GATES[name]):
            yield f"{name} does nothing: {GATES[name]} is off"
    if on_azure:
        yield from _warnings_about_azure(values, chosen)


def _warnings_about_azure(values: Mapping[str, Value | None], chosen: frozenset[str]) -> Iterator[str]:
    for name in sorted(chosen & INERT):
        yield f"{name} does nothing: the pipeline has no evaluation step"
    if _uses_stage_3(values) and values.get("auto_find_batch_size"):
        yield "auto_find_batch_size does nothing: the training code turns it off with DeepSpeed stage 3"
    if values.get("apply_deepspeed"):
        return
    if values.get("apply_lora"):
        yield "LoRA without DeepSpeed trains without gradient checkpointing, and takes more GPU memory"
    if values.get("precision") == 16:
        yield "precision=16 without DeepSpeed has failed in training (Azure/azureml-assets, issue 1758)"


def _uses_stage_3(values: Mapping[str, Value | None]) -> bool:
    return bool(values.get("apply_deepspeed")) and values.get("deepspeed_stage") == 3


_RIVALS: Final = (
    ("mlflow_model_path", "pytorch_model_path", "huggingface_id"),
    ("train_file_path", "train_mltable_path"),
    ("validation_file_path", "validation_mltable_path"),
    ("test_file_path", "test_mltable_path"),
)


def _checked(declared: ComponentInput, value: Value) -> Value:
    if isinstance(value, bool) or declared.kind not in ("integer", "number"):
        return value
    low = -math.inf if declared.minimum is None else declared.minimum
    high = math.inf if declared.maximum is None else declared.maximum
    check_range(declared.name, value, Range(low, high), "")
    if declared.name in RANGES:
        check_range(declared.name, value, RANGES[declared.name], "")
    return value


def _flag(declared: ComponentInput, value: object) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise refusal(declared.name, value, "True or False")


def _choice(declared: ComponentInput, value: object) -> Value:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if text not in declared.choices:
        allowed = ", ".join(repr(_as_number(choice)) for choice in declared.choices)
        raise refusal(declared.name, value, f"one of {allowed}")
    return _as_number(text)


def _as_number(choice: str) -> int | str:
    return int(choice) if choice.isdecimal() else choice


def _integer(declared: ComponentInput, value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise refusal(declared.name, value, "a whole number")
    return int(value)


def _number(declared: ComponentInput, value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise refusal(declared.name, value, "a finite number")
    return float(value)


def _text(declared: ComponentInput, value: object) -> Value:
    if not isinstance(value, str) or not value.strip():
        raise refusal(declared.name, value, "a text that is not empty")
    if declared.name.startswith(("compute_", "instance_type_")) and ("\\" in value or "'" in value):
        raise refusal(declared.name, value, "a name without \\ and '")
    if declared.name == "shm_size_finetune" and not _MEMORY.match(value):
        raise refusal(declared.name, value, "a number and one of b, k, m, g, such as '5g'")
    return value


def _file(declared: ComponentInput, value: object) -> Value:
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path.strip():
        raise refusal(declared.name, value, "a path or an address, as text or as an os.PathLike of text")
    if "'" in path:
        raise refusal(declared.name, value, "a path without '")
    return path


def _number_in(declared: ComponentInput, text: str) -> int | float:
    try:
        return int(text) if declared.kind == "integer" else float(text)
    except ValueError:
        kind = "whole number" if declared.kind == "integer" else "number"
        raise refusal(declared.name, text, f"a {kind}") from None


_READERS: Final[dict[Kind, Callable[[ComponentInput, object], Value]]] = {
    "flag": _flag,
    "choice": _choice,
    "integer": _integer,
    "number": _number,
    "text": _text,
    "file": _file,
}
