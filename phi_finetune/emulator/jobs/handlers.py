"""Parse and answer the calls about jobs (service.md gives the shapes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.listing import View
from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.hosts import ARM, LOCATION
from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.operations import poll_again
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.jobs.spec import parse
from phi_finetune.emulator.jobs.state import ENDED, Job

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["cancel", "cancel_result", "get", "list_jobs", "put"]

_TYPE = "Microsoft.MachineLearningServices/workspaces/jobs"
_AUTHOR = {"createdBy": "phi@example.com", "createdByType": "User"}


def put(cloud: Cloud, request: Request) -> Response:
    """Submit a job."""
    job = cloud.jobs.submit(parse(request.params["job"], request.json()))
    return json_answer(201, _body(cloud, job, job.status))


def get(cloud: Cloud, request: Request) -> Response:
    """A job. A step of one has no properties here, and the client then asks run history (wire.md 5)."""
    run = cloud.jobs.find_run(request.params["job"])
    if isinstance(run, Job):
        return json_answer(200, _body(cloud, run, run.watch()), poll_again(cloud.clock))
    return json_answer(200, {**_identity(cloud, run.id), "properties": None, "systemData": {}})


def list_jobs(cloud: Cloud, request: Request) -> Response:
    """The jobs, the newest first, without their steps."""
    view = View.of(request)
    shown = [job for job in reversed(cloud.jobs.all()) if view.shows(job.archived)]
    return page(request, [_body(cloud, job, job.status) for job in shown])


def cancel(cloud: Cloud, request: Request) -> Response:
    """Ask a job to stop."""
    job = cloud.jobs.find(request.params["job"])
    job.cancel()
    headers = {**_where(cloud, job), **poll_again(cloud.clock), "Content-Type": "application/json"}
    return Response(202, headers, b"null")


def cancel_result(cloud: Cloud, request: Request) -> Response:
    """Whether the job has stopped: 202 until it has."""
    job = cloud.jobs.find(request.params["job"])
    if job.watch() in ENDED:
        return empty(200)
    return json_answer(202, {}, {**_where(cloud, job), **poll_again(cloud.clock)})


def _where(cloud: Cloud, job: Job) -> dict[str, str]:
    location = LOCATION.format(subscription=cloud.subscription_id, location=cloud.settings.region)
    operation = f"jc:{cloud.workspace.guid}:{job.name}"
    return {
        "Location": f"https://{ARM}{location}/mfeOperationResults/{operation}?api-version=2023-04-01-preview"
    }


def _identity(cloud: Cloud, name: str) -> dict[str, str]:
    return {"id": cloud.arm_id("jobs", name), "name": name, "type": _TYPE}


def _body(cloud: Cloud, job: Job, status: str) -> dict[str, Any]:
    sent = job.spec.properties
    inputs = {name: {"mode": "ReadOnlyMount", **row} for name, row in (sent.get("inputs") or {}).items()}
    return {
        **_identity(cloud, job.name),
        "properties": {
            "description": job.description,
            "tags": job.tags,
            "properties": {**_notes(job), **job.properties},
            "displayName": job.display_name,
            "status": status,
            "experimentName": job.experiment,
            "services": _services(cloud, job),
            "computeId": sent.get("computeId"),
            "isArchived": job.archived,
            "identity": None,
            "componentId": None,
            "notificationSetting": None,
            "secretsConfiguration": None,
            "jobType": "Pipeline",
            "settings": sent.get("settings") or {},
            "jobs": sent["jobs"],
            "inputs": inputs,
            "outputs": {name: _output(row) for name, row in job.outputs.items()},
            "sourceJobId": None,
        },
        "systemData": {"createdAt": timestamp(job.created), **_AUTHOR},
    }


def _notes(job: Job) -> dict[str, str]:
    settings = job.spec.properties.get("settings") or {}
    return {
        "azureml.DevPlatv2": "true",
        "azureml.runsource": "azureml.PipelineRun",
        "runSource": "MFE",
        "runType": "HTTP",
        "azureml.parameters": "{}",
        "azureml.continue_on_step_failure": str(settings.get("continue_on_step_failure", False)),
        "azureml.continue_on_failed_optional_input": "True",
        "azureml.enforceRerun": str(settings.get("force_rerun", False)),
        "azureml.defaultComputeName": str(settings.get("default_compute") or ""),
        "azureml.defaultDataStoreName": str(settings.get("default_datastore") or "workspaceblobstore"),
        "azureml.pipelineComponent": "pipelinerun",
    }


def _output(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "description": None,
        "uri": None,
        "assetName": None,
        "assetVersion": None,
        "mode": "ReadWriteMount",
        "autoDeleteSetting": None,
        **row,
    }


def _services(cloud: Cloud, job: Job) -> dict[str, Any]:
    settings = cloud.settings
    workspace = (
        f"/subscriptions/{cloud.subscription_id}/resourcegroups/{settings.resource_group}"
        f"/workspaces/{settings.workspace}"
    )
    region = f"azureml://{settings.region}.api.azureml.ms"
    endpoints = {
        "Tracking": f"{region}/mlflow/v1.0{cloud.workspace.id}?",
        # Without a tenant: the client adds its own (wire.md 2).
        "Studio": f"https://ml.azure.com/runs/{job.name}?wsid={workspace}",
    }
    empty_fields = {"port": None, "status": None, "errorMessage": None, "properties": None, "nodes": None}
    return {
        name: {"jobServiceType": name, "endpoint": endpoint, **empty_fields}
        for name, endpoint in endpoints.items()
    }
