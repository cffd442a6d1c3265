"""What would be trained, with which parameters, from where, and at what price; and a value that is refused."""

from __future__ import annotations

import phi_finetune as pf
from phi_finetune.errors import InvalidParameter, SizeNotAllowed
from phi_finetune.testing import FakeAzure

SHOWN = ("num_train_epochs", "number_of_gpu_to_use_finetuning", "learning_rate", "lora_dropout")


def main(azure: FakeAzure) -> None:
    """Plan a fine-tune; nothing is submitted."""
    ws = azure.workspace()
    base = ws.foundation_model("Phi-4")
    tune = base.finetune(pf.ChatDataset.from_sample()).on(pf.GpuCompute.serverless("Standard_ND96asr_v4"))
    plan = tune.with_parameters(num_train_epochs=3, per_device_train_batch_size=2).plan()
    for name in SHOWN:
        print(f"{name} = {plan.parameters[name]}, from {plan.parameters.origin(name)}")
    print(f"{plan.total_batch_size} rows a step on {plan.gpus} GPUs, ${plan.price_usd_per_hour:.2f} an hour")
    try:
        tune.with_parameters(num_train_epochs=0).plan()
    except InvalidParameter as error:
        print(f"{error.name}={error.value} refused, allowed is {error.allowed}")
    try:
        tune.on(pf.GpuCompute.serverless("Standard_NC4as_T4_v3")).plan()
    except SizeNotAllowed as error:
        print(f"{error.size} refused, {len(error.allowed)} sizes are permitted")
    print("jobs submitted:", len(azure.jobs))


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
