"""Jobs: submitted by azure-ai-ml, then followed by plain REST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune._azure.client import PIPELINE_BUILDER, Client
from phi_finetune._azure.paths import segment
from phi_finetune._azure.translate import azure_ai_ml_errors, expect
from phi_finetune.errors import ServiceError

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob

__all__ = ["build_pipeline", "cancel_job", "find_job", "get_job", "list_jobs", "submit_pipeline"]

API = "2024-01-01-preview"
CANCEL_API = "2023-04-01-preview"
OUTPUT = "trained_model"
"""The pipeline's output: the MLflow model."""


@attrs.frozen
class Submitted:
    """What the service says of a job that it has just accepted: its state, and where the studio shows it."""

    status: str
    studio_url: str | None


def build_pipeline(
    component: Mapping[str, Any],
    *,
    inputs: Mapping[str, str | int | float],
    files: Mapping[str, str],
    name: str,
    experiment: str,
    display_name: str,
    description: str | None,
    tags: Mapping[str, str],
    properties: Mapping[str, str],
    force_rerun: bool,
    continue_on_step_failure: bool,
) -> PipelineJob:
    """A pipeline job of one step, the component, with its MLflow model as output ``trained_model``."""
    from azure.ai.ml import Input
    from azure.ai.ml.dsl import pipeline

    from phi_finetune._azure.entities import component_entity

    declared = component["properties"]["componentSpec"]["inputs"]
    given: dict[str, Any] = dict(inputs)
    for key, address in files.items():
        given[key] = Input(type=declared[key]["type"], path=address)

    with azure_ai_ml_errors(doing="put the pipeline together", resource=f"job {name}"), PIPELINE_BUILDER:
        chat_completion_pipeline: Any = component_entity(component)

        def chat_completion() -> dict[str, Any]:
            step = chat_completion_pipeline(**given)
            return {OUTPUT: step.outputs.mlflow_model_folder}

        job: PipelineJob = pipeline(chat_completion)()
    job.name = name
    job.experiment_name = experiment
    job.display_name = display_name
    job.description = description
    job.tags = dict(tags)
    job.properties = dict(properties)
    settings: Any = job.settings
    settings.force_rerun = force_rerun
    settings.continue_on_step_failure = continue_on_step_failure
    return job


def submit_pipeline(client: Client, job: PipelineJob) -> Submitted:
    """Submit a job.

    Raises:
        ServiceError: The service refused it; 409 where the name is taken.
    """
    with azure_ai_ml_errors(doing="submit the job", resource=f"job {job.name}"):
        # Its own validation takes half a second and passes values that the service refuses (pain.md, finding 5);
        # every value here has passed FinetuneParameters, which checks type, range and choices.
        created = client.ml_client().jobs.create_or_update(job, skip_validation=True)
    return Submitted(
        status=str(getattr(created.status, "value", created.status)), studio_url=created.studio_url
    )


def find_job(client: Client, name: str) -> dict[str, Any] | None:
    """A job as ARM describes it; None where there is none."""
    return client.find(_path(name), api=API, resource=f"job {name}", doing="look up the job")


def get_job(client: Client, name: str) -> dict[str, Any]:
    """A job as ARM describes it.

    Raises:
        NotFound: There is none.
    """
    return client.get(
        _path(name),
        api=API,
        resource=f"job {name}",
        doing="look up the job",
        next_call="ws.jobs() lists what there is",
    )


def list_jobs(client: Client) -> list[dict[str, Any]]:
    """Every job of the workspace that is not archived."""
    return client.listed(
        "/jobs",
        api=API,
        resource=client.resource,
        doing="list the jobs",
        query={"listViewType": "ActiveOnly"},
    )


def cancel_job(client: Client, name: str) -> ServiceError | None:
    """Ask for a job's cancellation; give the error where the service refuses, as it does for one that has ended."""
    url = f"{client.url}{_path(name)}/cancel"
    answer = client.rest.send("POST", url, query={"api-version": CANCEL_API})
    client.check_workspace(answer)
    try:
        expect(answer, 200, 202, doing="cancel the job", resource=f"job {name}")
    except ServiceError as refused:
        return refused
    return None


def _path(name: str) -> str:
    return f"/jobs/{segment(name)}"
