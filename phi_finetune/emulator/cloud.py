"""One subscription of Azure with one Azure ML workspace in it: takes requests, gives answers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import quote

from phi_finetune.emulator.assets.routes import ROUTES as ASSETS
from phi_finetune.emulator.assets.state import Assets
from phi_finetune.emulator.authorization.routes import ROUTES as AUTHORIZATION
from phi_finetune.emulator.authorization.state import Access
from phi_finetune.emulator.billing.bill import Bill
from phi_finetune.emulator.billing.state import bill
from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.computes.routes import ROUTES as COMPUTES
from phi_finetune.emulator.computes.state import Computes
from phi_finetune.emulator.core.api_version import require_api_version
from phi_finetune.emulator.core.clock import Clock, Progression
from phi_finetune.emulator.core.errors import ServiceError, blob_envelope, envelope, mlflow_envelope
from phi_finetune.emulator.core.fault_queue import Faults
from phi_finetune.emulator.core.faults import AnswerNeverCame, NobodyListens, RequestFault
from phi_finetune.emulator.core.hosts import ARM
from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.ids import Ids
from phi_finetune.emulator.core.journal import Entry, Journal, without_signature
from phi_finetune.emulator.core.operations import ROUTES as OPERATIONS
from phi_finetune.emulator.core.operations import Operations
from phi_finetune.emulator.core.router import Route, Router
from phi_finetune.emulator.identity.routes import ROUTES as IDENTITY
from phi_finetune.emulator.identity.state import Identity
from phi_finetune.emulator.jobs.routes import ROUTES as JOBS
from phi_finetune.emulator.jobs.state import Jobs
from phi_finetune.emulator.marketplace.routes import ROUTES as MARKETPLACE
from phi_finetune.emulator.marketplace.state import Marketplace
from phi_finetune.emulator.mlflow.routes import ROUTES as MLFLOW
from phi_finetune.emulator.online_endpoints.routes import ROUTES as ONLINE_ENDPOINTS
from phi_finetune.emulator.online_endpoints.state import OnlineEndpoints
from phi_finetune.emulator.refused.routes import refused
from phi_finetune.emulator.registries.routes import ROUTES as REGISTRIES
from phi_finetune.emulator.registries.state import Registries
from phi_finetune.emulator.run_history.routes import ROUTES as RUN_HISTORY
from phi_finetune.emulator.runners.commands import Commands
from phi_finetune.emulator.runners.engine import Engine, Report, ServerReport
from phi_finetune.emulator.runners.runner import Runner
from phi_finetune.emulator.scoring.routes import ROUTES as SCORING
from phi_finetune.emulator.serverless_endpoints.keys import sent_key
from phi_finetune.emulator.serverless_endpoints.routes import ROUTES as SERVERLESS_ENDPOINTS
from phi_finetune.emulator.serverless_endpoints.state import ServerlessEndpoints
from phi_finetune.emulator.storage.blobs import Contents
from phi_finetune.emulator.storage.routes import ROUTES as STORAGE
from phi_finetune.emulator.storage.state import Storage
from phi_finetune.emulator.visibility import Visibility
from phi_finetune.emulator.workspaces.routes import ROUTES as WORKSPACES
from phi_finetune.emulator.workspaces.state import Workspace

__all__ = ["Cloud", "Settings"]

ROUTER = Router(
    [
        *WORKSPACES,
        *JOBS,
        *RUN_HISTORY,
        *MLFLOW,
        *STORAGE,
        *REGISTRIES,
        *COMPUTES,
        *ASSETS,
        *ONLINE_ENDPOINTS,
        *SERVERLESS_ENDPOINTS,
        *MARKETPLACE,
        *SCORING,
        *OPERATIONS,
        *IDENTITY,
        *AUTHORIZATION,
    ]
)


@dataclass(frozen=True)
class Settings:
    """How a cloud is set up.

    Attributes:
        region: Where the workspace is.
        resource_group: Its resource group.
        workspace: Its name.
        quota: Cores by family, over the defaults of the catalogue; a family that is named nowhere has 0, as a
            new subscription has for GPUs (Azure's page on managing quotas).
        low_priority_quota: Cores of low priority, one pool for all families.
        seed: Seed of every identifier; None draws one.
        start: The clock's start; None is now.
        progression: What lets time pass (:class:`~phi_finetune.emulator.core.clock.Clock`).
        datastores_auth: Whether datastores have secrets, or callers reach the storage by their own identity.
        visible_after_reads: How many reads of a job, version of an asset, endpoint (online or serverless),
            deployment or cluster answer 404 after it was made.
        gone_after_reads: How many reads of an endpoint (online or serverless), deployment or cluster still show it
            as it was while it was being deleted, after it is gone.
        traffic_after_reads: How many reads of an endpoint show the split of its traffic as it was before a
            change, once the change is done.
        endpoint_name_rest: How long the name of a deleted endpoint cannot be used again.
        registries: Names of registries besides Azure's own. They start empty, and can be written to.
        machine: The one machine that there is, for which every size of Azure's stands; None for Azure's own sizes.
    """

    region: str = "eastus"
    resource_group: str = "phi-lab"
    workspace: str = "phi-lab"
    quota: Mapping[str, int] = field(default_factory=dict)
    low_priority_quota: int = 300
    seed: int | None = None
    start: datetime | None = None
    progression: Progression = "instant"
    datastores_auth: Literal["accessKey", "identity"] = "accessKey"
    visible_after_reads: int = 0
    gone_after_reads: int = 0
    traffic_after_reads: int = 0
    endpoint_name_rest: timedelta = timedelta(0)
    registries: Sequence[str] = ()
    machine: VmSize | None = None


class Cloud:
    """All state of one emulated subscription.

    Args:
        settings: How it is set up; None takes every default.
        runner: What running a job means; None simulates it.
        engine: What really runs jobs and serves models, in place of the runner; None is nothing.
        contents: What keeps the contents of blobs; None keeps them in memory.

    Attributes:
        replays: Whether requests are carried out again that were admitted when they came.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        runner: Runner | None = None,
        *,
        engine: Engine | None = None,
        contents: Contents | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.engine = engine
        self.contents = contents
        self.replays = False
        self.clock = Clock(self.settings.start, self.settings.progression)
        self.ids = Ids(self.settings.seed)
        self.journal = Journal()
        self.faults = Faults()
        self.unrouted: list[str] = []
        self.subscription_id = self.ids.guid()
        self.tenant_id = self.ids.guid()
        self.operations = Operations(self)
        self.identity = Identity(self)
        self.access = Access(self, ROUTER)
        self.workspace = Workspace(self)
        self.storage = Storage(self)
        self.registries = Registries(self)
        self.computes = Computes(self)
        self.assets = Assets(self)
        self.runner: Runner = runner or _simulated()
        self.commands = Commands()
        self.jobs = Jobs(self)
        self.endpoints = OnlineEndpoints(self)
        self.marketplace = Marketplace(self)
        self.serverless_endpoints = ServerlessEndpoints(self)
        self.visibility = Visibility(self, ROUTER)
        self._lock = threading.RLock()

    def handle(self, request: Request) -> Response:
        """Answer a request. What is not emulated is answered with 501, which no client retries, and remembered.

        Raises:
            NobodyListens: A test asked for this: the request was not carried out.
            AnswerNeverCame: A test asked for this: it came, and was carried out if the fault says so.
        """
        with self._lock:
            self.operations.settle()
            self.jobs.settle()
            found = ROUTER.find(request)
            if found is None:
                return self._noted(request, None, self._unknown(request))
            route, params = found
            fault = self.faults.find(request)
            if fault is None:
                return self._noted(request, route, self._answer(request.with_params(params), route))
            return self._faulty(request.with_params(params), route, fault)

    def hear(self, report: Report) -> None:
        """Take what the engine tells; of what is not here any more it changes nothing."""
        with self._lock:
            self.operations.settle()
            self.jobs.settle()
            if isinstance(report, ServerReport):
                self.endpoints.hear(report)
            else:
                self.jobs.hear(report)
            self.operations.settle()
            self.jobs.settle()

    def bill(self) -> Bill:
        """What has run until now, and what it cost; looking lets no time pass."""
        with self._lock:
            self.operations.settle()
            self.jobs.settle()
            return bill(self)

    def owns(self, request: Request) -> bool:
        """Whether a request is for this cloud: by its token, SAS or key; else by its host or path."""
        tenant = request.claims.get("tid")
        if tenant is not None:
            return bool(tenant == self.tenant_id)
        if self.knows_key(request):
            return True
        if self.storage.owns_host(request.host) or self.endpoints.owns_host(request.host):
            return True
        if self.serverless_endpoints.owns_host(request.host):
            return True
        marks = (self.subscription_id, self.tenant_id, self.workspace.guid, self.identity.client_id)
        return any(mark in request.url for mark in marks)

    def knows_key(self, request: Request) -> bool:
        """Whether a request carries a key of an endpoint here, or a token of one, also if it is no longer good."""
        if request.bearer is not None and self.endpoints.knows_key(request.bearer):
            return True
        return self.serverless_endpoints.keys.knows(sent_key(request))

    def arm_id(self, *path: str) -> str:
        """The ARM id of something in the workspace."""
        return "/".join([self.workspace.id, *(quote(part, safe="") for part in path)])

    def _faulty(self, request: Request, route: Route, fault: RequestFault) -> Response:
        try:
            fault.stop()
            refusal = fault.instead()
            whole = self._refusal(route, refusal) if refusal else self._answer(request, route)
            answer = fault.spoil(whole)
        except (AnswerNeverCame, NobodyListens) as lost:
            self.faults.met(fault)
            if isinstance(lost, AnswerNeverCame):
                self._write(request, route, None)
            raise
        if answer is not None:
            self.faults.met(fault)
        return self._noted(request, route, answer or whole)

    def _answer(self, request: Request, route: Route) -> Response:
        try:
            # The order of these refusals is assumed.
            self.identity.admit(request, route.audience)
            self.access.check(route, request)
            if route.host == ARM:
                require_api_version(request)
            self.workspace.admit(request)
            self.visibility.check(request)
            answer = self._carried_out(request, route)
            self.visibility.note(request, answer)
            return answer
        except ServiceError as error:
            if error.status == 501:
                self._left_out(request, error.message)
            return self._refusal(route, error)

    def _carried_out(self, request: Request, route: Route) -> Response:
        try:
            return route.handler(self, request)
        except ServiceError as error:
            return self.visibility.linger(request, error)

    def _noted(self, request: Request, route: Route | None, answer: Response) -> Response:
        answer.headers.update(self._notes())
        self._write(request, route, answer.status)
        return answer

    def _write(self, request: Request, route: Route | None, status: int | None) -> None:
        url, name = without_signature(request.url), route.name if route else None
        self.journal.add(Entry(request.method, url, status, self.clock.now(), name, request.body))

    def _unknown(self, request: Request) -> Response:
        left_out = refused(request)
        where = self._left_out(request, f"{left_out} are not emulated" if left_out else None)
        message = f"The emulator has no route for {where}."
        return json_answer(501, {"error": {"code": "NotImplemented", "message": message}})

    def _left_out(self, request: Request, why: str | None) -> str:
        """Remember a request that is not emulated; what is remembered is given."""
        where = f"{request.method} {without_signature(request.url)}"
        self.unrouted.append(f"{where} ({why})" if why else where)
        return self.unrouted[-1]

    def _refusal(self, route: Route, error: ServiceError) -> Response:
        if error.bare:
            return empty(error.status, error.headers)
        if route.errors == "mlflow":
            return json_answer(error.status, mlflow_envelope(error), error.headers)
        if route.errors == "blob":
            # A blob client reads the code from this header (wire.md 13.5).
            headers = {"Content-Type": "application/xml", "x-ms-error-code": error.code, **error.headers}
            return Response(error.status, headers, blob_envelope(error))
        if route.errors == "scoring":
            return json_answer(
                error.status, {"error": {"code": error.code, "message": error.message}}, error.headers
            )
        body = envelope(
            error, request_id=self.ids.hex(32), region=self.settings.region, when=self.clock.now()
        )
        return json_answer(error.status, body, {"x-ms-response-type": "error", **error.headers})

    def _notes(self) -> dict[str, str]:
        # service.md: every answer of ARM carries these.
        request_id = self.ids.guid()
        return {
            "x-ms-request-id": request_id,
            "x-ms-correlation-request-id": request_id,
            "x-ms-routing-request-id": f"{self.settings.region.upper()}:{request_id}",
            "Cache-Control": "no-cache",
            "Date": self.clock.now().strftime("%a, %d %b %Y %H:%M:%S GMT"),
        }


def _simulated() -> Runner:
    # A cloud with a runner of its own loads no statistics.
    from phi_finetune.emulator.runners.simulated import SimulatedRunner

    return SimulatedRunner()
