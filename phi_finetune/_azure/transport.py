"""The one transport: every request to Azure passes here, and here alone is anything sent again."""

from __future__ import annotations

import copy
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import attrs
from azure.core.exceptions import (
    HttpResponseError,
    ResponseNotReadError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import HttpTransport, RequestsTransport

from phi_finetune._azure.hosts import Hosts, is_identity_endpoint
from phi_finetune._azure.slow_bodies import whole_by
from phi_finetune._azure.translate import error_parts
from phi_finetune._deadlines import Deadline
from phi_finetune.errors import ConfigurationError, HostRefused, PhiFinetuneError
from phi_finetune.events import RequestRetried, RequestSent, SignedInAnew
from phi_finetune.protocols import Clock, Listener, RetryPolicy, Try, VerbClass
from phi_finetune.retries import RetryBudget, checked_wait, retry_after_s

if TYPE_CHECKING:
    from azure.core.configuration import ConnectionConfiguration
    from azure.core.pipeline.transport import HttpRequest as LegacyRequest
    from azure.core.pipeline.transport import HttpResponse as LegacyResponse
    from azure.core.rest import HttpRequest, HttpResponse
    from requests import Session

    from phi_finetune._token_cache import CachedCredential

    Request: TypeAlias = HttpRequest | LegacyRequest
    Response: TypeAlias = HttpResponse | LegacyResponse

__all__ = ["Transport", "says_expired", "verb_class"]

_SIGNATURE = re.compile(r"(sig=)[^&\s]+")
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 100.0

_READING_POSTS = (
    "/listsecrets",
    "/listkeys",
    "/getlogs",
    "/token",
    "/rundata",
    "/runs/search",
    "/batchgetresolveduris",
)
"""POSTs that change nothing, so that they may be sent again like a read."""

EXPIRED = "ExpiredAuthenticationToken"
"""The code of a 401 that another token mends; with any other, the second refusal in a row is the last word."""


BUDGET_IS_EMPTY = "not sent again: the workspace's retry budget is spent"


@attrs.frozen
class Sent:
    """What became of a request: its last answer, or the error in place of one.

    Attributes:
        answer: The answer.
        error: Why there is none.
        gave_up: Why it was not sent again, where that was not the policy's decision.
    """

    answer: Response | None
    error: Exception | None
    gave_up: str | None = None


@attrs.frozen
class Pause:
    """What was decided about a further send.

    Attributes:
        is_over: Whether its time has come; False where there is none.
        cost: What it took from the budget.
        gave_up: Why there is none, where that was not the policy's decision.
    """

    is_over: bool
    cost: int = 0
    gave_up: str | None = None


class Transport(HttpTransport["Request", "Response"]):
    """Sends requests: checks the host, asks the retry policy after a failure, signs in anew on 401.

    Args:
        retries: Decides about every further send.
        clock: Measures time, and waits.
        credential: Gives the credential that re-stamps a request; asked only when one is needed.
        notify: Hears of each send, and of each wait before a further one.
        hosts: Says where requests may go.
        budget: What all further sends together may cost; None sets no limit.
        session: What sends, in place of a session of its own.
    """

    def __init__(
        self,
        *,
        retries: RetryPolicy,
        clock: Clock,
        credential: Callable[[], CachedCredential],
        notify: Listener,
        hosts: Hosts,
        budget: RetryBudget | None,
        session: Session | None = None,
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._credential = credential
        self._notify = notify
        self._hosts = hosts
        self._budget = budget
        self._revoked: dict[str, str] = {}
        self._lock = threading.Lock()
        self._inner = RequestsTransport(
            connection_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            session=session,
            session_owner=session is None,
        )
        self._deadline: Deadline | None = None

    def limited(
        self, *, retries: RetryPolicy, budget: RetryBudget | None, notify: Listener, deadline: Deadline | None
    ) -> Transport:
        """The same, over the same connections, with another policy, and with an end to all that it does."""
        other = copy.copy(self)
        other._retries, other._budget, other._notify, other._deadline = retries, budget, notify, deadline
        return other

    def send(self, request: Request, **kwargs: Any) -> Response:
        """Send a request until it succeeds or the policy gives up; then its last answer or error is the result."""
        sent = self.deliver(request, **kwargs)
        if sent.error is not None:
            raise sent.error
        assert sent.answer is not None
        return sent.answer

    def deliver(self, request: Request, **kwargs: Any) -> Sent:
        """Send a request until it succeeds or the policy gives up, and tell the end.

        Raises:
            HostRefused: It would go, or was sent on, to a host that may not be spoken to.
            ConfigurationError: The policy raised an error.
            InvalidParameter: The policy gave a wait that is none.
        """
        # A request for a managed identity's token carries no secret, and goes to the machine itself.
        if "Authorization" in request.headers or not is_identity_endpoint(request.url):
            self._hosts.check(request.url)
        self._restamp_if_revoked(request)
        started = self._clock.monotonic()
        sends, attempt, is_new, spent = 0, 1, False, 0
        while True:
            sends += 1
            answer, error = self._once(request, self._in_time(request, kwargs), sends)
            refused = answer is not None and answer.status_code == 401
            if refused and not is_new and self._restamp(request):
                is_new = True
                continue
            failed = self._failure(request, answer, error, attempt, self._clock.monotonic() - started, is_new)
            if failed is None:
                self._give_back(spent)
                return Sent(answer, error)
            pause = self.wait_after(failed, _named(request), _why(failed, error), timed_out=_timed_out(error))
            if not pause.is_over:
                return Sent(answer, error, pause.gave_up)
            is_new = refused and self._restamp(request)
            spent = pause.cost
            attempt += 1

    def wait_after(self, failed: Try, resource: str, why: str, *, timed_out: bool = False) -> Pause:
        """Wait as long as the policy says before the next send, if it lets there be one and the budget pays for it."""
        wait_s = self._asked(failed)
        if wait_s is None:
            return Pause(False)
        if self._deadline is not None and wait_s > self._deadline.left_s:
            asked = failed.retry_after_s
            asks = f", the service asks to wait {asked:g} s" if asked else ""
            raise self._deadline.exceeded(
                resource, f"{why}{asks}, and it would be sent again after {wait_s:.0f} s"
            )
        cost = 0 if self._budget is None else self._budget.spend(timed_out=timed_out)
        if cost is None:
            return Pause(False, gave_up=BUDGET_IS_EMPTY)
        self._notify(RequestRetried(resource=resource, attempt=failed.attempt, wait_s=wait_s, why=why))
        self._clock.sleep(wait_s)
        return Pause(True, cost)

    def _asked(self, failed: Try) -> float | None:
        try:
            return checked_wait(self._retries.wait_s(failed))
        except PhiFinetuneError:
            raise
        except Exception as error:
            # Whoever plugs a policy in may raise anything; the call must end, and say whose fault it was.
            raise ConfigurationError(
                f"The retry policy {type(self._retries).__name__} raised {type(error).__name__}",
                why=f"it was asked about send {failed.attempt} of a request",
                next_call="correct the policy's wait_s(); phi_finetune.testing.check_retry_policy() tries it out",
            ) from error

    def _give_back(self, spent: int) -> None:
        if self._budget is not None:
            self._budget.give_back(spent)

    @property
    def connection_config(self) -> ConnectionConfiguration:
        """The time limits; azure-identity sets shorter ones while it asks a machine for its identity."""
        config: ConnectionConfiguration = self._inner.connection_config
        return config

    def sleep(self, duration: float) -> None:
        """Wait, on the workspace's own clock; azure-core's pollers call this."""
        self._clock.sleep(duration)

    def open(self) -> None:
        """Open the connection pool; sending does it too."""
        self._inner.open()

    def close(self) -> None:
        """Keep the pool: many clients share it, and each would close it as it ends."""

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        return None

    def _in_time(self, request: Request, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The time limits of a request, none of which is after the deadline.

        Raises:
            DeadlineExceeded: There is no time left.
        """
        if self._deadline is None:
            return kwargs
        left_s = self._deadline.left_s
        if left_s <= 0:
            raise self._deadline.exceeded(_named(request), "there was no time left to send it")
        limits = {"connection_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}
        return {**kwargs, **{name: min(kwargs.get(name, most), left_s) for name, most in limits.items()}}

    def _once(
        self, request: Request, kwargs: dict[str, Any], number: int
    ) -> tuple[Response | None, Exception | None]:
        began = self._clock.monotonic()
        until_s = None if self._deadline is None else self._deadline.until_s
        try:
            with _discreet():
                hooks = {"response": whole_by(until_s, self._clock)}
                answer = self._inner.send(request, **kwargs, hooks=hooks)
        # The last one is what the transport itself raises of a body that is cut, or cannot be unpacked.
        except (ServiceRequestError, ServiceResponseError, HttpResponseError) as error:
            self._tell(request, number, None, began)
            return None, error
        self._tell(request, number, answer.status_code, began)
        _refuse_redirect(request, answer)
        return answer, None

    def _tell(self, request: Request, number: int, status: int | None, began: float) -> None:
        took_s = self._clock.monotonic() - began
        self._notify(RequestSent(resource=_named(request), attempt=number, status=status, took_s=took_s))

    def _failure(
        self,
        request: Request,
        answer: Response | None,
        error: Exception | None,
        attempt: int,
        elapsed_s: float,
        is_new: bool,
    ) -> Try | None:
        """What a policy is asked about; None where the answer stands, good or bad."""
        kind = verb_class(request.method, request.url)
        status = None if answer is None else answer.status_code
        if answer is not None and answer.status_code < 400:
            if kind == "action" or not _is_half(answer):
                return None
            status = None
        if answer is not None and status == 401 and not (is_new and says_expired(_content(answer))):
            return None
        return Try(
            attempt=attempt,
            elapsed_s=elapsed_s,
            verb_class=kind,
            status_code=status,
            retry_after_s=None if answer is None else retry_after_s(answer.headers, time.time()),
            sent=not isinstance(error, ServiceRequestError),
        )

    def _restamp(self, request: Request) -> bool:
        """Put a new token in place of the one that was refused; False where the request carried none of ours."""
        token = _bearer(request)
        if token is None:
            return False
        credential = self._credential()
        scope = credential.scope_of(token)
        if scope is None:
            return False
        with self._lock:
            self._revoked[token] = scope
        credential.forget(scope, token)
        self._stamp(request, credential, scope)
        self._notify(SignedInAnew(resource=_named(request)))
        return True

    def _restamp_if_revoked(self, request: Request) -> None:
        # azure-core's clients keep a token each, and go on sending one that was refused elsewhere.
        token = _bearer(request)
        scope = None if token is None else self._revoked.get(token)
        if scope is not None:
            self._stamp(request, self._credential(), scope)

    def _stamp(self, request: Request, credential: CachedCredential, scope: str) -> None:
        request.headers["Authorization"] = f"Bearer {credential.get_token(scope).token}"
        if "x-azureml-token" in request.headers:
            request.headers["x-azureml-token"] = credential.get_token(self._hosts.cloud.ml_scope).token


def _refuse_redirect(request: Request, answer: Response) -> None:
    """Stop before azure-core follows a redirect: it would send the body, be it a prompt, to whoever is named.

    Raises:
        HostRefused: The answer names another address.
    """
    if 300 <= answer.status_code < 400 and answer.headers.get("Location"):
        raise HostRefused(
            "Refused to follow a redirect",
            resource=f"{request.method} {request.url.partition('?')[0]}",
            why=f"HTTP {answer.status_code} names another address, and no service of Azure ML's does that",
            next_call="look for a proxy in between; what was asked for was not sent on",
            status_code=answer.status_code,
        )


def _is_half(answer: Response) -> bool:
    """Whether an answer says that it is JSON, and cannot be read as JSON: it is as good as none.

    An answer that is still to be streamed is not looked into; its reader reads it as it comes. A part of a file that
    was asked for as such (206) need not be a whole text.
    """
    if answer.status_code == 206 or "json" not in answer.headers.get("Content-Type", ""):
        return False
    body = _content(answer)
    return bool(body) and not _reads(body)


def _content(answer: Response) -> bytes:
    try:
        # azure-core's older kind of response has no such attribute.
        body: object = getattr(answer, "content", None)
    except ResponseNotReadError:
        return b""
    return body if isinstance(body, bytes) else b""


def says_expired(body: bytes) -> bool:
    """Whether the body of a 401 says that the token has expired, and nothing worse."""
    code, _ = error_parts(body)
    return code == EXPIRED


def _reads(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def verb_class(method: str, url: str) -> VerbClass:
    """How safe a request is to send again."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return "read"
    if method in ("PUT", "DELETE", "PATCH"):
        return "named-write"
    path = urlsplit(url).path.lower().rstrip("/")
    if path.endswith(_READING_POSTS):
        return "read"
    return "score" if path.endswith("/score") else "action"


@contextmanager
def _discreet() -> Iterator[None]:
    """Keep the signatures of URLs out of what urllib3 logs at level DEBUG, and azure-core's warnings off the screen."""
    filters: tuple[tuple[str, logging.Filter], ...] = (
        ("urllib3.connectionpool", _Redaction()),
        ("azure.core.pipeline.transport._requests_basic", _CutBodies()),
    )
    for name, one in filters:
        logging.getLogger(name).addFilter(one)
    try:
        yield
    finally:
        for name, one in filters:
            logging.getLogger(name).removeFilter(one)


class _CutBodies(logging.Filter):
    """Stops the warning for each body that was cut: it names nothing, and the event of the next send, or the error,
    says more."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.WARNING


class _Redaction(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SIGNATURE.sub(r"\1REDACTED", a) if isinstance(a, str) else a for a in record.args
            )
        return True


def _timed_out(error: Exception | None) -> bool:
    return isinstance(error, ServiceRequestTimeoutError | ServiceResponseTimeoutError)


def _named(request: Request) -> str:
    return f"{request.method} {_short(request.url)}"


def _why(failed: Try, error: Exception | None) -> str:
    if failed.status_code is not None:
        return f"HTTP {failed.status_code}"
    return "half an answer" if error is None else type(error).__name__


def _short(url: str) -> str:
    """A URL's path within the workspace or the registry, for people."""
    path = urlsplit(url).path
    found = re.search(r"/(?:workspaces|registries)/[^/]+/(.+)", path)
    return found[1] if found else path


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" and token else None
