"""The shapes that a user may plug in: a credential, a credential policy, a retry policy, a clock, a listener.

Each is a :class:`typing.Protocol`: any object with these methods will do, and none needs to import this library.

The ``Supports...`` protocols are for code that takes a job or an endpoint and uses a verb or two of it: it names
those, and takes the real object, one of :func:`phi_finetune.testing.fake_job`'s, or one of the user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, ForwardRef, Literal, Protocol, Self, TypeAlias

import attrs

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import HttpRequest as LegacyRequest
    from azure.core.pipeline.transport import HttpResponse as LegacyResponse
    from azure.core.pipeline.transport import HttpTransport
    from azure.core.rest import HttpRequest, HttpResponse

    from phi_finetune.events import Event
    from phi_finetune.metrics import TrainingMetrics
    from phi_finetune.scoring import ChatReply, Turns

__all__ = [
    "Clock",
    "CloudName",
    "CredentialPolicy",
    "Listener",
    "RetryPolicy",
    "SupportsCancel",
    "SupportsChat",
    "SupportsDelete",
    "SupportsLogs",
    "SupportsMetrics",
    "SupportsWait",
    "TokenTransport",
    "Try",
    "VerbClass",
]

CloudName: TypeAlias = Literal["public", "usgovernment", "china"]
"""Microsoft's clouds: the public one, that of the US government, and that of 21Vianet in China."""

VerbClass: TypeAlias = Literal["read", "named-write", "score", "action"]
"""How safe a request is to send again: a read changes nothing; a named write (PUT, DELETE) applied twice leaves
what it left the first time; a score asks a model, which changes nothing but takes its time; an action (any other
POST) may do its work once more."""


@attrs.frozen
class Try:
    """One send of a request that did not succeed, as a retry policy sees it.

    Attributes:
        attempt: Which send this was, counted from 1.
        elapsed_s: Seconds since the first send began.
        verb_class: How safe it is to send again.
        status_code: The HTTP status of the answer; None when none came, or half of one. 401 only where a token that
            is new has expired, says Azure; the next send has another.
        retry_after_s: Seconds that the answer asked to wait; None when it asked nothing.
        sent: Whether the request may have reached the service. False only where no connection was made.
    """

    attempt: int
    elapsed_s: float
    verb_class: VerbClass
    status_code: int | None = None
    retry_after_s: float | None = None
    sent: bool = True


class RetryPolicy(Protocol):
    """Decides, for one request, whether to send again and after how long.

    It is asked after each send that failed. It must be pure and safe to share between threads.
    """

    def wait_s(self, failed: Try) -> float | None:
        """Give the seconds to wait before the next send, or None to give up."""
        ...


if TYPE_CHECKING:
    TokenTransport: TypeAlias = HttpTransport[HttpRequest | LegacyRequest, HttpResponse | LegacyResponse]
else:
    # A plain text would stop a user's "TokenTransport | None" when it is evaluated.
    TokenTransport = ForwardRef("HttpTransport")
"""What sends a credential's requests for tokens: azure-core's interface of a transport."""


class CredentialPolicy(Protocol):
    """Decides how to sign in. It is asked once for each workspace, when the first request is made."""

    def credential(self, transport: TokenTransport | None = None) -> TokenCredential:
        """Give the credential to use, with a token proved to be obtainable.

        Args:
            transport: What sends the requests for tokens. The credential does not close it, and sends each
                request once: repeating is up to the transport. None: the credential's own connection.

        Raises:
            AuthenticationFailed: No way of signing in worked; the error says why for each.
        """
        ...


class Clock(Protocol):
    """Where waits take their time from; a test's clock need not sleep."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        ...


Listener: TypeAlias = Callable[["Event"], None]
"""Hears what happens, as it happens. It is called on the thread that works, so it should be quick; an error in
it ends the work."""


class SupportsWait(Protocol):
    """What can be waited for, as a :class:`~phi_finetune.jobs.FinetuneJob` can."""

    def wait(self, *, timeout: timedelta = timedelta(days=7)) -> Self:
        """Wait until it has completed, and give it as it then is; at most ``timeout``."""
        ...


class SupportsCancel(Protocol):
    """What can be canceled, as a :class:`~phi_finetune.jobs.FinetuneJob` can."""

    def cancel(self, *, timeout: timedelta = timedelta(minutes=30)) -> Self:
        """Cancel it, and give it as it then is; wait for its end at most ``timeout``."""
        ...


class SupportsMetrics(Protocol):
    """What has logged metrics, as a :class:`~phi_finetune.jobs.FinetuneJob` has."""

    def metrics(self) -> TrainingMetrics:
        """What it has logged so far."""
        ...


class SupportsLogs(Protocol):
    """What has written a log, as a :class:`~phi_finetune.jobs.FinetuneJob` and its steps have."""

    def logs(self, step: str | None = None) -> str:
        """What it, or one of its steps, has written so far."""
        ...


class SupportsChat(Protocol):
    """What can be asked, as an :class:`~phi_finetune.endpoints.Endpoint` can; the settings are those of its chat."""

    def chat(
        self,
        message: Turns,
        *,
        temperature: float = 0.6,
        top_p: float = 0.9,
        do_sample: bool = True,
        max_new_tokens: int = 200,
        repetition_penalty: float | None = None,
        deployment: str | None = None,
    ) -> ChatReply:
        """Ask the model."""
        ...


class SupportsDelete(Protocol):
    """What can be deleted, as an :class:`~phi_finetune.endpoints.Endpoint` can."""

    def delete(self, *, timeout: timedelta = timedelta(hours=1)) -> None:
        """Delete it, and see it gone; wait for that at most ``timeout``."""
        ...
