"""Every night: fine-tune Phi-4 on the day's conversations, and let the new model take over the endpoint.

Plain azure-ai-ml. What a night makes has the night's name, so a run that was cut off is simply started again: it finds
its job, model and deployment, and pays for nothing twice. Whatever goes wrong, the old model goes on answering.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from azure.ai.ml import Input, MLClient, Output
from azure.ai.ml.entities import AmlCompute, ManagedOnlineDeployment, Model, PipelineJob
from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.core.polling import LROPoller
from azure.identity import DefaultAzureCredential
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

SIZE, CLUSTER, MODEL, ENDPOINT = "Standard_NC24ads_A100_v4", "nightly", "phi-4-support", "support"
LOOK_EVERY_S, LONGEST_S = 300, 8 * 3600
ENDED = {"Completed", "Failed", "Canceled", "NotResponding"}
PASSING = {None, 408, 409, 429, 500, 502, 503, 504}  # None: no answer came; 409: another change is under way


class NightFailed(Exception):
    """There is no new model, or it is not fit to take over."""


def passes(error: BaseException) -> bool:
    """Whether the same step may well succeed a little later."""
    return isinstance(error, AzureError) and getattr(error, "status_code", None) in PASSING


AGAIN = Retrying(
    retry=retry_if_exception(passes), wait=wait_exponential(2), stop=stop_after_attempt(6), reraise=True
)


def nightly(workspace: MLClient, registry: MLClient, folder: Path, day: date, again: Retrying = AGAIN) -> str:
    """Train on the folder's train.jsonl and validation.jsonl; the deployment that now serves is returned."""
    night = f"nightly-{day:%Y%m%d}"
    cluster = AmlCompute(name=CLUSTER, size=SIZE, max_instances=1)
    again(finish, workspace.compute.begin_create_or_update, cluster)
    again(submit, workspace, registry, folder, night)
    wait_for(workspace, night, again)
    model = again(register, workspace, night, day)
    before = again(workspace.online_endpoints.get, ENDPOINT).traffic
    if before.get(night) != 100:
        with ExitStack() as undo:
            undo.callback(again, delete, workspace, night)
            again(deploy, workspace, night, model)
            again(smoke_test, workspace, night, folder)
            undo.callback(again, shift, workspace, before)
            again(shift, workspace, {night: 100})
            undo.pop_all()
    for old in before.keys() - {night}:
        again(delete, workspace, old)
    return night


def finish(begin: Callable[..., LROPoller[Any]], *args: object) -> None:
    """Begin a long operation, and wait for its end."""
    begin(*args).result()


def submit(workspace: MLClient, registry: MLClient, folder: Path, night: str) -> None:
    """Submit the night's job, unless it is there: an earlier try may not have heard that it was taken."""
    with suppress(ResourceNotFoundError):
        workspace.jobs.get(night)
        return
    phi = registry.models.get("Phi-4", label="latest")
    component = registry.components.get("chat_completion_pipeline", label="latest")
    steps = ("model_import", "preprocess", "finetune", "model_evaluation")
    tune = component(
        mlflow_model_path=Input(type="mlflow_model", path=phi.id),
        train_file_path=Input(type="uri_file", path=str(folder / "train.jsonl")),
        validation_file_path=Input(type="uri_file", path=str(folder / "validation.jsonl")),
        number_of_gpu_to_use_finetuning=1,
        **{f"compute_{step}": CLUSTER for step in steps},
    )
    tune.outputs.mlflow_model_folder = "${{parent.outputs.trained_model}}"
    made = {"trained_model": Output(type="mlflow_model")}
    job = PipelineJob(name=night, experiment_name="nightly", jobs={"tune": tune}, outputs=made)
    # Without the client's own validation, which takes longer than all the rest; Azure checks the job anyway.
    workspace.jobs.create_or_update(job, skip_validation=True)


def wait_for(workspace: MLClient, name: str, again: Retrying) -> None:
    """Wait until the job is completed; one that takes too long is cancelled."""
    for _ in range(LONGEST_S // LOOK_EVERY_S):
        job = again(workspace.jobs.get, name)
        if job.status == "Completed":
            return
        if job.status in ENDED:
            raise NightFailed(f"{name} did not complete, see {job.studio_url}")
        again.sleep(LOOK_EVERY_S)
    again(finish, workspace.jobs.begin_cancel, name)
    raise NightFailed(f"{name} took longer than {LONGEST_S // 3600} hours")


def register(workspace: MLClient, job: str, day: date) -> Model:
    """Register the job's model, unless it is; its version is the day."""
    version, path = f"{day:%Y%m%d}", f"azureml://jobs/{job}/outputs/trained_model"
    with suppress(ResourceNotFoundError):
        return workspace.models.get(MODEL, version=version)
    tags = {"job": job, "day": day.isoformat()}
    model = Model(name=MODEL, version=version, type="mlflow_model", path=path, tags=tags)
    return workspace.models.create_or_update(model)


def deploy(workspace: MLClient, name: str, model: Model) -> None:
    """Deploy the model beside what serves; it has no traffic yet."""
    deployment = ManagedOnlineDeployment(
        name=name, endpoint_name=ENDPOINT, model=model.id, instance_type=SIZE, instance_count=1
    )
    finish(workspace.online_deployments.begin_create_or_update, deployment)


def smoke_test(workspace: MLClient, name: str, folder: Path) -> None:
    """Ask the deployment the first question of validation.jsonl."""
    with (folder / "validation.jsonl").open(encoding="utf-8") as rows:
        question = json.loads(next(rows))["messages"][:-1]
    request = folder / "smoke-test.json"
    request.write_text(json.dumps({"input_data": {"input_string": question}}), encoding="utf-8")
    answer = workspace.online_endpoints.invoke(ENDPOINT, deployment_name=name, request_file=str(request))
    if not json.loads(answer)["output"].strip():
        raise NightFailed(f"{name} has nothing to say")


def shift(workspace: MLClient, traffic: dict[str, int]) -> None:
    """Split the endpoint's traffic."""
    endpoint = workspace.online_endpoints.get(ENDPOINT)
    endpoint.traffic = traffic
    finish(workspace.online_endpoints.begin_create_or_update, endpoint)


def delete(workspace: MLClient, name: str) -> None:
    """Delete a deployment, if it is there."""
    finish(workspace.online_deployments.begin_delete, name, ENDPOINT)


if __name__ == "__main__":
    login = DefaultAzureCredential()
    here, catalogue = MLClient.from_config(login), MLClient(login, registry_name="azureml")
    print(nightly(here, catalogue, Path(sys.argv[1]), datetime.now(UTC).date()))
