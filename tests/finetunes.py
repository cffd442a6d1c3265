"""A fine-tune of a known length and outcome, for tests of what comes before and after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from asking import Answer, ask

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.runners.runner import JobInputs, Reply, Run, Step

__all__ = ["MODEL", "Trainer", "submit"]

MODEL: Mapping[str, bytes] = {"MLmodel": b"flavors: {}\n", "data/weights.bin": b"0123456789"}
"""The files of the model that a :class:`Trainer` makes."""


class Trainer:
    """A runner whose every step takes an hour, and whose model is :data:`MODEL`."""

    def run(self, job: JobInputs) -> Run:
        return Run([Step(name, timedelta(hours=1)) for name in job.steps], {"mlflow_model_folder": MODEL})

    def reply(self, model: Mapping[str, bytes], body: Any) -> Reply:
        return Reply(200, sorted(model))


def submit(cloud: Cloud, name: str, *, compute: str = "serverless") -> Answer:
    """Submit a fine-tune of Phi-4 on two conversations, whose model is the job's output ``trained_model``."""
    path = "data/train.jsonl"
    cloud.storage.put(path, "".join(f"{json.dumps(row)}\n" for row in _ROWS).encode())
    computes = ("compute_model_import", "compute_preprocess", "compute_finetune", "compute_model_evaluation")
    inputs = {
        "mlflow_model_path": _uri("azureml://registries/azureml/models/Phi-4/versions/8", "mlflow_model"),
        "train_file_path": _uri(f"azureml://datastores/workspaceblobstore/paths/{path}", "uri_file"),
        "number_of_gpu_to_use_finetuning": _literal("1"),
        **{each: _literal(compute) for each in computes},
    }
    node = {
        "name": "finetune",
        "type": "pipeline",
        "componentId": "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82",
        "inputs": inputs,
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}", "type": "literal"}},
    }
    properties = {
        "jobType": "Pipeline",
        "experimentName": "tests",
        "outputs": {"trained_model": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}},
        "jobs": {"finetune": node},
    }
    return ask(cloud, "PUT", f"jobs/{name}", {"properties": properties})


_ROWS = [
    {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
    for question, answer in [("Name a river.", "The Danube."), ("Name a mountain.", "The Eiger.")]
]


def _uri(uri: str, kind: str) -> dict[str, str]:
    return {"uri": uri, "job_input_type": kind}


def _literal(value: str) -> dict[str, str]:
    return {"value": value, "job_input_type": "literal"}
