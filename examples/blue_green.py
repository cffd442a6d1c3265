"""Two models behind one endpoint: try the new one with no traffic, give it a part, then all of it."""

from __future__ import annotations

from collections import Counter

import phi_finetune as pf
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"


def train(ws: pf.Workspace, epochs: int) -> pf.RegisteredModel:
    """A version of the model."""
    tune = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
    tune = tune.on(pf.GpuCompute.serverless(SIZE)).with_parameters(num_train_epochs=epochs)
    return tune.submit().wait().register("phi-4-support")


def main(azure: FakeAzure) -> None:
    """Blue serves; green comes beside it, and takes over."""
    ws = azure.workspace()
    with train(ws, epochs=1).deploy("support", instance_type=SIZE, deployment="blue") as endpoint:
        endpoint = endpoint.deploy(train(ws, epochs=3), "green", instance_type=SIZE)
        print("traffic:", dict(endpoint.traffic))
        print("tried:  ", endpoint.chat("Hello", deployment="green").deployment)
        endpoint = endpoint.shift_traffic({"blue": 90, "green": 10})
        print("of 20:  ", dict(Counter(endpoint.chat("Hello").deployment for _ in range(20))))
        endpoint = endpoint.shift_traffic({"blue": 0, "green": 100})
        endpoint = endpoint.delete_deployment("blue")
        for deployment in endpoint.deployments():
            print(f"{deployment.name}: {deployment.traffic} %, {deployment.instance_count} machine billed")
    print("left:   ", len(ws.endpoints()), "endpoints")


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
