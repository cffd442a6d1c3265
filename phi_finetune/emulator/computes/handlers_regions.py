"""Answer what a region offers: machine sizes, and use of the quota. All regions offer the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.computes.quota import family_label
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.paging import page

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["list_sizes", "list_usages"]

_UNLIMITED = -1
_CLUSTERS = 200
"""Clusters of a region, as the page of Get-AzMLServiceUsage shows it; not enforced here."""


def list_sizes(cloud: Cloud, request: Request) -> Response:
    """The machine sizes (shape: Azure's REST page "Virtual Machine Sizes - List")."""
    return json_answer(200, {"value": [_size(size) for size in cloud.computes.sizes]})


def list_usages(cloud: Cloud, request: Request) -> Response:
    """Limits and use (shape: Azure's REST page "Usages - List").

    The dedicated and the low-priority row of a family have the same ``name.value``, the ``family`` of its
    sizes; only ``type`` tells them apart. The low-priority limit of a family is -1: the total alone has one.
    """
    computes = cloud.computes
    low_total = sum(computes.cores_in_use(family, "LowPriority") for family in computes.families)
    total = sum(_held(cloud, family) for family in computes.families)
    limit = sum(computes.quota(family) for family in computes.families)
    rows = [
        _usage(cloud, "totalCores", "Clusters", "Clusters", len(computes.all()), _CLUSTERS),
        _usage(
            cloud,
            "dedicatedCores",
            "TotalDedicatedCores",
            "Total Cluster Dedicated Regional vCPUs",
            total,
            limit,
        ),
        *(_dedicated(cloud, family) for family in computes.families),
        _usage(
            cloud,
            "lowPriorityCores",
            "TotalLowPriorityCores",
            "Total Cluster LowPriority Regional vCPUs",
            low_total,
            computes.low_priority_quota,
        ),
        *(_low_priority(cloud, family) for family in computes.families),
    ]
    return page(request, rows)


def _size(size: VmSize) -> dict[str, Any]:
    return {
        "name": size.name,
        "family": size.family,
        "vCPUs": size.vcpus,
        "gpus": size.gpus,
        "memoryGB": float(size.memory_gib),
        "lowPriorityCapable": size.low_priority_capable,
        "premiumIO": True,
        "supportedComputeTypes": ["AmlCompute", "ComputeInstance", "MIR"],
    }


def _dedicated(cloud: Cloud, family: str) -> dict[str, Any]:
    label = f"{family_label(family)} Family Cluster Dedicated vCPUs"
    limit = cloud.computes.quota(family)
    return _usage(cloud, "vmFamily/dedicatedCores", family, label, _held(cloud, family), limit)


def _held(cloud: Cloud, family: str) -> int:
    return cloud.computes.cores_in_use(family) + cloud.computes.cores_deployed(family)


def _low_priority(cloud: Cloud, family: str) -> dict[str, Any]:
    label = f"{family_label(family)} Family Cluster LowPriority vCPUs"
    used = cloud.computes.cores_in_use(family, "LowPriority")
    return _usage(cloud, "vmFamily/lowPriorityCores", family, label, used, _UNLIMITED)


def _usage(cloud: Cloud, kind: str, value: str, label: str, used: int, limit: int) -> dict[str, Any]:
    return {
        "id": f"/subscriptions/{cloud.subscription_id}/usages/{label.replace(' ', '_')}",
        "amlWorkspaceLocation": cloud.settings.region,
        "type": f"Microsoft.MachineLearningServices/{kind}/usages",
        "unit": "Count",
        "currentValue": used,
        "limit": limit,
        "name": {"value": value, "localizedValue": label},
    }
