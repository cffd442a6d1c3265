"""The usual way to fine-tune a Phi model on Azure ML: plain azure-ai-ml and plain mlflow, nothing of this library.

These are the steps that Microsoft's guides take, in this project's own words. They run unchanged against the real
service and against ``FakeAzure``.
"""

from __future__ import annotations

import json
from ast import literal_eval  # noqa: TID251 - this is what the tutorial does, and why this library does not
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient
from azure.ai.ml.constants import AssetTypes
from azure.ai.ml.dsl import pipeline
from azure.ai.ml.entities import (
    AmlCompute,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    ProbeSettings,
)
from azure.core.exceptions import ResourceNotFoundError

__all__ = ["allow_lists", "lifecycle"]


def allow_lists(registry: MLClient, name: str, version: str) -> dict[str, Any]:
    """What a model of the oldest generation says in its tags, which are texts of Python literals."""
    tags = registry.models.get(name, version=version).tags
    keys = ("finetune_compute_allow_list", "inference_compute_allow_list", "model_specific_defaults")
    return {key: literal_eval(tags[key]) for key in keys}


def lifecycle(
    workspace: MLClient,
    registry: MLClient,
    *,
    model_name: str,
    size: str,
    files: dict[str, str],
    request_file: str,
    endpoint_name: str,
    questions: int = 1,
    with_metrics: bool = True,
) -> dict[str, Any]:
    """Everything from the model's look-up to the endpoint's deletion; gives what the steps gave."""
    base = registry.models.get(model_name, label="latest")
    cluster = _cluster(workspace, "tutorial-cluster", size)
    gpus = next(sku.gpus for sku in workspace.compute.list_sizes() if sku.name.lower() == size.lower())
    job = _train(workspace, registry, base.id, cluster.name, gpus, files)
    metrics = _metrics(workspace, job.name) if with_metrics else {}
    model = workspace.models.create_or_update(
        Model(
            name="tutorial-model",
            version="1",
            type=AssetTypes.MLFLOW_MODEL,
            path=f"azureml://jobs/{job.name}/outputs/trained_model",
        )
    )
    _deploy(workspace, endpoint_name, model.id, size)
    answers = [
        workspace.online_endpoints.invoke(
            endpoint_name=endpoint_name, deployment_name="demo", request_file=request_file
        )
        for _ in range(questions)
    ]
    workspace.online_endpoints.begin_delete(name=endpoint_name).wait()
    return {"job": job, "metrics": metrics, "model": model, "answers": [json.loads(text) for text in answers]}


def _cluster(workspace: MLClient, name: str, size: str) -> AmlCompute:
    try:
        return workspace.compute.get(name)
    except ResourceNotFoundError:
        wanted = AmlCompute(name=name, size=size, tier="Dedicated", max_instances=2)
        workspace.compute.begin_create_or_update(wanted).wait()
    return workspace.compute.get(name)


def _train(
    workspace: MLClient, registry: MLClient, model_id: str, cluster: str, gpus: int, files: dict[str, str]
) -> Any:
    component = registry.components.get("chat_completion_pipeline", label="latest")
    computes = {
        f"compute_{step}": cluster for step in ("model_import", "preprocess", "finetune", "model_evaluation")
    }

    @pipeline(name="tutorial")
    def fine_tune() -> dict[str, Any]:
        step = component(
            mlflow_model_path=Input(type=AssetTypes.MLFLOW_MODEL, path=model_id),
            **{name: Input(type=AssetTypes.URI_FILE, path=path) for name, path in files.items()},
            **computes,
            number_of_gpu_to_use_finetuning=gpus,
            num_train_epochs=1,
            learning_rate=5e-6,
            apply_lora="true",
            apply_deepspeed="true",
            deepspeed_stage="3",
        )
        return {"trained_model": step.outputs.mlflow_model_folder}

    job = fine_tune()
    job.settings.force_rerun = True
    job.settings.continue_on_step_failure = False
    job = workspace.jobs.create_or_update(job, experiment_name="tutorial")
    workspace.jobs.stream(job.name)
    return workspace.jobs.get(job.name)


def _metrics(workspace: MLClient, job: str) -> dict[str, list[float]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=workspace.workspaces.get(workspace.workspace_name).mlflow_tracking_uri)
    experiment = client.get_run(job).info.experiment_id
    runs = client.search_runs([experiment], filter_string=f"tags.mlflow.rootRunId = '{job}'")
    return {
        key: [point.value for point in client.get_metric_history(run.info.run_id, key)]
        for run in runs
        for key in ("loss", "eval_loss")
        if key in run.data.metrics
    }


def _deploy(workspace: MLClient, endpoint_name: str, model_id: str, size: str) -> None:
    endpoint = ManagedOnlineEndpoint(name=endpoint_name, auth_mode="key")
    workspace.online_endpoints.begin_create_or_update(endpoint).wait()
    deployment = ManagedOnlineDeployment(
        name="demo",
        endpoint_name=endpoint_name,
        model=model_id,
        instance_type=size,
        instance_count=1,
        liveness_probe=ProbeSettings(initial_delay=600),
        request_settings=OnlineRequestSettings(request_timeout_ms=90000),
    )
    workspace.online_deployments.begin_create_or_update(deployment).wait()
    endpoint.traffic = {"demo": 100}
    workspace.online_endpoints.begin_create_or_update(endpoint).result()


def request_file(folder: Path, messages: list[dict[str, str]]) -> str:
    """A file with the request that the tutorial sends."""
    parameters = {"temperature": 0.6, "top_p": 0.9, "do_sample": True, "max_new_tokens": 200}
    path = folder / "request.json"
    path.write_text(
        json.dumps({"input_data": {"input_string": messages, "parameters": parameters}, "params": {}})
    )
    return str(path)
