"""Which actions of Azure's role-based access control each call needs the right to.

The table is what the calls were seen to ask for: a test makes each of them, and compares. A deployment that fails, or a
cluster that is made, is part of it. What a verb needs that no request shows, as of the storage account, is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

__all__ = ["ACTIONS", "permits"]

_ML: Final = "Microsoft.MachineLearningServices"

_OF_ML: Final[Mapping[str, tuple[str, ...]]] = {
    "Workspace.foundation_model": (),
    "Workspace.gpu_skus": (
        "locations/vmSizes/read",
        "workspaces/read",
    ),
    "Workspace.jobs": ("workspaces/jobs/read",),
    "Workspace.job": ("workspaces/jobs/read",),
    "Workspace.model": ("workspaces/models/versions/read",),
    "Workspace.models": (
        "workspaces/models/read",
        "workspaces/models/versions/read",
    ),
    "Workspace.register_data": (
        "workspaces/data/versions/read",
        "workspaces/data/versions/write",
        "workspaces/datastores/listSecrets/action",
        "workspaces/datastores/read",
    ),
    "Workspace.data_asset": ("workspaces/data/versions/read",),
    "Workspace.endpoint": ("workspaces/onlineEndpoints/read",),
    "Workspace.endpoints": ("workspaces/onlineEndpoints/read",),
    "Workspace.sweep": (
        "workspaces/computes/delete",
        "workspaces/computes/read",
        "workspaces/onlineEndpoints/delete",
        "workspaces/onlineEndpoints/read",
        "workspaces/read",
    ),
    "Workspace.doctor": (
        "Microsoft.Authorization/permissions/read",
        "locations/vmSizes/read",
        "workspaces/datastores/listSecrets/action",
        "workspaces/datastores/read",
        "workspaces/read",
    ),
    "GpuCompute.ensure": (
        "locations/usages/read",
        "locations/vmSizes/read",
        "workspaces/computes/read",
        "workspaces/computes/write",
        "workspaces/read",
    ),
    "GpuCompute.refresh": ("workspaces/computes/read",),
    "GpuCompute.scale": (
        "workspaces/computes/read",
        "workspaces/computes/write",
    ),
    "GpuCompute.extend": (
        "workspaces/computes/read",
        "workspaces/computes/write",
        "workspaces/read",
    ),
    "GpuCompute.delete": (
        "workspaces/computes/delete",
        "workspaces/computes/read",
    ),
    "Finetune.plan": (
        "locations/vmSizes/read",
        "workspaces/read",
    ),
    "Finetune.submit": (
        "locations/vmSizes/read",
        "workspaces/datastores/listSecrets/action",
        "workspaces/datastores/read",
        "workspaces/jobs/read",
        "workspaces/jobs/write",
        "workspaces/read",
    ),
    "FinetuneJob.refresh": ("workspaces/jobs/read",),
    "FinetuneJob.wait": ("workspaces/jobs/read",),
    "FinetuneJob.events": (
        "workspaces/experiments/runs/read",
        "workspaces/read",
    ),
    "FinetuneJob.logs": (
        "workspaces/experiments/runs/read",
        "workspaces/read",
    ),
    "FinetuneJob.metrics": (
        "workspaces/experiments/runs/read",
        "workspaces/read",
    ),
    "FinetuneJob.children": (
        "workspaces/experiments/runs/read",
        "workspaces/read",
    ),
    "FinetuneJob.diagnose": (
        "workspaces/experiments/runs/read",
        "workspaces/read",
    ),
    "FinetuneJob.cancel": (
        "workspaces/jobs/cancel/action",
        "workspaces/jobs/read",
    ),
    "FinetuneJob.register": (
        "workspaces/models/versions/read",
        "workspaces/models/versions/write",
    ),
    "RegisteredModel.deploy": (
        "locations/vmSizes/read",
        "workspaces/onlineEndpoints/delete",
        "workspaces/onlineEndpoints/deployments/getLogs/action",
        "workspaces/onlineEndpoints/deployments/write",
        "workspaces/onlineEndpoints/read",
        "workspaces/onlineEndpoints/write",
        "workspaces/read",
    ),
    "RegisteredModel.download": (
        "workspaces/datastores/listSecrets/action",
        "workspaces/datastores/read",
    ),
    "DataAsset.download": (
        "workspaces/datastores/listSecrets/action",
        "workspaces/datastores/read",
    ),
    "Endpoint.refresh": ("workspaces/onlineEndpoints/read",),
    "Endpoint.chat": ("workspaces/onlineEndpoints/listKeys/action", "workspaces/read"),
    "Endpoint.keys": ("workspaces/onlineEndpoints/listKeys/action",),
    "Endpoint.deployments": (
        "workspaces/onlineEndpoints/deployments/read",
        "workspaces/onlineEndpoints/read",
    ),
    "Endpoint.deploy": (
        "locations/vmSizes/read",
        "workspaces/onlineEndpoints/deployments/delete",
        "workspaces/onlineEndpoints/deployments/getLogs/action",
        "workspaces/onlineEndpoints/deployments/read",
        "workspaces/onlineEndpoints/deployments/write",
        "workspaces/onlineEndpoints/read",
        "workspaces/read",
    ),
    "Endpoint.shift_traffic": (
        "workspaces/onlineEndpoints/read",
        "workspaces/onlineEndpoints/write",
    ),
    "Endpoint.logs": ("workspaces/onlineEndpoints/deployments/getLogs/action",),
    "Endpoint.extend": (
        "workspaces/onlineEndpoints/read",
        "workspaces/onlineEndpoints/write",
        "workspaces/read",
    ),
    "Endpoint.delete_deployment": (
        "workspaces/onlineEndpoints/deployments/delete",
        "workspaces/onlineEndpoints/deployments/read",
        "workspaces/onlineEndpoints/read",
    ),
    "Endpoint.delete": (
        "workspaces/onlineEndpoints/delete",
        "workspaces/onlineEndpoints/read",
    ),
}
"""The actions of Azure ML's own provider, by call."""

ACTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    **{call: tuple(f"{_ML}/{action}" for action in actions) for call, actions in _OF_ML.items()},
    "Workspace.doctor": (
        "Microsoft.Authorization/permissions/read",
        f"{_ML}/locations/vmSizes/read",
        f"{_ML}/workspaces/datastores/listSecrets/action",
        f"{_ML}/workspaces/datastores/read",
        f"{_ML}/workspaces/read",
    ),
}
"""The actions that each call needs, by the call's name: ``"GpuCompute.ensure"``."""


def permits(permissions: Iterable[Mapping[str, Any]], action: str) -> bool:
    """Whether a caller's permissions, as Azure Resource Manager lists them, permit an action.

    Each is a role's: what its ``actions`` name, less what its ``notActions`` name. Deny assignments are not among them.
    """
    return any(
        _names(permission.get("actions"), action) and not _names(permission.get("notActions"), action)
        for permission in permissions
    )


def _names(patterns: Iterable[object] | None, action: str) -> bool:
    return any(_matches(str(pattern).lower(), action.lower()) for pattern in patterns or ())


def _matches(pattern: str, action: str) -> bool:
    """Whether a pattern with ``*`` for anything is of an action.

    ``computes/*/write`` is also of ``computes/write``: the role AzureML Data Scientist has it among its notActions, and
    by its description may not make computes; and it may read the workspace by ``workspaces/*/read``.
    """
    return _fits(pattern, action) or ("/*/" in pattern and _fits(pattern.replace("/*/", "/"), action))


def _fits(pattern: str, action: str) -> bool:
    first, *others = pattern.split("*")
    if not others:
        return pattern == action
    *middle, last = others
    if not action.startswith(first):
        return False
    at = len(first)
    for piece in middle:
        found = action.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return action.endswith(last) and len(action) - len(last) >= at
