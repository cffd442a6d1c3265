"""When something just made can be read: at once, or after some reads in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.assets.versions import KINDS
from phi_finetune.emulator.computes.state import compute_missing
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.hosts import ARM
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.jobs.state import job_missing
from phi_finetune.emulator.online_endpoints.refusals import deployment_missing, endpoint_missing
from phi_finetune.emulator.serverless_endpoints.refusals import endpoint_missing as serverless_missing

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Visibility"]


class Visibility:
    """Which new things of a cloud the next reads do not find, as far as its settings ask for that.

    It is about jobs, versions of assets, endpoints of both kinds, deployments and clusters, read one by one at
    Azure Resource Manager. Lists, changes and run history know them at once.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._hidden: dict[str, tuple[int, ServiceError]] = {}

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

    def note(self, request: Request, answer: Response) -> None:
        """Hide what a request has just made."""
        reads = self._cloud.settings.visible_after_reads
        if not reads or (request.method, request.host, answer.status) != ("PUT", ARM, 201):
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


def _key(request: Request) -> str:
    # Azure Resource Manager takes its paths in any case.
    return request.path.lower()
