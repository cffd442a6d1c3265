"""The Phi models of the public registries, each in a form that it was published in.

A model's facts moved over the years: into tags and properties (2024), into both these and system metadata
(June 2026), into system metadata alone (July 2026). That a published version keeps its form is assumed; all
three are met.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from phi_finetune.emulator.catalogue._data import load

__all__ = ["CatalogueModel", "Generation", "registry_models"]

Generation: TypeAlias = Literal["tags", "both", "system"]
"""Where a version holds its facts: in tags and properties, in system metadata too, or in that alone."""


@dataclass(frozen=True)
class CatalogueModel:
    """One version of a registry's model.

    ``tags`` and ``properties`` are as they go on the wire: every value is a text, and a list or a dictionary
    is a Python literal (wire.md 3). ``system_metadata`` holds JSON values of all types; a client of
    azure-ai-ml sends it as ``properties.system_metadata`` and, in 1.35.2, reads it from no answer.
    ``created_order`` counts the versions of all models in the order in which they were made, the oldest
    first.
    """

    name: str
    version: str
    archived: bool
    generation: Generation
    tags: dict[str, str]
    properties: dict[str, str]
    system_metadata: dict[str, Any]
    created_order: int
    model_type: str = "mlflow_model"
    registries: tuple[str, ...] = ("azureml", "azureml-phi")


def registry_models(generation: Generation | None = None) -> list[CatalogueModel]:
    """Every version of every model, the oldest first.

    Args:
        generation: The form to give where a version was published in several; a version that lacks it keeps
            its own. None: archived versions as they stood when they were archived (June 2026), live ones as
            of July 2026, superseded ones as of 2024.
    """
    rows = load("models.json")["models"]
    return [_model(row, generation, order) for order, row in enumerate(rows)]


def _model(row: dict[str, Any], generation: Generation | None, order: int) -> CatalogueModel:
    forms = row["forms"]
    chosen: Generation = row["served"] if generation is None or generation not in forms else generation
    form = forms[chosen]
    return CatalogueModel(
        name=row["name"],
        version=row["version"],
        archived=row["archived"],
        generation=chosen,
        tags={key: str(value) for key, value in form["tags"].items()},
        properties={key: str(value) for key, value in form["properties"].items()},
        system_metadata=copy.deepcopy(_system_metadata(forms, form)),
        created_order=order,
    )


def _system_metadata(forms: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    if "system_metadata_also" in form:
        return {**forms["both"]["system_metadata"], **form["system_metadata_also"]}
    return {**form["system_metadata"]}
