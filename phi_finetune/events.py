"""What happened, as values: progress goes to a listener as events, never to the screen.

``Workspace.connect(on_event=...)`` takes the listener. :func:`describe` turns any event into one line of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import attrs

__all__ = [
    "AdoptedExisting",
    "ComputeReady",
    "Created",
    "CredentialChosen",
    "Deleted",
    "DownloadProgress",
    "Event",
    "JobMoved",
    "LeaseExpired",
    "LogLine",
    "RequestRetried",
    "RequestSent",
    "SignedInAnew",
    "TrafficMoved",
    "UploadProgress",
    "Uploaded",
    "Waiting",
    "Warned",
    "WriteProgress",
    "describe",
]


@attrs.frozen
class Event:
    """Something that happened.

    Attributes:
        resource: The name of the thing it happened to, such as ``"job phi-4-ultrachat-1f3a"``.
    """

    resource: str


@attrs.frozen
class CredentialChosen(Event):
    """A credential gave a token.

    Attributes:
        took_s: How long that took, in seconds.
    """

    took_s: float


@attrs.frozen
class RequestRetried(Event):
    """A request failed and will be sent again.

    Attributes:
        attempt: The send that failed, counted from 1.
        wait_s: Seconds until the next send.
        why: The status or the kind of failure.
    """

    attempt: int
    wait_s: float
    why: str


@attrs.frozen
class RequestSent(Event):
    """A request was sent, once; each further send of it is one more of these.

    Attributes:
        attempt: Which send of the request it was, counted from 1.
        status: The HTTP status of the answer; None where none came.
        took_s: How long it took, in seconds.
    """

    attempt: int
    status: int | None
    took_s: float


@attrs.frozen
class SignedInAnew(Event):
    """A token was refused, and the request that it was for is sent again with a new one."""


@attrs.frozen
class Created(Event):
    """Something was created in the workspace."""


@attrs.frozen
class AdoptedExisting(Event):
    """What was asked for was there already, the same, and was taken over."""


@attrs.frozen
class Deleted(Event):
    """Something was deleted, and the deletion was verified."""


@attrs.frozen
class ComputeReady(Event):
    """A cluster can take jobs.

    Attributes:
        size: Its machine size.
        max_nodes: The most machines that it grows to.
    """

    size: str
    max_nodes: int


@attrs.frozen
class UploadProgress(Event):
    """A part of a large file is in the workspace's blob store; a small file has only its :class:`Uploaded`.

    Attributes:
        sent_bytes: How much is there by now, what was there before included.
        size_bytes: How much there is to come to.
    """

    sent_bytes: int
    size_bytes: int


@attrs.frozen
class Uploaded(Event):
    """A file is in the workspace's blob store.

    Attributes:
        size_bytes: Its size.
        reused: True when the same content was there already, so that nothing was sent.
    """

    size_bytes: int
    reused: bool


@attrs.frozen
class WriteProgress(Event):
    """A part of a data set's split has been written to a file.

    Attributes:
        rows: How many rows have been written by now.
        size_bytes: How much they come to.
    """

    rows: int
    size_bytes: int


@attrs.frozen
class DownloadProgress(Event):
    """A part of a model's or a data set's files has come.

    Attributes:
        received_bytes: How much has come by now.
        size_bytes: How much there is to come.
    """

    received_bytes: int
    size_bytes: int


@attrs.frozen
class Waiting(Event):
    """A wait looked, and the thing is not done yet.

    Attributes:
        status: The state seen.
        elapsed_s: Seconds waited so far.
    """

    status: str
    elapsed_s: float


@attrs.frozen
class JobMoved(Event):
    """A job, or a step of one, reached another state.

    Attributes:
        status: The new state, as Azure names it.
        before: The state before; None when this is the first one seen.
    """

    status: str
    before: str | None = None


@attrs.frozen
class LogLine(Event):
    """A job's log grew by one line.

    Attributes:
        text: The line, without its end.
        file: The log file that it is in, as Azure names it.
        read: How many bytes of each log file of the job have been told, this line's among them: where
            ``job.events(after=line)`` goes on.
    """

    text: str
    file: str = ""
    read: Mapping[str, int] = attrs.field(factory=dict, hash=False)

    @property
    def position(self) -> int:
        """Where the line ends in its file, in bytes; 0 where that is not known."""
        return self.read.get(self.file, 0)


@attrs.frozen
class LeaseExpired(Event):
    """Something of this library's has outlived its lease, and may still bill; ``ws.sweep()`` deletes it.

    Attributes:
        lease_until: When the lease ended, in UTC.
    """

    lease_until: datetime


@attrs.frozen
class TrafficMoved(Event):
    """An endpoint's traffic was set.

    Attributes:
        traffic: Percent for each deployment.
    """

    traffic: dict[str, int] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class Warned(Event):
    """Something that does not stop the work but should be looked at.

    Attributes:
        message: What, why it matters, and what to do.
    """

    message: str


def describe(event: Event) -> str:
    """Give one line of text for an event: the resource, the kind of event, then its details."""
    name = type(event).__name__
    details = ", ".join(
        f"{field.name}={getattr(event, field.name)!r}"
        for field in attrs.fields(type(event))
        if field.name != "resource"
    )
    return f"{event.resource}: {name}" + (f" ({details})" if details else "")
