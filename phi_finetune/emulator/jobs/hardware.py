"""Where a step runs, and what its computes cannot do, which is found out only when the step starts there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.jobs.command import SERVERLESS
from phi_finetune.emulator.runners.runner import Failure

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["FINETUNE", "Place", "longest", "low_priority", "unfit"]

FINETUNE = "chat_completion_finetune"

# Azure's page "Manage and increase quotas" (pain.md, Part 2, "Job lifetime").
_LONGEST = timedelta(days=21)
_LONGEST_LOW_PRIORITY = timedelta(days=7)


@dataclass(frozen=True)
class Place:
    """Where a step runs.

    Attributes:
        compute: The compute's name.
        instance_type: The size of serverless nodes.
        nodes: How many nodes it needs.
        gpus: How many GPUs of each node it uses; 0 for as many as there are.
        limit: How long the job lets it run; None for no limit of its own.
        environment: The environment whose image it needs; None for an image that is there.
    """

    compute: str
    instance_type: str
    nodes: int
    gpus: int
    limit: timedelta | None = None
    environment: str | None = None


def low_priority(cloud: Cloud, compute: str) -> bool:
    """Whether Azure may take away the nodes of a compute; those of serverless compute are dedicated here."""
    clusters = (one for one in cloud.computes.all() if one.name.lower() == compute.lower())
    return any(one.priority == "LowPriority" for one in clusters)


def longest(cloud: Cloud, compute: str) -> timedelta:
    """How long a run on a compute may take."""
    return _LONGEST_LOW_PRIORITY if low_priority(cloud, compute) else _LONGEST


def unfit(cloud: Cloud, place: Place) -> Failure | None:
    """Why a step cannot start where it is to run; None where it can (pain.md I5).

    Serverless nodes come in the number and size that were asked for, so nothing is checked there.
    """
    compute = place.compute
    if not cloud.computes.exists(compute):
        # It was there at submission, and has been deleted since.
        return Failure("UserError", f"Unknown compute target '{compute}'.")
    if compute.lower() == SERVERLESS:
        return None
    cluster = cloud.computes.find(compute)
    if place.nodes > cluster.max_nodes:
        most = f"AzureMLCompute cluster only has {cluster.max_nodes} maximum nodes"
        return Failure("UserError", f"Requested {place.nodes} nodes but {most}.")
    if place.gpus > cluster.size.gpus:
        # What torch says to the process whose GPU is not there.
        found = f"{place.gpus} GPUs asked for, {cluster.size.gpus} found"
        message = f"RuntimeError: CUDA error: invalid device ordinal ({found})"
        return Failure("UserError", message)
    return None
