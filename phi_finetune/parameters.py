"""The parameters of a fine-tune: every input of the pipeline as a checked value that knows its origin."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias

import attrs

from phi_finetune._component_inputs import ComponentInput, parse_inputs
from phi_finetune._parameters_checks import (
    Value,
    check_range,
    check_together,
    from_default,
    from_text,
    from_user,
    warnings_about,
)
from phi_finetune._parameters_table import FilePath, ParameterValues, Range
from phi_finetune.errors import InvalidParameter

__all__ = [
    "ComponentInput",
    "FilePath",
    "FinetuneParameters",
    "Origin",
    "Parameter",
    "ParameterValues",
    "Value",
    "parse_inputs",
]

Origin: TypeAlias = Literal["user", "compute and data", "model", "pipeline"]
"""Who gave a value. The first of them that gave one wins."""

_NUMBER: Final = re.compile(r"\A[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?\Z")


@attrs.frozen
class Parameter:
    """One parameter with its value.

    Attributes:
        name: The name, which is that of the pipeline's input.
        value: The value; None where nobody gives one.
        origin: Who gave it.
        allowed: The range that the model sets for it, in words; None if it sets none.
        sent: The value in the pipeline's own form; None where the value is not sent.
    """

    name: str
    value: Value | None
    origin: Origin
    allowed: str | None
    sent: str | int | float | None


@attrs.frozen
class FinetuneParameters(Mapping[str, Value | None]):
    """Every input of one version of the pipeline, with its value: ``parameters["learning_rate"]``.

    A value comes from the user, else from what compute and data imply, else from the model, else from the
    pipeline. Flags are bools, numbers are numbers, ``precision`` and ``deepspeed_stage`` are ints, files are
    texts; an input that nobody gives a value is None.

    Attributes:
        rows: The parameters, in the pipeline's order.
        dropped: Keys of the model or of compute and data that this version of the pipeline does not take.
        warnings: What the training code would do other than asked, or not at all; sentences.
    """

    rows: tuple[Parameter, ...]
    dropped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def resolve(
        cls,
        *,
        user: ParameterValues,
        derived: Mapping[str, object],
        model_defaults: Mapping[str, object],
        component_inputs: Mapping[str, ComponentInput],
        on_azure: bool = True,
    ) -> FinetuneParameters:
        """Decides every value, and checks it.

        Args:
            user: What the user wrote.
            derived: What compute and data imply: GPU and machine counts, computes, file paths.
            model_defaults: The model's own defaults. A key ``x_min`` or ``x_max`` beside an input ``x`` is a
                limit for ``x`` and is never sent.
            component_inputs: What the version of the pipeline in use declares (:func:`parse_inputs`).
            on_azure: Whether Azure's training code will train, whose peculiarities are then warned of.

        Raises:
            InvalidParameter: A value of the user, or one that compute and data imply, is of another type than
                the input, none of its choices, outside its range or the model's own, or cannot go with
                another; or the user named an input that this version of the pipeline lacks.
        """
        _refuse_unknown(user, component_inputs)
        limits = _model_limits(model_defaults, component_inputs)
        from_model, unreadable = _model_values(model_defaults, component_inputs)
        sources: tuple[tuple[Origin, Mapping[str, object]], ...] = (
            ("user", user),
            ("compute and data", derived),
            ("model", from_model),
        )
        rows = tuple(_row(declared, sources, limits.get(name)) for name, declared in component_inputs.items())
        values = {row.name: row.value for row in rows}
        check_together(values)
        warnings = (*unreadable, *warnings_about(values, _chosen(rows), on_azure=on_azure))
        return cls(rows, _dropped({**derived, **model_defaults}, component_inputs), warnings)

    def __getitem__(self, name: str) -> Value | None:
        return self._row(name).value

    def __iter__(self) -> Iterator[str]:
        return (row.name for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def origin(self, name: str) -> Origin:
        """Who gave the value of a parameter; ``"pipeline"`` also where nobody did.

        Raises:
            KeyError: This version of the pipeline has no such input.
        """
        return self._row(name).origin

    def as_component_inputs(self) -> dict[str, str | int | float]:
        """The values to send, in the pipeline's own form: flags and choices as texts, numbers as numbers.

        The pipeline's own defaults are left out: the service adds them.
        """
        return {row.name: row.sent for row in self.rows if row.sent is not None}

    def total_batch_size(self, gpus: int | None = None, nodes: int | None = None) -> int:
        """Rows in one step of the optimiser: per device x accumulation x GPUs x machines.

        Args:
            gpus: GPUs in each machine. Default: ``number_of_gpu_to_use_finetuning``.
            nodes: Machines. Default: ``num_nodes_finetune``.
        """
        factors = (
            self._count("per_device_train_batch_size"),
            self._count("gradient_accumulation_steps"),
            self._count("number_of_gpu_to_use_finetuning") if gpus is None else gpus,
            self._count("num_nodes_finetune") if nodes is None else nodes,
        )
        return math.prod(factors)

    def explain(self) -> str:
        """A table for people: name, value, origin and the model's range of each parameter with a value."""
        shown = [row for row in self.rows if row.value is not None]
        width = max((len(row.name) for row in shown), default=0)
        texts = [str(row.value) for row in shown]
        value_width = max(map(len, texts), default=0)
        lines = [
            f"{row.name:{width}}  {text:{value_width}}  {row.origin}"
            + (f" ({row.allowed})" if row.allowed else "")
            for row, text in zip(shown, texts, strict=True)
        ]
        return "\n".join(lines)

    def _row(self, name: str) -> Parameter:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def _count(self, name: str) -> int:
        value = self.get(name)
        return value if isinstance(value, int) else 1


