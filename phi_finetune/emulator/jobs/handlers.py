"""Parse and answer the calls about jobs (service.md gives the shapes)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.assets.listing import View, fits
from phi_finetune.emulator.assets.refusals import not_emulated
from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.hosts import ARM, LOCATION
from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.operations import poll_again
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.jobs.spec import parse
from phi_finetune.emulator.jobs.state import ENDED, Job
from phi_finetune.emulator.storage.state import ARTIFACTSTORE

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["cancel", "cancel_result", "get", "list_jobs", "put"]

_TYPE = "Microsoft.MachineLearningServices/workspaces/jobs"
_RESOURCES: Mapping[str, Any] = {
    "instanceCount": 1,
    "maxInstanceCount": None,
    "instanceType": None,
    "locations": None,
    "properties": None,
    "shmSize": "2g",
    "dockerArgs": None,
}
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
    """The jobs, the newest first, without their steps: all, or those of a kind, with a tag or some properties.

    A tag is named by its key, and properties are those that the user gave (REST reference of listing jobs).

    Raises:
        ServiceError: 501, where jobs of a feature set or of a schedule are asked for.
    """
    query = request.query
    if "azureml.FeatureSetName" in query.get("properties", ""):
        raise not_emulated("feature sets")
    if "scheduled" in query or "scheduleId" in query:
        raise not_emulated("schedules")
    view, kind, tag = View.of(request), query.get("jobType"), query.get("tag")
    shown = [
        job
        for job in reversed(cloud.jobs.all())
        if view.shows(job.archived)
        and kind in (None, job.spec.kind)
        and tag in (None, *job.tags)
        and fits(query.get("properties"), job.properties)
    ]
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
            "identity": sent.get("identity"),
            "componentId": sent.get("componentId"),
            "notificationSetting": sent.get("notificationSetting"),
            "secretsConfiguration": None,
            "jobType": job.spec.kind,
            "outputs": _outputs(job),
            **_of_kind(job),
        },
        "systemData": {"createdAt": timestamp(job.created), **_AUTHOR},
    }


def _of_kind(job: Job) -> dict[str, Any]:
    """The fields that only one kind of job has (service.md; wire.md 11 for fine-tuning)."""
    sent = job.spec.properties
    if job.spec.kind == "FineTuning":
        keys = ("fineTuningDetails", "queueSettings", "resources")
        return {key: sent.get(key) for key in keys}
    inputs = {name: {"mode": "ReadOnlyMount", **row} for name, row in (sent.get("inputs") or {}).items()}
    if job.spec.kind == "Pipeline":
        settings, jobs = sent.get("settings") or {}, sent.get("jobs") or {}
        return {"settings": settings, "jobs": jobs, "inputs": inputs, "sourceJobId": None}
    given = {key: value for key, value in (sent.get("resources") or {}).items() if value is not None}
    return {
        "resources": {**_RESOURCES, **given},
        "codeId": sent.get("codeId"),
        "command": sent["command"],
        "environmentId": sent["environmentId"],
        "inputs": {name: {"description": None, **row} for name, row in inputs.items()},
        "distribution": sent.get("distribution"),
        "autologgerSettings": None,
        "limits": sent.get("limits"),
        "environmentVariables": sent.get("environmentVariables") or {},
        "parameters": {},
        "queueSettings": sent.get("queueSettings"),
    }


def _outputs(job: Job) -> dict[str, Any]:
    outputs = {name: _output(row) for name, row in job.outputs.items()}
    if job.spec.kind != "Command" or job.status not in ENDED:
        return outputs
    # The service adds this one from the start (service.md). While a job goes on, azure-ai-ml 1.35.2 would then sign
    # the addresses of its logs with the account's key, which fails with a SAS (wire.md 5, "Streaming"); so it is
    # here only after the end.
    artifacts = f"azureml://datastores/{ARTIFACTSTORE}/ExperimentRun/dcid.{job.name}"
    return {**outputs, "default": _output({"jobOutputType": "uri_folder", "uri": artifacts})}


def _notes(job: Job) -> dict[str, str]:
    if job.spec.kind == "Command":
        # service.md has the property; its value is assumed.
        return {"_azureml.ComputeTargetType": "amlctrain"}
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
