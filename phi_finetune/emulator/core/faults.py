"""Things that go wrong, queued one by one: each is met once, in order, and one that is never met is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from phi_finetune.emulator.core.http import Request

__all__ = [
    "Answer",
    "AnswerLost",
    "AnswerNeverCame",
    "DeploymentFails",
    "Fault",
    "Faults",
    "JobFails",
    "NobodyListens",
    "ProvisioningFails",
    "RequestFault",
    "Unreachable",
]


@dataclass(frozen=True)
class Fault:
    """Something that will go wrong once."""


@dataclass(frozen=True)
class RequestFault(Fault):
    """Something that goes wrong with one request.

    Attributes:
        on: Which request: ``"METHOD pattern"`` over host and path, with ``*`` for anything (``"POST */score"``).
    """

    on: str

    def meets(self, request: Request) -> bool:
        """Whether this is the request it waits for."""
        method, _, pattern = self.on.partition(" ")
        return method in ("*", request.method) and fnmatchcase(
            (request.host + request.path).lower(), pattern.lower()
        )


@dataclass(frozen=True)
class Answer(RequestFault):
    """A request is answered with an error instead of being carried out.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
        status: The HTTP status.
        code: The service's error code.
        message: Its message.
        headers: Further headers, ``Retry-After`` for one.
    """

    status: int
    code: str = "InjectedFault"
    message: str = "A fault that the test asked for."
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AnswerLost(RequestFault):
    """A request is carried out, and the connection is reset before its answer comes (reliability.md 1.1).

    The journal has the request, with the status None.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
    """


@dataclass(frozen=True)
class Unreachable(RequestFault):
    """The connection for a request is refused, so that it is neither carried out nor in the journal.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
    """


class AnswerNeverCame(Exception):
    """What the cloud raises on an :class:`AnswerLost`; a door turns it into what its client would meet."""


class NobodyListens(Exception):
    """What the cloud raises on an :class:`Unreachable`; a door turns it into what its client would meet."""


@dataclass(frozen=True)
class JobFails(Fault):
    """The next job ends half-way through one of its steps, for which the step is to blame or not.

    Attributes:
        step: The step, as the pipeline names it (reference: chat_completion_pipeline 0.0.82).
        code: The error's code.
        message: The error's message.
        log: What the step wrote last.
        status: How the job ends. ``Failed``: the step fails, and the job with it. ``NotResponding`` and
            ``Paused``: the job as a whole stops, no step fails and no error is set, so that ``code``,
            ``message`` and ``log`` mean nothing. A paused job rests: it can still be canceled.
    """

    step: str = "chat_completion_finetune"
    code: str = "UserError"
    message: str = "CUDA out of memory. Tried to allocate 2.00 GiB."
    log: str = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    status: Literal["Failed", "NotResponding", "Paused"] = "Failed"


@dataclass(frozen=True)
class DeploymentFails(Fault):
    """The next deployment does not become healthy (codes: Azure's page on troubleshooting online endpoints).

    Attributes:
        code: ``ResourceNotReady``, ``ImageBuildFailure``, ``OutOfQuota``, ...
        message: The service's message.
        log: What the container wrote last.
    """

    code: str = "ResourceNotReady"
    message: str = "User container has crashed or terminated. Please see troubleshooting guide."
    log: str = "ModuleNotFoundError: No module named 'transformers'"


@dataclass(frozen=True)
class ProvisioningFails(Fault):
    """The next cluster is accepted, and then fails (wire.md 4, failure b).

    Attributes:
        code: The error's code.
        message: The service's message.
    """

    code: str = "ClusterProvisioningFailed"
    message: str = "The cluster could not be provisioned."


_F = TypeVar("_F", bound=Fault)


class Faults:
    """The queue of one cloud."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []

    def next(self, fault: Fault, *, times: int = 1) -> None:
        """Queue a fault, to be met ``times`` times."""
        self._queue.extend([fault] * times)

    def take(self, kind: type[_F]) -> _F | None:
        """The first queued fault of a kind, which is thereby met; None where there is none."""
        for fault in self._queue:
            if isinstance(fault, kind):
                self._queue.remove(fault)
                return fault
        return None

    def take_for(self, request: Request) -> RequestFault | None:
        """The first queued fault of this request, which is thereby met; None where there is none."""
        for fault in self._queue:
            if isinstance(fault, RequestFault) and fault.meets(request):
                self._queue.remove(fault)
                return fault
        return None

    @property
    def unmet(self) -> tuple[Fault, ...]:
        """The faults that are still waiting."""
        return tuple(self._queue)
