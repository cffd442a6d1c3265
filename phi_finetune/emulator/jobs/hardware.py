"""What a job's computes cannot do, found out only when a step starts there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.runners.runner import Failure

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["FINETUNE", "longest", "low_priority", "unfit"]

FINETUNE = "chat_completion_finetune"

# Azure's page "Manage and increase quotas" (pain.md, Part 2, "Job lifetime").
_LONGEST = timedelta(days=21)
_LONGEST_LOW_PRIORITY = timedelta(days=7)


def low_priority(cloud: Cloud, compute: str) -> bool:
    """Whether Azure may take away the nodes of a compute; those of serverless compute are dedicated here."""
    clusters = (one for one in cloud.computes.all() if one.name.lower() == compute.lower())
    return any(one.priority == "LowPriority" for one in clusters)


def longest(cloud: Cloud, compute: str) -> timedelta:
    """How long a run on a compute may take."""
    return _LONGEST_LOW_PRIORITY if low_priority(cloud, compute) else _LONGEST


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
