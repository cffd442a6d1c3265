"""Which action a caller needs the right to, for each route.

Azure Resource Manager makes it of the path: the provider, the types of resource, and ``read``, ``write``, ``delete`` or
the name of what is posted to with ``action`` (Azure's page "Azure resource provider operations"). The data plane's are
in Azure ML's page "Manage access to Azure Machine Learning workspaces", under "MLflow operations".
"""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import API, ARM, PROVIDER
from phi_finetune.emulator.core.router import Route

__all__ = ["action_of"]

_VERBS = {
    "GET": "read",
    "HEAD": "read",
    "PUT": "write",
    "PATCH": "write",
    "DELETE": "delete",
    "POST": "action",
}
_WORKSPACE = f"{PROVIDER.removeprefix('/providers/')}/workspaces"


def action_of(route: Route) -> str | None:
    """The action; None where a caller needs no right.

    That is signing in, discovery, what a signature or an endpoint's key opens, and two things by assumption: every
    registry, as Azure's own ask for no right; and following an operation, since the role AzureML Data Scientist,
    which has no right in a subscription's locations, may deploy.
    """
    if route.host == ARM:
        return _of_path(route)
    if route.host != API:
        return None
    if route.path.startswith("/mlflow/") and "/mlflow/experiments/" in route.path:
        return f"{_WORKSPACE}/experiments/read"
    # The rights of run history and of the data's addresses are assumed; none of these routes writes.
    if route.path.startswith("/data/"):
        return f"{_WORKSPACE}/data/versions/read"
    return f"{_WORKSPACE}/experiments/runs/read" if route.path.startswith(("/history/", "/mlflow/")) else None


def _of_path(route: Route) -> str | None:
    _, found, resource = route.path.rpartition("/providers/")
    if not found:
        return None
    provider, *segments = resource.split("/")
    if segments[0] == "locations" and "{" in segments[-1]:
        return None
    types = [segment for segment in segments if "{" not in segment]
    return "/".join([provider, *types, _VERBS[route.method]])
