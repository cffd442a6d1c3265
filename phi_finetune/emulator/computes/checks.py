"""What the service refuses about a cluster, since the client checks none of it (wire.md 4 and 13.10)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.computes.cluster import ClusterSpec
from phi_finetune.emulator.computes.quota import family_label
from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["check_name", "check_priority", "check_room", "check_scale", "find_size"]

_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{1,30})[A-Za-z0-9]")

_MORE_QUOTA = (
    "Talk to your Subscription Admin or refer to "
    "https://docs.microsoft.com/azure/machine-learning/how-to-manage-quotas#request-quota-increases"
)


def check_name(name: str) -> None:
    """Refuse a name that breaks the rules (Azure's page on resource names; pain.md, "Names").

    Raises:
        ServiceError: 400.
    """
    if not _NAME.fullmatch(name):
        raise ServiceError(
            400,
            "BadRequest",
            "Compute name is invalid. It can include letters, digits and dashes. It must start with a "
            "letter, end with a letter or digit, and be between 3 and 32 characters in length.",
        )


def find_size(name: str, sizes: Iterable[VmSize]) -> VmSize:
    """The machine size of a name, in any case.

    Raises:
        ServiceError: 400, where there is none.
    """
    for size in sizes:
        if size.name.lower() == name.lower():
            return size
    raise ServiceError(
        400,
        "InvalidPropertyValue",
        f"The specified value {name} for property Cluster.Properties.VMSize is not a supported VM size.",
    )


def check_scale(spec: ClusterSpec) -> None:
    """Refuse node counts that make no sense. The wording is ours; the service's is not known.

    Raises:
        ServiceError: 400.
    """
    if not 0 <= spec.min_nodes <= spec.max_nodes or spec.max_nodes < 1:
        raise ServiceError(
            400,
            "InvalidPropertyValue",
            f"The specified minNodeCount {spec.min_nodes} and maxNodeCount {spec.max_nodes} are not valid: "
            "0 <= minNodeCount <= maxNodeCount and 1 <= maxNodeCount are required.",
        )


def check_priority(spec: ClusterSpec, size: VmSize) -> None:
    """Refuse low priority for a size that cannot be had as such.

    Raises:
        ServiceError: 400.
    """
    if spec.priority == "LowPriority" and not size.low_priority_capable:
        raise ServiceError(
            400,
            "UnsupportedVMSizeForLowPriority",
            f"The VM size {size.name.upper()} is not allowed for LowPriority. "
            "Please convert to Dedicated or use a different VM size.",
        )


def check_room(spec: ClusterSpec, size: VmSize, *, limit: int, used: int) -> None:
    """Refuse a cluster that its quota cannot hold: of its family, or of low priority.

    Where not even the nodes that must be up fit, the words are the service's (pain.md I1). That all nodes
    must fit follows from Azure's page "Manage and increase quotas"; the words for it are ours.

    Raises:
        ServiceError: 400.
    """
    owner = f"{family_label(size.family)} family" if spec.priority == "Dedicated" else "total"
    least = max(1, spec.min_nodes)
    if least * size.vcpus > limit - used:
        raise ServiceError(
            400,
            "ClusterMinNodesExceedCoreQuota",
            f"The specified subscription has a {owner} vCPU quota of {limit}{_in_use(used)} and cannot "
            f"accomodate for at least {least} requested managed compute nodes which maps to "
            f"{least * size.vcpus} vCPUs. "
            f"{_MORE_QUOTA} to increase the {owner} quota.",
        )
    if spec.max_nodes * size.vcpus > limit - used:
        raise ServiceError(
            400,
            "ClusterCoreQuotaReached",
            f"The specified subscription has a {owner} vCPU quota of {limit}{_in_use(used)} and cannot "
            f"accomodate for the {spec.max_nodes} requested managed compute nodes which map to "
            f"{spec.max_nodes * size.vcpus} vCPUs. {_MORE_QUOTA} to increase the {owner} quota.",
        )


def _in_use(used: int) -> str:
    return f", {used} of which are in use," if used else ""
