"""Every public call that asks Azure, each with what it is called on made beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import pipelines
from tuning import PROMPT, SIZE, data, deployed, finetune, trained

import phi_finetune as pf
from phi_finetune.errors import DeploymentFailed
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import DeploymentFails

__all__ = ["VERBS", "Verb"]

Verb: TypeAlias = Callable[[FakeAzure], Callable[[pf.Workspace], object]]
"""Makes ready what a call needs, and gives the call."""

GPU = "gpu"


def _of_workspace(call: Callable[[pf.Workspace], object]) -> Verb:
    return lambda azure: call


def _of_cluster(call: Callable[[pf.GpuCompute], object]) -> Verb:
    def ready(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
        azure.workspace().gpu_compute(GPU, size=SIZE).ensure()
        return lambda ws: call(ws.gpu_compute(GPU, size=SIZE))

    return ready


def _of_job(call: Callable[[pf.FinetuneJob], object], *, done: bool = True) -> Verb:
    def ready(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
        pipelines.start(azure.cloud, "tune")
        job = azure.workspace().job("tune")
        job = job.wait() if done else job
        return lambda ws: call(ws.attach(job))

    return ready


def _of_model(call: Callable[[pf.RegisteredModel], object]) -> Verb:
    def ready(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
        model = trained(azure, azure.workspace())
        return lambda ws: call(ws.attach(model))

    return ready


def _of_endpoint(call: Callable[[pf.Endpoint], object]) -> Verb:
    def ready(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
        endpoint = deployed(azure, azure.workspace())
        return lambda ws: call(ws.attach(endpoint))

    return ready


def _listing(call: Callable[[pf.Workspace], object]) -> Verb:
    def ready(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
        trained(azure, azure.workspace()).deploy("answers", instance_type=SIZE)
        return call

    return ready


def _ensuring(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    return lambda ws: ws.gpu_compute(GPU, size=SIZE).ensure(lease=timedelta(hours=1))


def _submitting(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    return lambda ws: finetune(ws).submit()


def _downloading_data(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    asset = azure.workspace().register_data(data())

    def call(ws: pf.Workspace) -> object:
        with TemporaryDirectory() as folder:
            return ws.attach(asset).download(folder)

    return call


def _finding_data(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    azure.workspace().register_data(data())
    return lambda ws: ws.data_asset("facts")


def _deploying(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    model = trained(azure, azure.workspace())

    def call(ws: pf.Workspace) -> None:
        here = ws.attach(model)
        here.deploy("answers", instance_type=SIZE)
        azure.faults.next(DeploymentFails())
        with suppress(DeploymentFailed):
            here.deploy("more-answers", instance_type=SIZE)

    return call


def _deploying_more(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    endpoint = deployed(azure, azure.workspace())
    model = azure.workspace().model("facts")

    def call(ws: pf.Workspace) -> None:
        azure.faults.next(DeploymentFails())
        for _ in range(2):
            with suppress(DeploymentFailed):
                ws.attach(endpoint).deploy(ws.attach(model), "green", instance_type=SIZE)

    return call


def _deleting_a_deployment(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    endpoint = deployed(azure, azure.workspace()).shift_traffic({})
    return lambda ws: ws.attach(endpoint).delete_deployment("default")


def _sweeping(azure: FakeAzure) -> Callable[[pf.Workspace], object]:
    ws = azure.workspace()
    trained(azure, ws).deploy(instance_type=SIZE, lease=timedelta(minutes=2))
    ws.gpu_compute(GPU, size="Standard_NC4as_T4_v3").ensure(lease=timedelta(minutes=2))
    azure.clock.advance(timedelta(hours=1))
    return lambda ws: ws.sweep()


def _download(model: pf.RegisteredModel) -> Path:
    with TemporaryDirectory() as folder:
        return model.download(folder)


VERBS: Mapping[str, Verb] = {
    "Workspace.foundation_model": _of_workspace(lambda ws: ws.foundation_model("Phi-4")),
    "Workspace.gpu_skus": _of_workspace(lambda ws: ws.gpu_skus()),
    "Workspace.jobs": _of_workspace(lambda ws: ws.jobs()),
    "Workspace.job": _listing(lambda ws: ws.job("tune")),
    "Workspace.model": _listing(lambda ws: ws.model("facts")),
    "Workspace.models": _listing(lambda ws: ws.models()),
    "Workspace.register_data": _of_workspace(lambda ws: ws.register_data(data())),
    "Workspace.data_asset": _finding_data,
    "Workspace.endpoint": _listing(lambda ws: ws.endpoint("answers")),
    "Workspace.endpoints": _of_workspace(lambda ws: ws.endpoints()),
    "Workspace.sweep": _sweeping,
    "Workspace.doctor": _of_workspace(lambda ws: ws.doctor()),
    "GpuCompute.ensure": _ensuring,
    "GpuCompute.refresh": _of_cluster(lambda gpu: gpu.refresh()),
    "GpuCompute.scale": _of_cluster(lambda gpu: gpu.scale(max_nodes=2)),
    "GpuCompute.extend": _of_cluster(lambda gpu: gpu.extend(timedelta(hours=1))),
    "GpuCompute.delete": _of_cluster(lambda gpu: gpu.delete()),
    "Finetune.plan": _of_workspace(lambda ws: finetune(ws).plan()),
    "Finetune.submit": _submitting,
    "FinetuneJob.refresh": _of_job(lambda job: job.refresh()),
    "FinetuneJob.wait": _of_job(lambda job: job.wait(), done=False),
    "FinetuneJob.events": _of_job(lambda job: list(job.events())),
    "FinetuneJob.logs": _of_job(lambda job: job.logs()),
    "FinetuneJob.metrics": _of_job(lambda job: job.metrics().history("loss")),
    "FinetuneJob.children": _of_job(lambda job: job.children()),
    "FinetuneJob.diagnose": _of_job(lambda job: job.diagnose()),
    "FinetuneJob.cancel": _of_job(lambda job: job.cancel(), done=False),
    "FinetuneJob.register": _of_job(lambda job: job.register("facts")),
    "RegisteredModel.deploy": _deploying,
    "RegisteredModel.download": _of_model(_download),
    "DataAsset.download": _downloading_data,
    "Endpoint.refresh": _of_endpoint(lambda endpoint: endpoint.refresh()),
    "Endpoint.chat": _of_endpoint(lambda endpoint: endpoint.chat(PROMPT)),
    "Endpoint.keys": _of_endpoint(lambda endpoint: endpoint.keys()),
    "Endpoint.deployments": _of_endpoint(lambda endpoint: endpoint.deployments()),
    "Endpoint.deploy": _deploying_more,
    "Endpoint.shift_traffic": _of_endpoint(lambda endpoint: endpoint.shift_traffic({"default": 100})),
    "Endpoint.logs": _of_endpoint(lambda endpoint: endpoint.logs()),
    "Endpoint.extend": _of_endpoint(lambda endpoint: endpoint.extend(timedelta(hours=1))),
    "Endpoint.delete_deployment": _deleting_a_deployment,
    "Endpoint.delete": _of_endpoint(lambda endpoint: endpoint.delete()),
}
