"""The light fakes: a job, a model, an endpoint and a workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from phi_finetune._azure.paths import segment
from phi_finetune._azure.translate import expect
from phi_finetune.emulator.jobs.hardware import FINETUNE
from phi_finetune.errors import ConfigurationError, InvalidParameter
from phi_finetune.testing.light.handle import LightClient
from phi_finetune.testing.light.runner import GREETING, JobScript, ReplyScript, model_files

if TYPE_CHECKING:
    from phi_finetune._azure.rest import Answer
    from phi_finetune.endpoints import Endpoint
    from phi_finetune.jobs import FinetuneJob
    from phi_finetune.registered_models import RegisteredModel
    from phi_finetune.workspace import Workspace

__all__ = ["JobStatus", "fake_endpoint", "fake_job", "fake_model", "fake_workspace"]

JobStatus: TypeAlias = Literal["Running", "Completed", "Failed", "Canceled"]
"""The states in which a job can be made."""

_API: Final = {"api-version": "2024-10-01"}
_NAME: Final = "phi-lab"
_COMPONENT: Final = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
_BASE_MODEL: Final = "azureml://registries/azureml/models/Phi-4/versions/8"
_LONGEST: Final = timedelta(hours=1)
_STILL_RUNS: Final = timedelta(hours=2)
"""Long enough that making other fakes in the workspace, a quarter of an hour each, does not end it."""


def fake_workspace(name: str = _NAME) -> Workspace:
    """An empty workspace in memory; the other fakes can be put into it.

    Its identifiers are the same in each run, and in each fake workspace of this name.

    Args:
        name: Its name.
    """
    from phi_finetune.workspace import Workspace

    client = LightClient(name)
    return Workspace(client.subscription_id, client.resource_group, name, client=client)


def fake_job(
    name: str = "fake-job",
    *,
    status: JobStatus = "Completed",
    metrics: Mapping[str, Sequence[float]] | None = None,
    log: str = "",
    workspace: Workspace | None = None,
) -> FinetuneJob:
    """A fine-tune job in memory.

    A running one has logged everything already. It stays ``"Running"`` for the next two looks at it, or two hours of
    its workspace's clock, which moves when something is waited for, or made; ``wait()`` takes it to its end at once.
    A failed one failed in the step ``chat_completion_finetune``, and the last line of ``log`` is the step's error.

    Args:
        name: Its name.
        status: Its state.
        metrics: The values of each metric, by step, from step 1; such as ``{"loss": [3.0, 2.0]}``. None is none.
        log: What the step ``chat_completion_finetune`` has written.
        workspace: The fake workspace that it is in; None is one of its own.

    Raises:
        InvalidParameter: It cannot be made in that state.
        ServiceError: The workspace has a job of this name, or the service takes no such name.
        ConfigurationError: The workspace is no light fake.
    """
    from phi_finetune.jobs import FinetuneJob

    if status not in ("Running", "Completed", "Failed", "Canceled"):
        raise InvalidParameter(
            "No job can be made in this state",
            name="status",
            value=status,
            allowed="Running, Completed, Failed or Canceled",
        )
    client = _client_of(workspace)
    _put(client, f"/jobs/{segment(name)}", _job_body(), f"job {name}")
    client.runner.jobs[name] = _script(status, metrics or {}, log)
    job = FinetuneJob(name, "NotStarted", client=client).refresh()
    while FINETUNE not in [step.name for step in job.children()]:
        job = job.refresh()
    # The step waits for its nodes; at the next look it runs.
    job = job.refresh()
    if status == "Canceled":
        return job.cancel()
    while status != "Running" and not job.ended:
        job = job.refresh()
    return job


def fake_model(
    name: str = "fake-model", *, version: str = "1", workspace: Workspace | None = None
) -> RegisteredModel:
    """A registered model in memory, with files that can be downloaded. ``deploy()`` needs azure-ai-ml, as ever.

    Args:
        name: Its name.
        version: Its version.
        workspace: The fake workspace that it is in; None is one of its own.

    Raises:
        ServiceError: The service takes no such name.
        ConfigurationError: The workspace is no light fake.
    """
    from phi_finetune.registered_models import from_arm

    client = _client_of(workspace)
    return from_arm(_register(client, name, version), name, client)


def fake_endpoint(
    name: str = "fake-endpoint",
    *,
    replies: str | Sequence[str] | Mapping[str, str] = GREETING,
    workspace: Workspace | None = None,
) -> Endpoint:
    """An endpoint in memory, with one healthy deployment, ``"default"``, that takes all traffic.

    One of this name that is in the workspace already has these replies from now on.

    Args:
        name: Its name.
        replies: What it answers: one text; texts in the order in which requests come, the last one again and
            again; or the answer to each question, by the text of the last message. Several questions at a
            time come in no fixed order, so ``chat_many`` wants the last form. What it has no answer to is
            answered as by a model whose code failed (:class:`~phi_finetune.errors.ScoringModelError`).
        workspace: The fake workspace that it is in; None is one of its own.

    Raises:
        ServiceError: The service takes no such name.
        ConfigurationError: The workspace is no light fake.
    """
    from phi_finetune._azure.endpoints import put_traffic
    from phi_finetune.endpoints import Endpoint

    client = _client_of(workspace)
    client.runner.replies[name] = ReplyScript([replies] if isinstance(replies, str) else replies)
    model = _register(client, name, "1")
    path, resource = f"/onlineEndpoints/{segment(name)}", f"endpoint {name}"
    _put(client, path, {"location": client.facts.location, "properties": {"authMode": "Key"}}, resource)
    deployment = {"endpointComputeType": "Managed", "model": model["id"]}
    body = {"sku": {"name": "Default", "capacity": 1}, "properties": deployment}
    _put(client, f"{path}/deployments/default", body, f"deployment default of {resource}")
    put_traffic(client, name, {"default": 100}, _LONGEST)
    return Endpoint(name, "", client=client).refresh()


def _script(status: JobStatus, metrics: Mapping[str, Sequence[float]], log: str) -> JobScript:
    if status == "Running":
        return JobScript(metrics, log, lasts=_STILL_RUNS)
    return JobScript(metrics, log, fails=status == "Failed")


def _client_of(workspace: Workspace | None) -> LightClient:
    if workspace is None:
        return LightClient(_NAME)
    client = workspace._handle()
    if isinstance(client, LightClient):
        return client
    raise ConfigurationError(
        "A light fake can only be put into a fake workspace",
        resource=client.resource,
        next_call="make one with phi_finetune.testing.fake_workspace()",
    )


def _put(client: LightClient, path: str, body: Mapping[str, Any], resource: str) -> Answer:
    """Make something, and let the time pass that it takes."""
    from phi_finetune._azure.operations import follow

    answer = client.rest.send("PUT", client.url + path, query=_API, body=dict(body))
    expect(answer, 200, 201, 202, doing=f"make the {resource}", resource=resource)
    follow(client, answer, resource=resource, timeout=_LONGEST, next_call="choose another name")
    return answer


def _register(client: LightClient, name: str, version: str) -> dict[str, Any]:
    """Register a model that gives the replies of this name."""
    folder = f"models/{segment(name)}/{segment(version)}"
    client.store(folder, model_files(name))
    uri = f"azureml://datastores/workspaceblobstore/paths/{folder}"
    body = {"properties": {"modelUri": uri, "modelType": "mlflow_model"}}
    path = f"/models/{segment(name)}/versions/{segment(version)}"
    return _put(client, path, body, f"model {name}:{version}").json()


def _job_body() -> dict[str, Any]:
    node = {
        "name": "finetune",
        "type": "pipeline",
        "componentId": _COMPONENT,
        "inputs": {"mlflow_model_path": {"uri": _BASE_MODEL, "job_input_type": "mlflow_model"}},
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}", "type": "literal"}},
    }
    properties = {
        "jobType": "Pipeline",
        "outputs": {"trained_model": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}},
        "jobs": {"finetune": node},
    }
    return {"properties": properties}
