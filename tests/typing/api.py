"""What a user's type checker should make of the library. Checked, never run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from azure.core.credentials import AccessToken, TokenCredential
from azure.identity import AzureCliCredential
from matplotlib.figure import Figure
from mlflow import MlflowClient
from pandas import DataFrame

import phi_finetune as pf
from phi_finetune.credentials import Chain, ManagedIdentity
from phi_finetune.diagnosis import Diagnosis, JobStep
from phi_finetune.endpoints import EndpointKeys
from phi_finetune.errors import JobFailed, SizeNotAllowed
from phi_finetune.events import Event
from phi_finetune.metrics import MetricPoint
from phi_finetune.protocols import TokenTransport, Try
from phi_finetune.retries import PatientRetries


class OwnCredential:
    """A credential of somebody's own, with azure-core's method."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("token", 0)


class OwnPolicy:
    """A way of signing in that need not import the library."""

    def credential(self, transport: TokenTransport | None = None) -> TokenCredential:
        return OwnCredential()


class OwnRetries:
    """A retry policy that need not import the library."""

    def wait_s(self, failed: Try) -> float | None:
        return None if failed.attempt > 2 else 1.0


def listen(event: Event) -> None:
    """Hear of an event."""
    assert_type(event.resource, str)


def connecting() -> None:
    """Each way of signing in, and every policy."""
    assert_type(pf.Workspace.connect(), pf.Workspace)
    pf.Workspace.connect(credential=AzureCliCredential(), retries=PatientRetries(), on_event=listen)
    pf.Workspace.connect(credential=ManagedIdentity(client_id="id"), retries=OwnRetries())
    pf.Workspace.connect(credential=Chain(ManagedIdentity(), OwnPolicy()), config=Path("config.json"))
    pf.Workspace.connect(credential=OwnCredential())
    pf.Workspace.connect(credential=OwnPolicy())


def tuning(ws: pf.Workspace, data: pf.ChatDataset) -> pf.FinetuneJob:
    """From a model to a job; parameters are completed and checked one by one."""
    base = ws.foundation_model("Phi-4")
    assert_type(ws.foundation_models(), Iterator[pf.FoundationModel])
    assert_type(base.finetune_sizes, tuple[str, ...])
    cluster = ws.gpu_compute("gpu", size="Standard_NC24ads_A100_v4").ensure(base)
    assert_type(cluster, pf.GpuCompute)
    assert_type(ws.gpu_skus(), tuple[pf.GpuSku, ...])
    tune = base.finetune(data).on(cluster, preprocess=pf.GpuCompute.serverless("Standard_NC24ads_A100_v4"))
    tune = tune.with_parameters(num_train_epochs=1, learning_rate=5e-6, apply_lora=True)
    tune = tune.with_settings(experiment="e", tags={"a": "b"}, force_rerun=True).named("nightly")
    assert_type(tune.plan(), pf.FinetunePlan)
    assert_type(tune.plan().price_usd_per_hour, float | None)
    return tune.submit(again=True)


def wrong(ws: pf.Workspace, tune: pf.Finetune, endpoint: pf.Endpoint) -> None:
    """What a checker must refuse: each comment is an error in itself where nothing is refused."""
    tune.with_parameters(num_train_epoch=1)  # type: ignore[call-arg]
    tune.with_parameters(learning_rate="fast")  # type: ignore[arg-type]
    ws.gpu_compute("gpu", max_nodes="2")  # type: ignore[arg-type]
    ws.job("tune").wait(timeout=60)  # type: ignore[arg-type]
    endpoint.chat(7)  # type: ignore[arg-type]
    pf.Workspace.connect(retries=3)  # type: ignore[arg-type]


def following(job: pf.FinetuneJob) -> pf.RegisteredModel:
    """A job, its steps, its metrics and its end."""
    assert_type(job.wait(timeout=timedelta(hours=1)), pf.FinetuneJob)
    assert_type(job.children(), tuple[JobStep, ...])
    assert_type(job.diagnose(), Diagnosis)
    assert_type(job.events(), Iterator[Event])
    metrics = job.metrics()
    assert_type(metrics.loss, float | None)
    assert_type(metrics.history("loss"), tuple[MetricPoint, ...])
    assert_type(metrics.to_frame(), DataFrame)
    assert_type(metrics.plot(), Figure)
    return job.register("answers", tags={"team": "nlp"})


def asking(model: pf.RegisteredModel, row: pf.Conversation) -> None:
    """An endpoint, and each form of a question."""
    with model.deploy(instance_type="Standard_NC24ads_A100_v4", auth="aad_token") as endpoint:
        assert_type(endpoint, pf.Endpoint)
        assert_type(endpoint.chat("Hello.").text, str)
        endpoint.chat([{"role": "user", "content": "Hello."}], temperature=0.0)
        endpoint.chat({"messages": [{"role": "user", "content": "Hello."}]})
        assert_type(endpoint.chat_many([row, "Hello."]), Iterator[pf.ChatReply])
        assert_type(endpoint.keys(), EndpointKeys)
        assert_type(endpoint.shift_traffic({"blue": 100}), pf.Endpoint)
        assert_type(endpoint.deployments(), tuple[pf.Deployment, ...])
        assert_type(pf.write_request(row, "request.json"), Path)


def failing(job: pf.FinetuneJob) -> None:
    """Errors have typed details."""
    try:
        job.wait()
    except JobFailed as error:
        assert_type(error.child, str | None)
        assert_type(error.log_tail, str)
    except SizeNotAllowed as error:
        assert_type(error.allowed, tuple[str, ...])


def reviving(ws: pf.Workspace, job: pf.FinetuneJob, tune: pf.Finetune) -> None:
    """What is attached keeps its type."""
    assert_type(ws.attach(job), pf.FinetuneJob)
    assert_type(ws.attach(tune), pf.Finetune)
    assert_type(ws.mlflow_client(), MlflowClient)
