"""Long-running operations: a change is accepted, polled, and ends well or badly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import Progress, Stage
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.hosts import ARM, LOCATION
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.router import Route

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["POLL_AT_ONCE", "ROUTES", "Operation", "Operations"]

POLL_AT_ONCE = {"retry-after-ms": "1"}
"""What keeps the real client from sleeping between polls: zero is treated as absent (wire.md 10)."""

Outcome = Callable[[], "ServiceError | None"]


@dataclass
class Operation:
    """A change under way. ``finish`` runs once, when its time has come; an error it gives fails the operation."""

    id: str
    kind: str
    progress: Progress
    finish: Outcome
    error: ServiceError | None = None
    settled: bool = False

    @property
    def status(self) -> str:
        """``InProgress``, ``Succeeded`` or ``Failed``, at the clock's time."""
        return self._after(self.progress.state)

    def watch(self) -> str:
        """The same, as a poller sees it: watching lets time pass."""
        return self._after(self.progress.watch())

    def _after(self, state: str) -> str:
        if state != "done":
            return "InProgress"
        if not self.settled:
            self.settled = True
            self.error = self.finish()
        return "Failed" if self.error else "Succeeded"


class Operations:
    """The operations of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._operations: dict[str, Operation] = {}

    def start(self, kind: str, lasts: timedelta, finish: Outcome) -> Operation:
        """Begin an operation that ends after ``lasts`` on the clock; ``kind`` is a part of its URL."""
        progress = Progress(
            self._cloud.clock, [Stage("waiting", lasts / 2), Stage("working", lasts / 2)], "done"
        )
        operation = Operation(self._cloud.ids.guid(), kind, progress, finish)
        self._operations[operation.id] = operation
        return operation

    def headers(self, operation: Operation) -> dict[str, str]:
        """The headers that tell a client where to poll."""
        settings = self._cloud.settings
        where = LOCATION.format(subscription=self._cloud.subscription_id, location=settings.region)
        url = f"https://{ARM}{where}/{operation.kind}/{operation.id}?api-version=2023-08-01-preview"
        return {"Azure-AsyncOperation": url, **POLL_AT_ONCE}

    def find(self, operation_id: str) -> Operation:
        """An operation by its id.

        Raises:
            ServiceError: 404 where there is none.
        """
        operation = self._operations.get(operation_id)
        if operation is None:
            raise ServiceError(404, "OperationNotFound", f"The operation {operation_id} was not found.")
        return operation

    def settle(self) -> None:
        """Finish every operation whose time has come, so that no reader sees a state that is past."""
        for operation in tuple(self._operations.values()):
            if not operation.settled:
                _ = operation.status


def _status(cloud: Cloud, request: Request) -> Response:
    """How far a change has come."""
    operation = cloud.operations.find(request.params["operation"])
    status = operation.watch()
    if operation.error:
        error = {"code": operation.error.code, "message": operation.error.message}
        return json_answer(200, {"status": status, "error": error})
    if status == "Succeeded":
        return json_answer(200, {"status": status, "percentComplete": 100.0})
    return json_answer(200, {"status": status}, POLL_AT_ONCE)


ROUTES = tuple(
    Route("GET", ARM, f"{LOCATION}/{kind}/{{operation}}", _status)
    # service.md: computes have a status URL of their own; endpoints and deployments share one.
    for kind in ("computeOperationsStatus", "mfeOperationsStatus")
)
