"""Fine-tuning jobs: what ``create_finetuning_job`` asks for, as an input of the fine-tuning pipeline (wire.md 11).

That the service runs a job for a model of one's own compute as the registry's pipeline of the task is assumed:
its steps are shown in the studio as that pipeline's are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.store import DEFAULT_VERSION
from phi_finetune.emulator.catalogue import CatalogueComponent
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.jobs.bindings import Location, Source, Value
from phi_finetune.emulator.jobs.command import SERVERLESS, compute_name
from phi_finetune.emulator.jobs.spec import invalid, missing

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["NODE", "OUTPUT", "read"]

NODE = "finetune"
OUTPUT = "registered_model"
"""The output of such a job, which is registered as a model when the job has completed."""

_TASK = "chatcompletion"
_PIPELINE = f"azureml://registries/azureml/components/chat_completion_pipeline/versions/{DEFAULT_VERSION}"
_COMPUTES = ("compute_model_import", "compute_preprocess", "compute_finetune", "compute_model_evaluation")
_SIZES = ("instance_type_model_import", "instance_type_preprocess", "instance_type_finetune")
_FILES = {"trainingData": "train_file_path", "validationData": "validation_file_path"}


def read(
    cloud: Cloud, properties: Mapping[str, Any]
) -> tuple[CatalogueComponent, dict[str, Source], dict[str, str]]:
    """The pipeline that a job runs, its inputs, and the job's output that each of its outputs is.

    Raises:
        ServiceError: 400, where something is missing; 501 for another task than chat completion, or for a model
            of another provider, as those of Azure OpenAI are.
    """
    details = properties.get("fineTuningDetails")
    if not isinstance(details, dict):
        raise missing("fineTuningDetails")
    if details.get("modelProvider") != "Custom" or str(details.get("taskType")).lower() != _TASK:
        what = f"{details.get('modelProvider')} models for {details.get('taskType')}"
        raise ServiceError(
            501, "NotImplemented", f"The emulator fine-tunes Custom models for chatCompletion, and no {what}."
        )
    if not (details.get("model") or {}).get("uri"):
        raise missing("fineTuningDetails.model")
    if not (details.get("trainingData") or {}).get("uri"):
        raise missing("fineTuningDetails.trainingData")
    if not (properties.get("outputs") or {}).get(OUTPUT, {}).get("assetName"):
        raise invalid(f"Output '{OUTPUT}' needs the name of the model to register.", "ArgumentInvalid")
    component = cloud.registries.component(_PIPELINE)
    return component, _inputs(properties, details), {"mlflow_model_folder": OUTPUT}


def _inputs(properties: Mapping[str, Any], details: Mapping[str, Any]) -> dict[str, Source]:
    inputs: dict[str, Source] = {"mlflow_model_path": Location(str(details["model"]["uri"]))}
    for key, name in _FILES.items():
        if details.get(key):
            inputs[name] = Location(str(details[key]["uri"]))
    compute = compute_name(properties.get("computeId") or SERVERLESS)
    inputs.update({name: Value(compute) for name in _COMPUTES})
    sizes = (properties.get("resources") or {}).get("instanceTypes") or []
    if sizes:
        inputs.update({name: Value(str(sizes[0])) for name in _SIZES})
    given = details.get("hyperParameters") or {}
    return {**inputs, **{name: Value(str(value)) for name, value in given.items()}}
