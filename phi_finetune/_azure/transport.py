"""The one transport: every request to Azure passes here, and here alone is anything sent again."""

from __future__ import annotations

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

from azure.core.exceptions import (
    HttpResponseError,
    ResponseNotReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import HttpTransport, RequestsTransport

from phi_finetune._azure.hosts import Hosts, is_identity_endpoint
from phi_finetune._azure.translate import error_parts
from phi_finetune.errors import HostRefused
from phi_finetune.events import RequestRetried
from phi_finetune.protocols import Clock, Listener, RetryPolicy, Try, VerbClass
from phi_finetune.retries import checked_wait, retry_after_s

if TYPE_CHECKING:
    from azure.core.configuration import ConnectionConfiguration
    from azure.core.pipeline.transport import HttpRequest as LegacyRequest
    from azure.core.pipeline.transport import HttpResponse as LegacyResponse
    from azure.core.rest import HttpRequest, HttpResponse

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


class Transport(HttpTransport["Request", "Response"]):
    """Sends requests: checks the host, asks the retry policy after a failure, signs in anew on 401.

    Args:
        retries: Decides about every further send.
        clock: Measures time, and waits.
        credential: Gives the credential that re-stamps a request; asked only when one is needed.
        notify: Hears of each further send.
        hosts: Says where requests may go.
    """

    def __init__(
        self,
        *,
        retries: RetryPolicy,
        clock: Clock,
        credential: Callable[[], CachedCredential],
        notify: Listener,
        hosts: Hosts,
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._credential = credential
        self._notify = notify
        self._hosts = hosts
        self._revoked: dict[str, str] = {}
        self._lock = threading.Lock()
        self._inner = RequestsTransport(connection_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)

    def send(self, request: Request, **kwargs: Any) -> Response:
        """Send a request until it succeeds or the policy gives up; then its last answer or error is the result."""
        # A request for a managed identity's token carries no secret, and goes to the machine itself.
        if "Authorization" in request.headers or not is_identity_endpoint(request.url):
            self._hosts.check(request.url)
        self._restamp_if_revoked(request)
        started = self._clock.monotonic()
        attempt, is_new = 1, False
        while True:
            answer, error = self._once(request, kwargs)
            refused = answer is not None and answer.status_code == 401
            if refused and not is_new and self._restamp(request):
                is_new = True
                continue
            failed = self._failure(request, answer, error, attempt, self._clock.monotonic() - started, is_new)
            if failed is None or not self.wait_after(failed, _named(request), _why(failed, error)):
                if error is not None:
                    raise error
                assert answer is not None
                return answer
            is_new = refused and self._restamp(request)
            attempt += 1

    def wait_after(self, failed: Try, resource: str, why: str) -> bool:
        """Wait as long as the policy says before the next send; False where it gives up."""
        wait_s = checked_wait(self._retries.wait_s(failed))
        if wait_s is None:
            return False
        self._notify(RequestRetried(resource=resource, attempt=failed.attempt, wait_s=wait_s, why=why))
        self._clock.sleep(wait_s)
        return True

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

    def _once(self, request: Request, kwargs: dict[str, Any]) -> tuple[Response | None, Exception | None]:
        try:
            with _discreet():
                answer = self._inner.send(request, **kwargs)
        # The last one is what the transport itself raises of a body that is cut, or cannot be unpacked.
        except (ServiceRequestError, ServiceResponseError, HttpResponseError) as error:
            return None, error
        _refuse_redirect(request, answer)
        return answer, None

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

    An answer that is still to be streamed is not looked into; its reader reads it as it comes.
    """
    if "json" not in answer.headers.get("Content-Type", ""):
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
