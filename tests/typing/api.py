"""What a user's type checker should make of the library. Checked, never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, assert_type

from azure.core.credentials import AccessToken, TokenCredential
from azure.identity import AzureCliCredential
from matplotlib.figure import Figure
from mlflow import MlflowClient
from pandas import DataFrame

import phi_finetune as pf
from phi_finetune.checkups import Checkup
from phi_finetune.credentials import Chain, ManagedIdentity
from phi_finetune.diagnosis import Diagnosis, JobStep
from phi_finetune.endpoints import EndpointKeys
from phi_finetune.errors import JobFailed, SizeNotAllowed
from phi_finetune.events import Event
from phi_finetune.metrics import MetricPoint
from phi_finetune.protocols import (
    SupportsCancel,
    SupportsChat,
    SupportsDelete,
    SupportsLogs,
    SupportsMetrics,
    SupportsWait,
    TokenTransport,
    Try,
)
from phi_finetune.retries import PatientRetries
from phi_finetune.scoring import ChatReply, Turns
from phi_finetune.sweeps import Swept
from phi_finetune.testing import fake_endpoint, fake_job, fake_model, fake_workspace


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


class OwnEndpoint:
    """An endpoint of somebody's own: it can be asked, and no more."""

    def chat(
        self,
        message: Turns,
        *,
        temperature: float = 0.6,
        top_p: float = 0.9,
        do_sample: bool = True,
        max_new_tokens: int = 200,
        repetition_penalty: float | None = None,
        deployment: str | None = None,
    ) -> ChatReply:
        return ChatReply("Hello.")


class Trained(SupportsWait, SupportsMetrics, Protocol):
    """What a function needs of a job."""


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


def keeping(ws: pf.Workspace, data: pf.ChatDataset) -> pf.ChatDataset:
    """A data set becomes an asset, and comes back."""
    asset = ws.register_data(data, "answers", version="1", tags={"team": "nlp"}, timeout=timedelta(hours=1))
    assert_type(asset, pf.DataAsset)
    assert_type(ws.data_asset("answers", version="1").digest, str | None)
    assert_type(asset.rows, Mapping[str, int])
    assert_type(asset.with_options(timeout=timedelta(minutes=1)), pf.DataAsset)
    assert_type(ws.attach(asset), pf.DataAsset)
    return asset.download("data", max_bytes=10**9)


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


def leasing(ws: pf.Workspace, model: pf.RegisteredModel, cluster: pf.GpuCompute) -> None:
    """What costs money may say until when it stays, and is swept after that."""
    with model.deploy(instance_type="Standard_NC24ads_A100_v4", lease=timedelta(hours=2)) as endpoint:
        assert_type(endpoint.extend(timedelta(hours=3)), pf.Endpoint)
    assert_type(cluster.ensure(lease=timedelta(days=1)).extend(timedelta(days=2)), pf.GpuCompute)
    assert_type(ws.sweep(dry_run=True), tuple[Swept, ...])
    assert_type(ws.doctor(), Checkup)


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


def supported(trained: Trained, cancels: SupportsCancel, logs: SupportsLogs, deleted: SupportsDelete) -> None:
    """A protocol's verb gives what it was given."""
    assert_type(trained.wait(timeout=timedelta(hours=1)), Trained)
    assert_type(trained.wait().metrics().loss, float | None)
    assert_type(cancels.cancel(), SupportsCancel)
    assert_type(logs.logs("chat_completion_finetune"), str)
    deleted.delete(timeout=timedelta(minutes=10))


def supporting(job: pf.FinetuneJob, endpoint: pf.Endpoint) -> None:
    """The real classes have the verbs that the protocols ask for."""
    supported(job, job, job, endpoint)
    asked: list[SupportsChat] = [endpoint, OwnEndpoint()]
    assert_type([each.chat("Hello.", temperature=0.0).text for each in asked], list[str])


def not_supporting(job: pf.FinetuneJob, endpoint: pf.Endpoint) -> None:
    """What lacks a verb is refused."""
    supported(endpoint, job, job, endpoint)  # type: ignore[arg-type]
    supported(job, endpoint, job, endpoint)  # type: ignore[arg-type]
    supported(job, job, job, job)  # type: ignore[arg-type]


def faking() -> None:
    """The light fakes are the library's own objects."""
    ws = fake_workspace("lab")
    assert_type(ws, pf.Workspace)
    assert_type(
        fake_job("a", status="Failed", metrics={"loss": [2.0]}, log="text", workspace=ws), pf.FinetuneJob
    )
    assert_type(fake_model("a", version="2", workspace=ws), pf.RegisteredModel)
    assert_type(fake_endpoint("abc", replies={"Hello.": "Goodbye."}, workspace=ws), pf.Endpoint)
    fake_job(status="Done")  # type: ignore[arg-type]
