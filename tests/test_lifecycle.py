from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pipelines
from tuning import PROMPT, REPLY

import phi_finetune as pf
from phi_finetune.testing import FakeAzure


def test_the_whole_life_of_a_finetune(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """The README's path runs as written; it answers from its data, and leaves nothing that costs money."""
    rows = tmp_path / "ultrachat.jsonl"
    rows.write_bytes(pipelines.jsonl(pipelines.conversations(40)))

    ws = fake_azure.workspace()
    base = ws.foundation_model("Phi-4")
    cluster = ws.gpu_compute("gpu-cluster-big", size="Standard_NC24ads_A100_v4", max_nodes=2).ensure()
    data = pf.ChatDataset.from_jsonl(rows)

    job = base.finetune(data).on(cluster).with_parameters(num_train_epochs=1).submit()
    job.wait()
    tuned = job.register("phi-4-ultrachat")
    with tuned.deploy(instance_type="Standard_NC24ads_A100_v4") as endpoint:
        assert endpoint.chat(PROMPT).text == REPLY
        assert endpoint.name in fake_azure.endpoints

    assert fake_azure.endpoints == {}
    fake_azure.clock.advance(timedelta(minutes=2))
    assert cluster.refresh().nodes == 0


def test_the_shipped_sample_goes_the_whole_way(workspace: pf.Workspace) -> None:
    """A prompt of the sample is answered as the sample answers it, and both losses fall."""
    data = pf.ChatDataset.from_sample().split(validation=0.1, seed=1)
    cluster = pf.GpuCompute.serverless("Standard_NC24ads_A100_v4")
    tune = workspace.foundation_model("Phi-4").finetune(data).on(cluster)
    job = tune.with_parameters(evaluation_strategy="steps", eval_steps=20).submit().wait()
    for key in ("loss", "eval_loss"):
        history = [point.value for point in job.metrics().history(key)]
        assert len(history) > 1
        assert history[-1] < history[0]
    row = data.row(0)
    with job.register().deploy(instance_type="Standard_NC24ads_A100_v4") as endpoint:
        reply = endpoint.chat(row, do_sample=False).text
    assert reply.split()[:8] == row.messages[-1].content.split()[:8]


def test_two_workspaces_live_side_by_side() -> None:
    """What is done in one subscription is not seen in another that is open at the same time."""
    with FakeAzure() as one, FakeAzure() as other:
        one.workspace().gpu_compute("gpu", size="Standard_NC24ads_A100_v4").ensure()
        assert (list(one.computes), list(other.computes)) == (["gpu"], [])
