"""The whole life of a fine-tune, on an Azure that lives in memory: no account, no network, nothing to pay.

Against the real Azure only the first line of main() changes: ``ws = pf.Workspace.connect(on_event=say)``.
"""

from __future__ import annotations

import phi_finetune as pf
from phi_finetune.events import Event, Waiting, describe
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"


def say(event: Event) -> None:
    if not isinstance(event, Waiting):
        print("   ", describe(event))


def main(azure: FakeAzure) -> None:
    ws = azure.workspace(on_event=say)
    base = ws.foundation_model("Phi-4")
    print(f"model     {base.name} {base.version}, {base.context_length} tokens of context")
    cluster = ws.gpu_compute("gpu-cluster-big", size=SIZE, max_nodes=2).ensure(base)
    print(f"compute   {cluster.name}: up to {cluster.max_nodes} x {cluster.size}, {cluster.nodes} running")
    data = pf.ChatDataset.from_sample().split(validation=0.1, seed=7)
    print(f"data      {data.describe('train').rows} conversations to train on")
    tune = base.finetune(data).on(cluster).with_parameters(num_train_epochs=2, per_device_train_batch_size=4)
    print(tune.plan().explain())
    job = tune.submit().wait()
    metrics = job.metrics()
    first, last = metrics.history("loss")[0].value, metrics.loss
    print(
        f"job       {job.name} {job.status}: loss {first:.2f} -> {last:.2f}, perplexity {metrics.perplexity:.1f}"
    )
    tuned = job.register()
    print(f"model     {tuned.name}:{tuned.version}")
    question = data.row(0)
    with tuned.deploy(instance_type=SIZE) as endpoint:
        print(f"endpoint  {endpoint.name}\n  asked   {question.prompt[-1].content}")
        print(f"  says    {endpoint.chat(question, do_sample=False).text}")
    print(f"left      {len(ws.endpoints())} endpoints, {cluster.refresh().nodes} machines of {cluster.name}")


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
