"""When something just made can be read, and something deleted no longer: at once, or after some reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from phi_finetune.emulator.assets.versions import KINDS
from phi_finetune.emulator.computes.state import compute_missing
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.hosts import ARM
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.core.router import Router
from phi_finetune.emulator.jobs.state import job_missing
from phi_finetune.emulator.online_endpoints.refusals import deployment_missing, endpoint_missing
from phi_finetune.emulator.serverless_endpoints.refusals import endpoint_missing as serverless_missing

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Visibility"]


class Visibility:
    """Which new things of a cloud the next reads do not find, and which deleted ones they do (reliability.md R1).

    The cloud's settings ask for either. New are jobs, versions of assets, endpoints of both kinds, deployments and
    clusters; deleted over time are the last three. They are read one by one at Azure Resource Manager: lists, changes
    and run history know at once.
    """

    def __init__(self, cloud: Cloud, router: Router) -> None:
        self._cloud = cloud
        self._router = router
        self._hidden: dict[str, tuple[int, ServiceError]] = {}
        self._lingering: dict[str, tuple[int, Response]] = {}

    def check(self, request: Request) -> None:
        """Count a read.

        Raises:
            ServiceError: 404, as if what is asked for were not there.
        """
        if request.method != "GET" or not self._hidden:
            return
        left, missing = self._hidden.pop(_key(request), (0, None))
        if missing is None:
            return
        if left > 1:
            self._hidden[_key(request)] = left - 1, missing
        raise missing

    def linger(self, request: Request, missing: ServiceError) -> Response:
        """Count a read of what is gone, and show it as it was while it was being deleted.

        Raises:
            ServiceError: ``missing``, where nothing is left to show, or it was no read.
        """
        left, last = (
            self._lingering.pop(_key(request), (0, None)) if _is_late(request, missing) else (0, None)
        )
        if last is None:
            raise missing
        if left > 1:
            self._lingering[_key(request)] = left - 1, last
        return replace(last, headers=dict(last.headers))

    def note(self, request: Request, answer: Response) -> None:
        """Hide what a request has just made, and keep what it has begun to delete."""
        if request.host != ARM:
            return
        if (request.method, answer.status) == ("PUT", 201):
            self._lingering.pop(_key(request), None)
            self._hide(request)
        if (request.method, answer.status) == ("DELETE", 202):
            self._keep(request)

    def _keep(self, request: Request) -> None:
        reads = self._cloud.settings.gone_after_reads
        read = replace(request, method="GET")
        found = self._router.find(read) if reads else None
        if found is not None:
            route, _ = found
            self._lingering[_key(request)] = reads, route.handler(self._cloud, read)

    def _hide(self, request: Request) -> None:
        reads = self._cloud.settings.visible_after_reads
        if not reads:
            return
        missing = self._missing(request)
        if missing is not None:
            self._hidden[_key(request)] = reads, missing

    def _missing(self, request: Request) -> ServiceError | None:
        params, workspace = request.params, self._cloud.workspace.name
        if "job" in params:
            return job_missing(params["job"])
        if "compute" in params:
            return compute_missing(params["compute"])
        if "deployment" in params:
            return deployment_missing(params["deployment"], params["endpoint"], workspace)
        if "endpoint" in params:
            return endpoint_missing(params["endpoint"], workspace)
        if "serverless" in params:
            return serverless_missing(params["serverless"], workspace)
        if "name" not in params or "version" not in params:
            return None
        for kind in KINDS:
            if f"/{kind}/" in request.path.lower():
                return self._cloud.assets.absent(kind, params["name"], params["version"])
        return None


def _is_late(request: Request, missing: ServiceError) -> bool:
    return request.method == "GET" and missing.status == 404


def _key(request: Request) -> str:
    # Azure Resource Manager takes its paths in any case.
    return request.path.lower()
