"""The files that a simulated fine-tune leaves behind."""

from __future__ import annotations

import json
from collections.abc import Mapping

from phi_finetune.emulator.runners.runner import JobInputs

__all__ = ["find_model", "mlflow_folder", "pytorch_folder"]

_FILE = "simulated_model.bin"
_NOTE = (
    "A simulated model: an n-gram model that the emulator of phi-finetune fitted. It holds no weights of Phi."
)


def mlflow_folder(job: JobInputs, model: bytes) -> dict[str, bytes]:
    """The ``mlflow_model_folder`` output: an MLmodel file, and the model below ``data/model``."""
    # JSON texts are YAML texts too, so no name can break out of its place.
    lines = [
        "artifact_path: mlflow_model_folder",
        "flavors:",
        "  phi_finetune_simulated:",
        f"    model: data/model/{_FILE}",
        "    task_type: chat-completion",
        "metadata:",
        "  simulated: true",
        f"  note: {json.dumps(_NOTE)}",
        f"  base_model_asset_id: {json.dumps(job.model_id)}",
        "  base_model_task: chat-completion",
        "  is_finetuned_model: true",
        f"run_id: {json.dumps(job.name)}",
    ]
    return {
        "MLmodel": ("\n".join(lines) + "\n").encode(),
        f"data/model/{_FILE}": model,
        "data/config/config.json": json.dumps({"model_type": "simulated", "note": _NOTE}).encode(),
    }


def pytorch_folder(job: JobInputs, model: bytes) -> dict[str, bytes]:
    """The ``pytorch_model_folder`` output."""
    config = {"model_type": "simulated", "note": _NOTE, "_name_or_path": job.model_id}
    return {_FILE: model, "config.json": json.dumps(config).encode()}


def find_model(files: Mapping[str, bytes]) -> bytes:
    """The model among the files of a model asset, wherever its folder begins.

    Raises:
        ValueError: There is none: the files were not made by a simulated job.
    """
    for path, data in files.items():
        if path.rpartition("/")[2] == _FILE:
            return data
    raise ValueError("the model was not made by a simulated job, and the simulated runner can use no other")
