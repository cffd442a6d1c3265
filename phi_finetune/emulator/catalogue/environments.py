"""A few curated environments of the ``azureml`` registry."""

from __future__ import annotations

from dataclasses import dataclass

from phi_finetune.emulator.catalogue._data import load

__all__ = ["CatalogueEnvironment", "curated_environments"]


@dataclass(frozen=True)
class CatalogueEnvironment:
    """One version of a curated environment; ``created_order`` counts them from the oldest."""

    name: str
    version: str
    image: str
    description: str
    created_order: int


def curated_environments() -> list[CatalogueEnvironment]:
    """The environments, in no order that means anything; which versions there are is assumed."""
    rows = load("environments.json")["environments"]
    return [CatalogueEnvironment(**row, created_order=order) for order, row in enumerate(rows)]