def _refuse_unknown(user: ParameterValues, declared: Mapping[str, ComponentInput]) -> None:
    for name, value in user.items():
        if name in declared:
            continue
        import difflib  # only a mistake needs it, and it is slow to import

        close = difflib.get_close_matches(name, declared, n=1)
        raise InvalidParameter(
            f"{name} is not an input of this version of the pipeline",
            name=name,
            value=value,
            allowed="one of the pipeline's inputs",
            resource=f"parameter {name}",
            next_call=f"with_parameters({close[0]}=...)" if close else f"leave out {name}",
        )


def _limited(key: str, value: object, declared: Mapping[str, ComponentInput]) -> str | None:
    """The input that a model's key limits, such as ``learning_rate`` for ``learning_rate_min``."""
    name, _, side = key.rpartition("_")
    if side not in ("min", "max") or key in declared or name not in declared:
        return None
    numeric = declared[name].kind in ("integer", "number")
    return name if numeric and _NUMBER.match(str(value)) else None


def _dropped(given: Mapping[str, object], declared: Mapping[str, ComponentInput]) -> tuple[str, ...]:
    unknown = ((key, value) for key, value in given.items() if key not in declared)
    return tuple(key for key, value in unknown if _limited(key, value, declared) is None)


def _model_limits(defaults: Mapping[str, object], declared: Mapping[str, ComponentInput]) -> dict[str, Range]:
    limits: dict[str, Range] = {}
    for key, value in defaults.items():
        name = _limited(key, value, declared)
        if name is None:
            continue
        known, number = limits.get(name, Range(-math.inf)), float(str(value))
        low, high = (number, known.high) if key.endswith("_min") else (known.low, number)
        limits[name] = Range(low, high)
    return limits


def _model_values(
    defaults: Mapping[str, object], declared: Mapping[str, ComponentInput]
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """The model's defaults that the pipeline takes, and a warning for each that it does not."""
    values: dict[str, Value] = {}
    warnings: list[str] = []
    for name in declared.keys() & defaults.keys():
        try:
            values[name] = from_text(declared[name], defaults[name])
        except InvalidParameter as error:
            warnings.append(f"the model's own default is not used: {error.what}, {error.why}")
    return values, tuple(sorted(warnings))


def _row(
    declared: ComponentInput, sources: tuple[tuple[Origin, Mapping[str, object]], ...], limits: Range | None
) -> Parameter:
    allowed = str(limits) if limits is not None else None
    for origin, values in sources:
        if declared.name not in values:
            continue
        value = from_user(declared, values[declared.name])
        if limits is not None and origin != "model":
            check_range(declared.name, value, limits, " (the model's own range)")
        return Parameter(declared.name, value, origin, allowed, _sent(declared, value))
    return Parameter(declared.name, from_default(declared), "pipeline", allowed, None)


def _sent(declared: ComponentInput, value: Value) -> str | int | float:
    if declared.kind == "flag":
        return "true" if value else "false"
    return str(value) if declared.kind == "choice" else value


def _chosen(rows: tuple[Parameter, ...]) -> frozenset[str]:
    """What the user gave: of the rest nobody needs to be told that it does nothing."""
    return frozenset(row.name for row in rows if row.origin == "user")
