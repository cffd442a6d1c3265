"""Which model to use in place of one that is retired."""

from __future__ import annotations

from functools import cache

import attrs

from phi_finetune.catalog import _rows
from phi_finetune.catalog._rows import Source

__all__ = ["Successor", "find"]


@attrs.frozen
class Successor:
    """What follows a model.

    Attributes:
        model: The model that is, or will be, retired.
        fine_tuning: The model to fine-tune in its place.
        inference: The model suggested for use as it is; None if no suggestion is known.
        fine_tuning_source: Where the first comes from.
        inference_source: Where the second comes from; None without a suggestion.
    """

    model: str
    fine_tuning: str
    inference: str | None
    fine_tuning_source: Source | None
    inference_source: Source | None


def find(model: str) -> Successor | None:
    """What follows a model, its name in any case; None if nothing is known.

    Args:
        model: The model's name, such as ``"Phi-3-mini-4k-instruct"``.
    """
    return _by_model().get(model.strip().lower())


@cache
def _by_model() -> dict[str, Successor]:
    return {
        row["model"].lower(): Successor(
            model=row["model"],
            fine_tuning=row["fine_tuning"],
            inference=row["inference"] or None,
            fine_tuning_source=_rows.source(row["fine_tuning_source"]),
            inference_source=_rows.source(row["inference_source"]),
        )
        for row in _rows.read("successors.csv")
    }
