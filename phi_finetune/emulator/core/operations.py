"""Long-running operations: a change is accepted, polled, and ends well or badly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import Clock, Progress, Stage
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import EndlessOperation, OperationFails
from phi_finetune.emulator.core.hosts import ARM, LOCATION
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.router import Route

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ROUTES", "Operation", "Operations", "Outcome", "poll_again"]

_PAUSE_S = 15
_LIVE_PAUSE_MS = 1000
"""A pause between polls where time is to be true; 15 s to 30 s are usual. The service names none (service.md)."""

_FOREVER = timedelta(days=36_500)
_A_LOOK = timedelta(minutes=1)

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

    @property
    def ended(self) -> datetime | None:
        """When its time had come; None before it has been seen to."""
        return self.progress.entered[-1][1] if self.progress.state == "done" else None

    def arrive(self) -> None:
        """End an operation that waits for this, and no other."""
        if isinstance(self.progress, _Awaited) and self.progress.state != "done":
            self.progress.arrive()
            _ = self.status

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


class _Awaited(Progress):
    """Work of which somebody will tell when it is done."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, (), "working")

    def arrive(self) -> None:
        """It is done."""
        self.cut([], "done")


class _Endless(Progress):
    """Work that is never done. Each look at it takes a minute, so that whoever waits can run out of time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, [Stage("working", _FOREVER)], "done")

    def watch(self) -> str:
        if self._clock.progression != "instant":
            return super().watch()
        self._clock.advance(_A_LOOK)
        return self.state


def _failing(fault: OperationFails) -> Outcome:
    return lambda: ServiceError(400, fault.code, fault.message)


def poll_again(clock: Clock) -> dict[str, str]:
    """The header that tells a client when to poll again."""
    if clock.progression == "instant":
        # This keeps the real client from pausing; zero is treated as absent (wire.md 10).
        return {"retry-after-ms": "1"}
    if clock.progression == "live":
        return {"retry-after-ms": str(_LIVE_PAUSE_MS)}
    return {"Retry-After": str(_PAUSE_S)}


class Operations:
    """The operations of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._operations: dict[str, Operation] = {}

    def start(self, kind: str, lasts: timedelta, finish: Outcome) -> Operation:
        """Begin an operation that ends after ``lasts`` on the clock; ``kind`` is a part of its URL."""
        fault = self._cloud.faults.take_operation(kind)
        clock = self._cloud.clock
        if isinstance(fault, EndlessOperation):
            progress: Progress = _Endless(clock)
        else:
            progress = Progress(clock, [Stage("waiting", lasts / 2), Stage("working", lasts / 2)], "done")
        outcome = _failing(fault) if isinstance(fault, OperationFails) else finish
        operation = Operation(self._cloud.ids.guid(), kind, progress, outcome)
        self._operations[operation.id] = operation
        return operation

    def wait(self, kind: str, finish: Outcome) -> Operation:
        """Begin an operation that ends when :meth:`Operation.arrive` is called."""
        operation = Operation(self._cloud.ids.guid(), kind, _Awaited(self._cloud.clock), finish)
        self._operations[operation.id] = operation
        return operation

    def headers(self, operation: Operation) -> dict[str, str]:
        """The headers that tell a client where to poll."""
        settings = self._cloud.settings
        where = LOCATION.format(subscription=self._cloud.subscription_id, location=settings.region)
        url = f"https://{ARM}{where}/{operation.kind}/{operation.id}?api-version=2023-08-01-preview"
        return {"Azure-AsyncOperation": url, **poll_again(self._cloud.clock)}

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
    return json_answer(200, {"status": status}, poll_again(cloud.clock))


ROUTES = tuple(
    Route("GET", ARM, f"{LOCATION}/{kind}/{{operation}}", _status)
    # service.md: computes have a status URL of their own; endpoints and deployments share one.
    for kind in ("computeOperationsStatus", "mfeOperationsStatus")
)
