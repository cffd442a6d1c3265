"""What a job's computes cannot do, found out only when a step starts there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from phi_finetune.emulator.runners.runner import Failure

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["FINETUNE", "unfit"]

FINETUNE = "chat_completion_finetune"


def unfit(cloud: Cloud, step: str, compute: str, values: Mapping[str, str]) -> Failure | None:
    """Why a step cannot start on a compute; None where it can (pain.md I5).

    Serverless nodes come in the number and size that were asked for, so nothing is checked there.
    """
    if not cloud.computes.exists(compute):
        # It was there at submission, and has been deleted since.
        return Failure("UserError", f"Unknown compute target '{compute}'.")
    if step != FINETUNE or compute.lower() == "serverless":
        return None
    cluster = cloud.computes.find(compute)
    nodes, gpus = int(values["num_nodes_finetune"]), int(values["number_of_gpu_to_use_finetuning"])
    if nodes > cluster.max_nodes:
        message = (
            f"Requested {nodes} nodes but AzureMLCompute cluster only has {cluster.max_nodes} maximum nodes."
        )
        return Failure("UserError", message)
    if gpus > cluster.size.gpus:
        # What torch says to the process whose GPU is not there.
        found = f"{gpus} GPUs asked for, {cluster.size.gpus} found"
        message = f"RuntimeError: CUDA error: invalid device ordinal ({found})"
        return Failure("UserError", message)
    return None
