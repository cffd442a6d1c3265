"""Things that can go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.forms import fits
from phi_finetune.emulator.core.http import Request, Response

__all__ = [
    "TWELVE_KINDS",
    "Answer",
    "AnswerLost",
    "AnswerNeverCame",
    "DeploymentFails",
    "EndlessOperation",
    "ExpiredToken",
    "Fault",
    "HalfBody",
    "JobFails",
    "NoAnswerInTime",
    "NoConnectionInTime",
    "NobodyListens",
    "OperationFails",
    "OperationFault",
    "Preempted",
    "ProvisioningFails",
    "RequestFault",
    "Silence",
    "Trickle",
    "Unreachable",
    "Wrong",
]


@dataclass(frozen=True)
class Fault:
    """Something that will go wrong once."""


@dataclass(frozen=True)
class RequestFault(Fault):
    """Something that goes wrong with one request.

    Attributes:
        on: Which request: ``"METHOD pattern"`` over host and path, with ``*`` for anything
            (``"POST */score"``).
    """

    on: str

    def meets(self, request: Request) -> bool:
        """Whether this is the request it waits for."""
        return fits(self.on, request.method, request.host + request.path)

    def stop(self) -> None:
        """Keep the request from coming at all; for the cloud.

        Raises:
            NobodyListens: It does not come.
        """

    def instead(self) -> ServiceError | None:
        """What answers instead of the request being carried out; None where it is carried out."""
        return None

    def spoil(self, answer: Response) -> Response | None:
        """The answer as the client gets it; None where it can't be spoilt, so that the fault waits on.

        Raises:
            AnswerNeverCame: The client gets none.
        """
        return answer


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

    def instead(self) -> ServiceError:
        """The error."""
        return ServiceError(self.status, self.code, self.message, headers=self.headers)


@dataclass(frozen=True)
class ExpiredToken(RequestFault):
    """A request is answered with 401, as for a token that has expired, whatever its token is.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
    """

    def instead(self) -> ServiceError:
        """The refusal, with the code of Azure Resource Manager."""
        message = "The access token expiry UTC time is in the past."
        return ServiceError(401, "ExpiredAuthenticationToken", message)


@dataclass(frozen=True)
class AnswerLost(RequestFault):
    """The connection is reset before the answer of a request comes (reliability.md 1.1).

    The journal has the request, with the status None.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
        applied: Whether the request is carried out all the same.
    """

    applied: bool = True

    def instead(self) -> ServiceError | None:
        """What would have answered."""
        return None if self.applied else _not_carried_out()

    def spoil(self, answer: Response) -> Response:
        """Lose it."""
        raise AnswerNeverCame


@dataclass(frozen=True)
class Silence(RequestFault):
    """Nothing comes until the client's own timeout, which passes on the fake's clock.

    A client that set no timeout would wait for ever; it is told so with ``WaitsForEver``.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
        after: ``sent``: the request is taken, and no answer comes within the client's read timeout; the
            journal has it with the status None. ``connect``: no connection is made within its connect
            timeout; the journal has nothing.
        applied: Whether a request that was sent is carried out all the same.
    """

    after: Literal["sent", "connect"] = "sent"
    applied: bool = True

    def stop(self) -> None:
        """Make no connection."""
        if self.after == "connect":
            raise NoConnectionInTime

    def instead(self) -> ServiceError | None:
        """What would have answered."""
        return None if self.applied else _not_carried_out()

    def spoil(self, answer: Response) -> Response:
        """Give none."""
        raise NoAnswerInTime


@dataclass(frozen=True)
class HalfBody(RequestFault):
    """Half of an answer's body comes. The fault waits for an answer that has one.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
        how: ``cut``: the connection ends half-way, under the Content-Length of the whole body. ``half-json``:
            half of a JSON body, whose Content-Length is that of the half; other bodies are left alone.
        applied: Whether the request is carried out. If not, what comes by half is a 503.
    """

    how: Literal["cut", "half-json"] = "cut"
    applied: bool = True

    def meets(self, request: Request) -> bool:
        """Whether this is the request it waits for; an answer to HEAD has no body."""
        return request.method != "HEAD" and super().meets(request)

    def instead(self) -> ServiceError | None:
        """What answers by half where the request is not carried out."""
        return None if self.applied else _not_carried_out()

    def spoil(self, answer: Response) -> Response | None:
        """Half of it."""
        headers = {name.lower(): value for name, value in answer.headers.items()}
        is_json = "json" in headers.get("content-type", "")
        if not answer.body or (self.how == "half-json" and not is_json):
            return None
        half = replace(answer, body=answer.body[: len(answer.body) // 2])
        if self.how == "cut":
            half.headers = {**answer.headers, "Content-Length": str(len(answer.body))}
        return half


@dataclass(frozen=True)
class Trickle(RequestFault):
    """The body of an answer comes byte by byte, so slowly that no read timeout between two bytes ends it.

    The request is carried out. The fault waits for an answer that has a body. The pauses pass on the fake's clock;
    behind the proxy they are real.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
        pause_s: Seconds before each byte.
    """

    pause_s: float = 10.0

    def spoil(self, answer: Response) -> Response | None:
        """The same, slowly."""
        return replace(answer, pause_s=self.pause_s) if answer.body else None


@dataclass(frozen=True)
class Wrong(RequestFault):
    """A header of an answer has a wrong value, a foreign host's address for one (reliability.md 1.5).

    The request is carried out. The fake answers for Azure's hosts only: a client that follows the address to
    another host leaves this process, unless the host is one that does not exist (``https://evil.invalid/``).

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
        header: The header: ``Azure-AsyncOperation``, ``Location``, ...
        value: Its value.
    """

    header: str
    value: str

    def spoil(self, answer: Response) -> Response:
        """The answer with the wrong header."""
        others = {
            name: value for name, value in answer.headers.items() if name.lower() != self.header.lower()
        }
        return replace(answer, headers={**others, self.header: self.value})


@dataclass(frozen=True)
class Unreachable(RequestFault):
    """The connection for a request is refused, so that it is neither carried out nor in the journal.

    Attributes:
        on: Which request, as for every :class:`RequestFault`.
    """

    def stop(self) -> None:
        """Refuse it."""
        raise NobodyListens


def _not_carried_out() -> ServiceError:
    return ServiceError(503, "InjectedFault", "The test asked that the request not be carried out.")


TWELVE_KINDS: tuple[RequestFault, ...] = (
    Answer("* *", 429, "TooManyRequests", "Too many requests.", {"Retry-After": "7"}),
    Answer("* *", 429, "TooManyRequests", "Too many requests."),
    Answer("* *", 503, "ServiceUnavailable", "The service is unavailable."),
    Answer("* *", 500, "InternalServerError", "An internal server error occurred."),
    Answer("* *", 502, "BadGateway", "Bad gateway."),
    AnswerLost("* *", applied=False),
    Silence("* *", applied=False),
    Unreachable("* *"),
    ExpiredToken("* *"),
    HalfBody("* *", "half-json"),
    HalfBody("* *", "cut"),
    AnswerLost("* *"),
)
"""What a request meets at a rate, unless told otherwise: the twelve kinds of reliability.md 1.3."""


class AnswerNeverCame(Exception):
    """What the cloud raises on an :class:`AnswerLost`; a door turns it into what its client would meet."""


class NoAnswerInTime(AnswerNeverCame):
    """The same on a :class:`Silence` after the request was sent."""


class NobodyListens(Exception):
    """What the cloud raises on an :class:`Unreachable`; a door turns it into what its client would meet."""


class NoConnectionInTime(NobodyListens):
    """The same on a :class:`Silence` before there is a connection."""


@dataclass(frozen=True)
class JobFails(Fault):
    """The next job ends half-way through one of its steps, for which the step is to blame or not.

    Attributes:
        step: The step, as the pipeline names it (reference: chat_completion_pipeline 0.0.82): the node's name for
            a command, the job's for a command job. None is the step that fine-tunes where there is one, else
            the last.
        code: The error's code.
        message: The error's message.
        log: What the step wrote last.
        status: How the job ends. ``Failed``: the step fails, and the job with it. ``NotResponding`` and
            ``Paused``: the job as a whole stops, no step fails and no error is set, so that ``code``,
            ``message`` and ``log`` mean nothing. A paused job rests: it can still be canceled.
    """

    step: str | None = None
    code: str = "UserError"
    message: str = "CUDA out of memory. Tried to allocate 2.00 GiB."
    log: str = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    status: Literal["Failed", "NotResponding", "Paused"] = "Failed"


@dataclass(frozen=True)
class Preempted(Fault):
    """The next job loses its low-priority nodes half-way through one of its steps, and fails (pain.md I4).

    Attributes:
        step: The step, whose compute must be a cluster of low priority. None is as for :class:`JobFails`.
    """

    step: str | None = None


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


@dataclass(frozen=True)
class OperationFault(Fault):
    """Something that goes wrong with one long-running operation.

    Attributes:
        kind: Which: a pattern over the kind in its URL, ``"compute*"`` for clusters, ``"mfe*"`` for endpoints
            and deployments. None is the next, of any kind.
    """

    kind: str | None = field(default=None, kw_only=True)

    def concerns(self, kind: str) -> bool:
        """Whether this is the kind of operation it waits for."""
        return self.kind is None or fnmatchcase(kind.lower(), self.kind.lower())


@dataclass(frozen=True)
class EndlessOperation(OperationFault):
    """The next long-running operation never ends (reliability.md 1.2); each look at it takes a minute.

    Attributes:
        kind: Which, as for every :class:`OperationFault`.
    """


@dataclass(frozen=True)
class OperationFails(OperationFault):
    """The next long-running operation takes its time, and then ends as failed. What it was to do is not done.

    Attributes:
        kind: Which, as for every :class:`OperationFault`.
        code: The error's code.
        message: The service's message.
    """

    code: str = "InternalServerError"
    message: str = "An internal server error occurred."
