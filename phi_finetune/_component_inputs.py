"""The inputs that a version of a pipeline component declares, read from the registry's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast

import attrs

from phi_finetune.errors import UnexpectedAnswer

__all__ = ["ComponentInput", "Kind", "parse_inputs"]

Kind: TypeAlias = Literal["flag", "choice", "integer", "number", "text", "file"]
"""What an input takes. A flag is the text ``"true"`` or ``"false"``; a choice is one of several texts."""

_FLAG: Final = frozenset({"true", "false"})
_KINDS: Final[dict[str, Kind]] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "uri_file": "file",
    "uri_folder": "file",
    "mltable": "file",
    "mlflow_model": "file",
    "custom_model": "file",
}


@attrs.frozen
class ComponentInput:
    """One input, as the component declares it.

    Attributes:
        name: The input's name.
        type: Azure's word for its type, such as ``"integer"`` or ``"uri_file"``.
        kind: What it takes.
        optional: Whether a job may leave it out.
        default: The value that the component uses when a job leaves it out, in the component's own form, as
            text; None if it has none.
        minimum: The least number it takes; None if the component sets no limit.
        maximum: The greatest number it takes; None if the component sets no limit.
        choices: The texts it takes, for a flag or a choice; empty otherwise.
    """

    name: str
    type: str
    kind: Kind
    optional: bool
    default: str | None
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]


def parse_inputs(component_spec: Mapping[str, object]) -> Mapping[str, ComponentInput]:
    """The inputs of a component by name, in the order of its specification.

    Args:
        component_spec: ``properties.componentSpec`` of the registry's answer. Numbers and booleans may be
            native or texts; the service sends texts.

    Raises:
        UnexpectedAnswer: The specification has no inputs, or one of them cannot be read.
    """
    declared = component_spec.get("inputs")
    if not isinstance(declared, Mapping) or not declared:
        raise UnexpectedAnswer("The pipeline component's specification has no inputs")
    return {str(name): _parse(str(name), spec) for name, spec in declared.items()}


def _parse(name: str, spec: object) -> ComponentInput:
    if not isinstance(spec, Mapping):
        raise _unreadable(name, "it is not an object")
    declared_type = str(spec.get("type", "")).lower()
    choices = _choices(spec.get("enum"))
    kind = _KINDS.get(declared_type)
    if kind is None:
        raise _unreadable(name, f"it has the type {declared_type!r}")
    return ComponentInput(
        name=name,
        type=declared_type,
        kind=_kind_of_choices(choices) if choices else kind,
        optional=str(spec.get("optional", False)).lower() == "true",
        default=_text(spec.get("default")),
        minimum=_limit(name, spec.get("min")),
        maximum=_limit(name, spec.get("max")),
        choices=choices,
    )


def _kind_of_choices(choices: tuple[str, ...]) -> Kind:
    return "flag" if {choice.lower() for choice in choices} == _FLAG else "choice"


def _choices(declared: object) -> tuple[str, ...]:
    if not isinstance(declared, list | tuple):
        return ()
    return tuple(text for value in cast("list[object]", declared) if (text := _text(value)) is not None)


def _limit(name: str, value: object) -> float | None:
    if value is None:
        return None
    try:
        return float(str(value))
    except ValueError:
        raise _unreadable(name, "its limit is not a number") from None


def _text(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unreadable(name: str, why: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"The pipeline component's input {name} cannot be read", why=why)
