"""Everything this library raises, under one root.

::

    PhiFinetuneError
    |-- ConfigurationError              what to connect to, or how, is missing or wrong
    |-- AuthenticationFailed            no credential gave a token, or Azure refused the token
    |-- PermissionMissing               the token is good, the role is not (HTTP 403)
    |-- NotFound                        HTTP 404, and nothing else
    |-- ModelRetired                    the model may no longer be fine-tuned or deployed
    |-- SizeNotAllowed                  the model does not permit this GPU size
    |-- QuotaExceeded                   the subscription has too few cores of a family
    |-- ComputeFailed                   a cluster could not be made
    |-- InvalidParameter(ValueError)    a setting outside what the service takes
    |-- InvalidData(ValueError)         a data set that the service would refuse
    |-- NameTaken                       the name belongs to something else
    |-- JobFailed                       a job ended, and not as Completed
    |   `-- JobCanceled                 ... because somebody canceled it
    |-- DeploymentFailed                a deployment did not become healthy
    |-- ScoringFailed                   an endpoint did not answer
    |   |-- ScoringUnauthorized         401, 403
    |   |-- ScoringUnavailable          404: no deployment takes traffic
    |   |-- ScoringTimeout(TimeoutError)  408
    |   |-- ScoringModelError           424: the model's own code failed
    |   `-- ScoringThrottled            429
    |-- ServiceError                    Azure answered with any other error
    |-- ServiceUnreachable              Azure did not answer
    |-- UnexpectedAnswer                Azure answered something that cannot be read
    |-- OutcomeUnknown                  a change was sent, and whether it was applied is not known
    |-- DeadlineExceeded(TimeoutError)  a wait reached its limit
    |-- UntrustedModel                  loading the model could run code that came with it
    |-- HostRefused                     a secret would have gone to a host that is not Azure's
    `-- MissingDependency(ImportError)  an extra of this library is not installed

Each error answers five questions, as attributes for programs and as text for people: what failed, on which
resource, why, what it costs now, and which call comes next. No error holds a secret or a user's text. All of
them can be pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

if TYPE_CHECKING:
    from phi_finetune.chat_dataset.report import Problem

__all__ = [
    "AuthenticationFailed",
    "ComputeFailed",
    "ConfigurationError",
    "DeadlineExceeded",
    "DeploymentFailed",
    "HostRefused",
    "InvalidData",
    "InvalidParameter",
    "JobCanceled",
    "JobFailed",
    "MissingDependency",
    "ModelRetired",
    "NameTaken",
    "NotFound",
    "OutcomeUnknown",
    "PermissionMissing",
    "PhiFinetuneError",
    "QuotaExceeded",
    "ScoringFailed",
    "ScoringModelError",
    "ScoringThrottled",
    "ScoringTimeout",
    "ScoringUnauthorized",
    "ScoringUnavailable",
    "ServiceError",
    "ServiceUnreachable",
    "SizeNotAllowed",
    "UnexpectedAnswer",
    "UntrustedModel",
]


_LONGEST_VALUE = 80


class _Details(TypedDict, total=False):
    resource: str | None
    why: str | None
    costs: str | None
    next_call: str | None
    status_code: int | None
    code: str | None
    request_id: str | None


class PhiFinetuneError(Exception):
    """The root of every error that this library raises.

    Attributes:
        what: What failed, in one sentence.
        resource: The name of the thing it failed on, such as ``"cluster gpu-cluster-big"``.
        why: The cause, in the service's own words where it gave any.
        costs: What is running, and billing, as a consequence; None when nothing is.
        next_call: The call, command or setting that comes next.
        status_code: The HTTP status, if an answer caused this.
        code: The service's error code, such as ``"OutOfQuota"``.
        request_id: Azure's id of the request, for a support case.
    """

    def __init__(
        self,
        what: str,
        *,
        resource: str | None = None,
        why: str | None = None,
        costs: str | None = None,
        next_call: str | None = None,
        status_code: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.resource = resource
        self.why = why
        self.costs = costs
        self.next_call = next_call
        self.status_code = status_code
        self.code = code
        self.request_id = request_id

    def __str__(self) -> str:
        head = self.what if self.why is None else f"{self.what.rstrip('.')}: {self.why}"
        lines = [head]
        if self.resource and self.resource not in head:
            lines.append(f"Resource: {self.resource}")
        if self.costs:
            lines.append(f"Costs now: {self.costs}")
        if self.next_call:
            lines.append(f"Next: {self.next_call}")
        if self.request_id:
            lines.append(f"Request id: {self.request_id}")
        return "\n".join(lines)


class ConfigurationError(PhiFinetuneError):
    """What to connect to, or how, is missing or wrong. Nothing was sent."""


class AuthenticationFailed(PhiFinetuneError):
    """No credential gave a token, or Azure refused the token it gave (HTTP 401)."""


class PermissionMissing(PhiFinetuneError):
    """The token is good but lacks a right (HTTP 403); ``why`` names the action where Azure names it."""


class NotFound(PhiFinetuneError):
    """Azure answered 404: the thing is absent. No other answer is ever read as absence."""


class ModelRetired(PhiFinetuneError):
    """The model may no longer be fine-tuned or deployed.

    Attributes:
        successor: The name of the model to use in its place, if one is known.
    """

    def __init__(self, what: str, *, successor: str | None = None, **details: Unpack[_Details]) -> None:
        super().__init__(what, **details)
        self.successor = successor


class SizeNotAllowed(PhiFinetuneError):
    """The model does not permit this GPU size, or the size is retired, or has no GPU.

    Attributes:
        size: The size asked for.
        allowed: The sizes that the model permits and the region offers.
    """

    def __init__(
        self,
        what: str,
        *,
        size: str | None = None,
        allowed: tuple[str, ...] = (),
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.size = size
        self.allowed = allowed


class QuotaExceeded(PhiFinetuneError):
    """The subscription has too few cores of a machine family in this region.

    Attributes:
        family: The quota's family, as Azure names it.
        needed: The cores this would take.
        available: The cores that are free.
    """

    def __init__(
        self,
        what: str,
        *,
        family: str | None = None,
        needed: int | None = None,
        available: int | None = None,
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.family = family
        self.needed = needed
        self.available = available


class ComputeFailed(PhiFinetuneError):
    """A cluster could not be made, or exists in a failed state."""


class InvalidParameter(PhiFinetuneError, ValueError):
    """A setting is outside what the service takes. Nothing was sent.

    Attributes:
        name: The parameter.
        value: The value given.
        allowed: The values or the range allowed, in words.
    """

    def __init__(
        self,
        what: str,
        *,
        name: str | None = None,
        value: object = None,
        allowed: str | None = None,
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.name = name
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        head, *rest = super().__str__().split("\n")
        lines = [head]
        value = _short(self.value)
        if self.name is not None and self.value is not None and value[:20] not in head:
            lines.append(f"Given: {self.name} = {value}")
        if self.allowed and self.allowed not in head:
            lines.append(f"Allowed: {self.allowed}")
        return "\n".join([*lines, *rest])


class InvalidData(PhiFinetuneError, ValueError):
    """A data set that the service would refuse or train wrongly on. Nothing was sent.

    Attributes:
        file: The file, or the name of the source, that holds the problem.
        row: The row, counted from 1 (a line's number, for a file of JSON lines).
        path: Where in the row, such as ``"messages[2].role"``.
        rule: The rule broken, a short name such as ``"unknown-role"``.
        faults: The problems, this one first, up to 20; empty where only this one was looked for.
        fault_count: How many there are.
    """

    def __init__(
        self,
        what: str,
        *,
        file: str | None = None,
        row: int | None = None,
        path: str | None = None,
        rule: str | None = None,
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.file = file
        self.row = row
        self.path = path
        self.rule = rule
        self.faults: tuple[Problem, ...] = ()
        self.fault_count = 1

    def __str__(self) -> str:
        also = [f"Also: {fault}" for fault in self.faults[1:]]
        if self.faults and self.fault_count > len(self.faults):
            also.append(f"and {self.fault_count - len(self.faults):,} more: validate() tells all of them")
        return "\n".join([super().__str__(), *also])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


class UntrustedModel(PhiFinetuneError):
    """Loading the model could run code that came with it, and nobody said that its maker is trusted.

    Attributes:
        findings: What was found, a line for each.
    """

    def __init__(self, what: str, *, findings: tuple[str, ...] = (), **details: Unpack[_Details]) -> None:
        super().__init__(what, **details)
        self.findings = findings


class NameTaken(PhiFinetuneError):
    """The name belongs to something else.

    Attributes:
        suggestion: A name that was free when this was raised, if one was looked for.
    """

    def __init__(self, what: str, *, suggestion: str | None = None, **details: Unpack[_Details]) -> None:
        super().__init__(what, **details)
        self.suggestion = suggestion


class JobFailed(PhiFinetuneError):
    """A job ended, and not as Completed.

    Attributes:
        job: The job's name.
        status: The state it ended in.
        child: The step that failed first, if one did.
        log_tail: The last lines that the step wrote.
    """

    def __init__(
        self,
        what: str,
        *,
        job: str | None = None,
        status: str | None = None,
        child: str | None = None,
        log_tail: str = "",
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.job = job
        self.status = status
        self.child = child
        self.log_tail = log_tail

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nLog of {self.child or self.job}:\n{self.log_tail}" if self.log_tail else text


class JobCanceled(JobFailed):
    """Somebody canceled the job; it made no model."""


class DeploymentFailed(PhiFinetuneError):
    """A deployment did not become healthy; it takes no traffic.

    Attributes:
        log_tail: The last lines of the container's log.
    """

    def __init__(self, what: str, *, log_tail: str = "", **details: Unpack[_Details]) -> None:
        super().__init__(what, **details)
        self.log_tail = log_tail

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nLog of the container:\n{self.log_tail}" if self.log_tail else text


class ScoringFailed(PhiFinetuneError):
    """An endpoint did not give an answer to a request.

    Attributes:
        model_status: The status that the model's own container answered, where Azure passes it on.
        retry_after_s: How long the endpoint asks to be left alone, in seconds.
    """

    def __init__(
        self,
        what: str,
        *,
        model_status: int | None = None,
        retry_after_s: float | None = None,
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.model_status = model_status
        self.retry_after_s = retry_after_s


class ScoringUnauthorized(ScoringFailed):
    """401 or 403: the key or token is wrong or expired, also after it was fetched anew, or lacks the right."""


class ScoringUnavailable(ScoringFailed):
    """404: no deployment of the endpoint takes traffic."""


class ScoringTimeout(ScoringFailed, TimeoutError):
    """408: the answer took longer than the deployment's request timeout."""


class ScoringModelError(ScoringFailed):
    """424: the model's container answered with an error of its own."""


class ScoringThrottled(ScoringFailed):
    """429: too many requests are waiting at the endpoint."""


class ServiceError(PhiFinetuneError):
    """Azure answered with an error that has no class of its own here."""


class ServiceUnreachable(PhiFinetuneError):
    """Azure did not answer: no connection, a connection that broke, or silence."""


class UnexpectedAnswer(PhiFinetuneError):
    """Azure answered something that cannot be read: half a body, or a body of another form."""


class OutcomeUnknown(PhiFinetuneError):
    """A change was sent, the answer was lost, and looking did not tell whether it was applied."""


class DeadlineExceeded(PhiFinetuneError, TimeoutError):
    """A wait reached its limit; what was waited for goes on.

    Attributes:
        last_status: The state seen last.
        elapsed_s: How long was waited, in seconds.
        limit_s: The limit, in seconds.
    """

    def __init__(
        self,
        what: str,
        *,
        last_status: str | None = None,
        elapsed_s: float | None = None,
        limit_s: float | None = None,
        **details: Unpack[_Details],
    ) -> None:
        super().__init__(what, **details)
        self.last_status = last_status
        self.elapsed_s = elapsed_s
        self.limit_s = limit_s


class HostRefused(PhiFinetuneError):
    """A secret or a prompt would have gone to a host that is not Azure's, or to where a redirect leads. It did not."""


class MissingDependency(PhiFinetuneError, ImportError):
    """An optional part of this library is not installed; ``next_call`` is the command that does it."""
