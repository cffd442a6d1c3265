"""The filter and order of a search (MLflow's page "Search Runs"): comparisons joined by AND."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.mlflow.runs import TrackedRun

__all__ = ["matches", "ordered"]

_FIELD = r"(?:(?P<kind>\w+)\.)?(?P<key>`[^`]+`|\"[^\"]+\"|[\w.\-/]+)"
_VALUE = r"'[^']*'|\"[^\"]*\"|[-+.\w]+"
_COMPARISON = re.compile(
    rf"\s*{_FIELD}\s*(?P<how>=|!=|<=|>=|<|>|\bI?LIKE\b)\s*(?P<value>{_VALUE})\s*(?:AND\b|$)", re.IGNORECASE
)
_ORDER = re.compile(rf"\s*{_FIELD}(?:\s+(?P<direction>ASC|DESC))?\s*", re.IGNORECASE)
_KINDS = {
    "tag": "tags",
    "tags": "tags",
    "param": "params",
    "params": "params",
    "parameters": "params",
    "metric": "metrics",
    "metrics": "metrics",
    "attribute": "attributes",
    "attributes": "attributes",
    "attr": "attributes",
    "run": "attributes",
}
_HOW: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "LIKE": lambda text, pattern: fnmatchcase(str(text), pattern.replace("%", "*")),
    "ILIKE": lambda text, pattern: fnmatchcase(str(text).lower(), pattern.lower().replace("%", "*")),
}


def matches(run: TrackedRun, text: str) -> bool:
    """Whether a run meets a filter. A run that lacks what is compared does not.

    Raises:
        ServiceError: 400 for a filter of another form.
    """
    position = 0
    while text[position:].strip():
        found = _COMPARISON.match(text, position)
        if found is None:
            raise _invalid(f"Invalid clause(s) in filter string: {text[position:]!r}")
        position = found.end()
        if not _holds(run, found):
            return False
    return True


def ordered(runs: Sequence[TrackedRun], order_by: Sequence[str]) -> list[TrackedRun]:
    """The runs in the order asked for, else the last started first; those that lack the field come last.

    Raises:
        ServiceError: 400 for an order of another form.
    """
    result = list(runs)
    for clause in reversed([*order_by, "attributes.start_time DESC"]):
        found = _ORDER.fullmatch(clause)
        if found is None:
            raise _invalid(f"Invalid order_by clause: {clause!r}")
        kind, key = _field(found)
        have = [run for run in result if _value(run, kind, key) is not None]
        lack = [run for run in result if _value(run, kind, key) is None]
        descending = (found["direction"] or "").upper() == "DESC"
        have.sort(key=lambda run: _value(run, kind, key), reverse=descending)
        result = have + lack
    return result


def _holds(run: TrackedRun, found: re.Match[str]) -> bool:
    kind, key = _field(found)
    wanted: str | float = found["value"].strip("'\"")
    have = _value(run, kind, key)
    if have is None:
        return False
    if not isinstance(have, str):
        try:
            wanted = float(wanted)
        except ValueError:
            raise _invalid(f"{kind}.{key} is compared with a number, not with {wanted!r}") from None
    return _HOW[found["how"].upper()](have, wanted)


def _field(found: re.Match[str]) -> tuple[str, str]:
    kind, key = (found["kind"] or "attributes").lower(), found["key"].strip('`"')
    if kind not in _KINDS:
        raise _invalid(
            f"Invalid entity type {kind!r}: it must be one of {', '.join(sorted(set(_KINDS.values())))}"
        )
    return _KINDS[kind], key


def _value(run: TrackedRun, kind: str, key: str) -> Any:
    if kind == "metrics":
        metric = run.latest.get(key)
        return None if metric is None else metric.value
    if kind == "attributes":
        attributes = run.attributes()
        if key not in attributes:
            raise _invalid(f"Invalid attribute key {key!r}: it must be one of {', '.join(attributes)}")
        return attributes[key]
    return (run.tags if kind == "tags" else run.run.params).get(key)


def _invalid(message: str) -> ServiceError:
    return ServiceError(400, "INVALID_PARAMETER_VALUE", message)
