"""Parse and answer the calls by which clients follow a run, change it, and find its outputs (wire.md 5)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.operations import poll_again
from phi_finetune.emulator.jobs.state import Child, Job
from phi_finetune.emulator.storage.state import ARTIFACTSTORE

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["children", "details", "get", "resolve_uris", "run_data", "update"]

_STREAM_PAUSE = timedelta(seconds=30)  # The real ones grow from 2 s to 60 s.
_DATA_TYPES = {"uri_file": "UriFile", "uri_folder": "UriFolder", "mltable": "MLTable"}


def get(cloud: Cloud, request: Request) -> Response:
    """A run."""
    run = cloud.jobs.find_run(request.params["run"])
    run.watch()
    return json_answer(200, _run(cloud, run), poll_again(cloud.clock))


def details(cloud: Cloud, request: Request) -> Response:
    """A run's state, error and log files: what streaming polls."""
    run = cloud.jobs.find_run(request.params["run"])
    _pause_as_a_stream(cloud, request, run)
    status = run.watch()
    body: dict[str, Any] = {
        "runId": run.id,
        "target": _target(run),
        "status": status,
        "startTimeUtc": _time(run.started),
        "endTimeUtc": _time(run.ended),
        "services": {},
        "error": _error(cloud, run),
        "warnings": [],
        "tags": dict(run.tags),
        "properties": dict(run.properties),
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": {},
        "logFiles": {
            name: cloud.storage.url(path, datastore=ARTIFACTSTORE) for name, path in run.log_paths().items()
        },
    }
    return json_answer(200, body, poll_again(cloud.clock))


def _pause_as_a_stream(cloud: Cloud, request: Request, run: Job | Child) -> None:
    """Let the pause pass that ``jobs.stream`` of azure-ai-ml makes.

    It pauses by ``time.sleep``, for nothing in a fake (wire.md 5), so that no other clock would let time pass.
    """
    streams = "azure-ai-ml" in request.headers.get("user-agent", "")
    if streams and run.ended is None and cloud.clock.progression == "realistic":
        cloud.clock.take(_STREAM_PAUSE)


def children(cloud: Cloud, request: Request) -> Response:
    """The steps of a run, all on one page: the client reads no second one (wire.md 5)."""
    run = cloud.jobs.find_run(request.params["run"])
    steps = list(run.children) if isinstance(run, Job) else []
    top = int(request.query.get("$top") or len(steps))
    return json_answer(200, {"value": [_run(cloud, step) for step in steps[:top]]})


def run_data(cloud: Cloud, request: Request) -> Response:
    """A run with its outputs."""
    run = cloud.jobs.find_run(str(request.json().get("runId")))
    return json_answer(
        200, {"runMetadata": _run(cloud, run), "runDefinition": None, "jobSpecification": None}
    )


def update(cloud: Cloud, request: Request) -> Response:
    """Change a job's display name, description, tags, properties, or whether it is archived."""
    job = cloud.jobs.find(request.params["run"])
    if job.experiment != request.params["experiment"]:
        raise ServiceError(
            404, "UserError", f"Experiment {request.params['experiment']} has no run {job.id}."
        )
    job.update(request.json())
    return json_answer(200, _run(cloud, job))


def resolve_uris(cloud: Cloud, request: Request) -> Response:
    """Where data outputs are, by their asset ids."""
    known = {
        _asset_id(cloud, job, name): (cloud.storage.long_uri(job.output_path(name)), _DATA_TYPES[kind])
        for job in cloud.jobs.all()
        for name, kind in _data_outputs(job)
    }
    values = {}
    for asset_id in request.json().get("values") or []:
        if asset_id not in known:
            raise ServiceError(
                404, "UserError", f"Could not find asset with ID: {asset_id}", inner=("NotFoundError",)
            )
        uri, kind = known[asset_id]
        values[asset_id] = {"uri": uri, "type": kind}
    return json_answer(200, {"values": values})


def _run(cloud: Cloud, run: Job | Child) -> dict[str, Any]:
    return {
        "runId": run.id,
        "runUuid": run.id,
        "parentRunId": run.parent.id if run.parent else None,
        "rootRunId": run.root.id,
        "experimentId": run.experiment_id,
        "experimentName": run.experiment,
        "createdUtc": timestamp(run.created),
        "startTimeUtc": _time(run.started),
        "endTimeUtc": _time(run.ended),
        "status": run.status,
        "error": _error(cloud, run),
        "warnings": None,
        "displayName": run.display_name,
        "dataContainerId": f"dcid.{run.id}",
        "description": run.description if isinstance(run, Job) else None,
        "hidden": isinstance(run, Job) and run.archived,
        "runType": run.run_type if isinstance(run, Job) else "azureml.StepRun",
        "properties": dict(run.properties),
        "tags": dict(run.tags),
        "target": _target(run),
        "outputs": _outputs(cloud, run),
    }


def _outputs(cloud: Cloud, run: Job | Child) -> dict[str, Any]:
    """The data outputs. A model is left out: the client can't download one that is listed (wire.md 5)."""
    if not isinstance(run, Job) or run.status != "Completed":
        return {}
    return {name: {"assetId": _asset_id(cloud, run, name), "type": kind} for name, kind in _data_outputs(run)}


def _data_outputs(job: Job) -> list[tuple[str, str]]:
    kinds = ((name, str(row["jobOutputType"])) for name, row in job.outputs.items())
    return [(name, kind) for name, kind in kinds if kind in _DATA_TYPES]


def _asset_id(cloud: Cloud, job: Job, output: str) -> str:
    where = f"azureml://locations/{cloud.settings.region}/workspaces/{cloud.workspace.guid}"
    return f"{where}/data/azureml_{job.name}_output_data_{output}/versions/1"


def _error(cloud: Cloud, run: Job | Child) -> dict[str, Any] | None:
    failure = run.error
    if failure is None:
        return None
    return {
        "error": {
            "code": failure.code,
            "severity": None,
            "message": failure.message,
            "messageFormat": None,
            "messageParameters": {},
            # The name by which users know the parent's error.
            "referenceCode": "PipelineHasStepJobFailed" if _is_pipeline(run) else None,
            "detailsUri": None,
            "target": None,
            "details": [],
            "innerError": None,
            "debugInfo": None,
            "additionalInfo": None,
        },
        "environment": cloud.settings.region,
        "location": cloud.settings.region,
        "time": _time(run.ended),
        "componentName": "pipeline" if _is_pipeline(run) else "execution",
    }


def _is_pipeline(run: Job | Child) -> bool:
    return isinstance(run, Job) and run.spec.kind != "Command"


def _target(run: Job | Child) -> str | None:
    return run.slot.compute if isinstance(run, Child) else run.compute


def _time(when: datetime | None) -> str | None:
    return None if when is None else timestamp(when)
