"""The whole life of a fine-tune, on an Azure in memory. On the real one, only the first line of main() changes."""

from __future__ import annotations

import phi_finetune as pf
from phi_finetune.events import Event, RequestSent, Waiting, describe
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"


def say(event: Event) -> None:
    """Print what happened, but not each look of a wait."""
    if not isinstance(event, RequestSent | Waiting):
        print("   ", describe(event))


def main(azure: FakeAzure) -> None:
    """From the model in the catalogue to its answer, and nothing left."""
    ws = azure.workspace(on_event=say)
    base = ws.foundation_model("Phi-4")
    print(f"model     {base.name} {base.version}, {base.context_length} tokens of context")
    cluster = ws.gpu_compute("gpu-cluster-big", size=SIZE, max_nodes=2).ensure(base)
    print(f"compute   {cluster.name}: up to {cluster.max_nodes} x {cluster.size}, {cluster.nodes} running")
    data = pf.ChatDataset.from_sample().split(validation=0.1, seed=7)
    tune = base.finetune(data).on(cluster).with_parameters(num_train_epochs=2, per_device_train_batch_size=4)
    plan = tune.plan()
    print(f"plan      {plan.rows['train']} conversations, about ${plan.price_usd_per_hour:.2f} an hour")
    job = tune.submit().wait()
    losses = [f"{point.value:.2f}" for point in job.metrics().history("loss")]
    print(f"job       {job.status}, loss {' '.join(losses)}")
    with job.register().deploy(instance_type=SIZE) as endpoint:
        print(f"asked     {data.row(0).prompt[-1].content}")
        print(f"answered  {endpoint.chat(data.row(0), do_sample=False).text}")
    print(f"left      {len(ws.endpoints())} endpoints, {cluster.refresh().nodes} machines of {cluster.name}")


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
