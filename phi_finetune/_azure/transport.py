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
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from azure.core.exceptions import (
    IncompleteReadError,
    ResponseNotReadError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.core.pipeline.transport import HttpTransport, RequestsTransport

from phi_finetune._azure.hosts import ML_SCOPE, check_host, is_identity_endpoint, scope_for
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

__all__ = ["Transport", "verb_class"]

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


class Transport(HttpTransport["Request", "Response"]):
    """Sends requests: checks the host, asks the retry policy after a failure, signs in anew once on 401.

    Args:
        retries: Decides about every further send.
        clock: Measures time, and waits.
        credential: Gives the credential that re-stamps a request; asked only when one is needed.
        notify: Hears of each further send.
    """

    def __init__(
        self,
        *,
        retries: RetryPolicy,
        clock: Clock,
        credential: Callable[[], CachedCredential],
        notify: Listener,
    ) -> None:
        self._retries = retries
        self._clock = clock
        self._credential = credential
        self._notify = notify
        self._revoked: set[str] = set()
        self._lock = threading.Lock()
        self._inner = RequestsTransport(connection_timeout=CONNECT_TIMEOUT_S, read_timeout=READ_TIMEOUT_S)

    def send(self, request: Request, **kwargs: Any) -> Response:
        """Send a request until it succeeds or the policy gives up; then its last answer or error is the result."""
        # A request for a managed identity's token carries no secret, and goes to the machine itself.
        if "Authorization" in request.headers or not is_identity_endpoint(request.url):
            check_host(request.url)
        self._restamp_if_revoked(request)
        started = self._clock.monotonic()
        attempt, signed_in_anew = 1, False
        while True:
            answer, error = self._once(request, kwargs)
            if (
                answer is not None
                and answer.status_code == 401
                and not signed_in_anew
                and self._restamp(request)
            ):
                signed_in_anew = True
                continue
            wait_s = self._wait_s(request, answer, error, attempt, self._clock.monotonic() - started)
            if wait_s is None:
                if error is not None:
                    raise error
                assert answer is not None
                return answer
            self._clock.sleep(wait_s)
            attempt += 1

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
            with _without_signatures():
                return self._inner.send(request, **kwargs), None
        except (ServiceRequestError, ServiceResponseError, IncompleteReadError) as error:
            return None, error

    def _wait_s(
        self,
        request: Request,
        answer: Response | None,
        error: Exception | None,
        attempt: int,
        elapsed_s: float,
    ) -> float | None:
        status = None if answer is None else answer.status_code
        if answer is not None and answer.status_code < 400:
            if verb_class(request.method, request.url) == "action" or not _is_half(answer):
                return None
            status = None
        failed = Try(
            attempt=attempt,
            elapsed_s=elapsed_s,
            verb_class=verb_class(request.method, request.url),
            status_code=status,
            retry_after_s=None if answer is None else retry_after_s(answer.headers, time.time()),
            sent=not isinstance(error, ServiceRequestError),
        )
        wait_s = checked_wait(self._retries.wait_s(failed))
        if wait_s is None:
            return None
        why = "half an answer" if error is None else type(error).__name__
        why = why if status is None else f"HTTP {status}"
        self._notify(
            RequestRetried(
                resource=f"{request.method} {_short(request.url)}",
                attempt=attempt,
                wait_s=wait_s,
                why=why,
            )
        )
        return wait_s

    def _restamp(self, request: Request) -> bool:
        """Put a new token in place of the one that was refused; False where the request carried none of ours."""
        token = _bearer(request)
        if token is None:
            return False
        credential = self._credential()
        scope = scope_for(request.url)
        if not credential.issued(token, scope):
            return False
        with self._lock:
            self._revoked.add(token)
        credential.forget(scope, token)
        self._stamp(request, credential, scope)
        return True

    def _restamp_if_revoked(self, request: Request) -> None:
        # azure-core's clients keep a token each, and go on sending one that was refused elsewhere.
        token = _bearer(request)
        if token is not None and token in self._revoked:
            self._stamp(request, self._credential(), scope_for(request.url))

    def _stamp(self, request: Request, credential: CachedCredential, scope: str) -> None:
        request.headers["Authorization"] = f"Bearer {credential.get_token(scope).token}"
        if "x-azureml-token" in request.headers:
            request.headers["x-azureml-token"] = credential.get_token(ML_SCOPE).token


def _is_half(answer: Response) -> bool:
    """Whether an answer says that it is JSON, and cannot be read as JSON: it is as good as none.

    An answer that is still to be streamed is not looked into; its reader reads it as it comes. A part of a file that
    was asked for as such (206) need not be a whole text.
    """
    if answer.status_code == 206 or "json" not in answer.headers.get("Content-Type", ""):
        return False
    try:
        # azure-core's older kind of response has no such attribute.
        body: object = getattr(answer, "content", None)
    except ResponseNotReadError:
        return False
    return isinstance(body, bytes) and bool(body) and not _reads(body)


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
    reading: Literal["read", "action"] = "read" if path.endswith(_READING_POSTS) else "action"
    return reading


@contextmanager
def _without_signatures() -> Iterator[None]:
    """Keep the signatures of URLs out of what urllib3 logs at level DEBUG."""
    log = logging.getLogger("urllib3.connectionpool")
    redaction = _Redaction()
    log.addFilter(redaction)
    try:
        yield
    finally:
        log.removeFilter(redaction)


class _Redaction(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _SIGNATURE.sub(r"\1REDACTED", a) if isinstance(a, str) else a for a in record.args
            )
        return True


def _short(url: str) -> str:
    """A URL's path within the workspace or the registry, for people."""
    path = urlsplit(url).path
    found = re.search(r"/(?:workspaces|registries)/[^/]+/(.+)", path)
    return found[1] if found else path


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token if scheme == "Bearer" and token else None
