"""Plain REST calls through the one transport, for all that azure-ai-ml is not needed for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

import attrs

from phi_finetune.errors import (
    AuthenticationFailed,
    PhiFinetuneError,
    ServiceUnreachable,
    UnexpectedAnswer,
)

if TYPE_CHECKING:
    from azure.core.rest import HttpRequest

    from phi_finetune._azure.hosts import Hosts
    from phi_finetune._azure.transport import Transport
    from phi_finetune._token_cache import CachedCredential

__all__ = ["Answer", "Rest", "sign_in_lapsed"]

_MOST_CAUSES = 4


@attrs.frozen
class Answer:
    """An answer, whatever its status.

    Attributes:
        status: The HTTP status.
        headers: Its headers; names in lower case.
        body: The whole body.
        asked: Method and path of the request, for errors.
        gave_up: Why it was not sent again, where that was not the retry policy's decision.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    asked: str
    gave_up: str | None = None

    def served_at(self) -> datetime:
        """When the service answered, by its own clock.

        Raises:
            UnexpectedAnswer: It does not say.
        """
        try:
            when = parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            raise UnexpectedAnswer(
                "Azure's answer does not say when it was given", resource=self.asked, next_call="call again"
            ) from None
        return when.astimezone(UTC) if when.tzinfo is not None else when.replace(tzinfo=UTC)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            UnexpectedAnswer: It is not one: half a body, or something else.
        """
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return value
        raise UnexpectedAnswer(
            "Azure's answer cannot be read",
            resource=self.asked,
            why=f"HTTP {self.status} with {len(self.body)} bytes that are not a JSON object",
            next_call="call again; if it stays, open a support case with the request id",
            status_code=self.status,
            request_id=self.headers.get("x-ms-request-id"),
        )


@attrs.frozen
class _Call:
    """A request to be sent. Its repr shows no secret: a URL may carry a signature, headers a key, a body anything."""

    method: str
    url: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: object = attrs.field(repr=False)
    content: bytes | None = attrs.field(repr=False)
    signed: bool
    scope: str | None

    @property
    def asked(self) -> str:
        """Method and path, for errors."""
        return f"{self.method} {self.url.partition('?')[0]}"


class Rest:
    """Sends requests with the right token, and gives every answer back."""

    def __init__(
        self, transport: Transport, credential: CachedCredential, user_agent: str, hosts: Hosts
    ) -> None:
        self._transport = transport
        self._credential = credential
        self._user_agent = user_agent
        self._hosts = hosts

    def send(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        scope: str | None = None,
    ) -> Answer:
        """Send one request.

        Args:
            method: The HTTP method.
            url: The whole URL, without what ``query`` adds.
            query: Query parameters.
            body: A value to send as JSON.
            content: Bytes to send as they are.
            headers: Further headers; an Authorization among them is kept.
            signed: False sends no token: for a URL that carries its own signature.
            scope: The scope of the token; None is the one that the host takes.

        Raises:
            HostRefused: The host may not be spoken to, or sends the request elsewhere.
            ServiceUnreachable: No answer came.
        """
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        call = _Call(method, url, dict(headers or {}), body, content, signed, scope)
        # Whoever shows a traceback with the variables of each function shows none of these.
        del url, query, headers, body, content
        outcome = self._outcome(call)
        if isinstance(outcome, Answer):
            return outcome
        raise outcome

    def _outcome(self, call: _Call) -> Answer | PhiFinetuneError:
        """The answer, or the error to raise: elsewhere, since here its traceback would hold the request."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            sent = self._transport.deliver(self._request(call))
        except ClientAuthenticationError as error:
            return sign_in_lapsed(error)
        except AzureError as error:
            return _unreachable(call.asked, error, None)
        except PhiFinetuneError as error:
            return error.with_traceback(None)
        if sent.answer is None:
            return _unreachable(call.asked, sent.error, sent.gave_up)
        lower = {name.lower(): value for name, value in sent.answer.headers.items()}
        return Answer(sent.answer.status_code, lower, _content(sent.answer), call.asked, sent.gave_up)

    def _request(self, call: _Call) -> HttpRequest:
        from azure.core.rest import HttpRequest

        own = {
            "User-Agent": self._user_agent,
            "x-ms-client-request-id": str(uuid4()),
            "Accept": "application/json",
        }
        if call.signed:
            own["Authorization"] = f"Bearer {self._token(call.scope or self._hosts.scope_for(call.url))}"
        headers = {**own, **call.headers}
        return HttpRequest(call.method, call.url, headers=headers, json=call.body, content=call.content)

    def pages(self, url: str, *, query: Mapping[str, str]) -> Iterator[Answer]:
        """Every page of an ARM list, as it is asked for."""
        answer = self.send("GET", url, query=query)
        yield answer
        while answer.status == 200 and (link := answer.json().get("nextLink")):
            answer = self.send("GET", str(link))
            yield answer

    def _token(self, scope: str) -> str:
        from azure.core.exceptions import AzureError

        try:
            return self._credential.get_token(scope).token
        except AzureError as error:
            # Not chained: the error of azure-identity may hold the sign-in's request.
            raise sign_in_lapsed(error) from None


def _unreachable(asked: str, error: Exception | None, gave_up: str | None) -> ServiceUnreachable:
    # Azure-core's error is not chained: it holds the request, and with it the token.
    return ServiceUnreachable(
        "Azure did not answer",
        resource=asked,
        why="; ".join(part for part in (_causes(error), gave_up) if part),
        next_call="check the network and call again; a change is looked for before it is sent again",
    )


def _causes(error: BaseException | None) -> str:
    """What kinds of errors led to this one, the last first; their texts may hold a signature, so they are left out."""
    kinds: list[str] = []
    while error is not None and len(kinds) < _MOST_CAUSES:
        kinds.append(type(error).__name__)
        error = getattr(error, "inner_exception", None) or error.__cause__ or error.__context__
    return ", from ".join(kinds)


def sign_in_lapsed(error: Exception) -> AuthenticationFailed:
    """The error for a credential that gave a token before, and gives none now."""
    return AuthenticationFailed(
        "The credential gives no token any more",
        resource="the sign-in to Azure",
        why=str(error).partition("\n")[0][:500],
        next_call="sign in again (az login), and call again",
    )


def _content(response: Any) -> bytes:
    body = response.content
    return body if isinstance(body, bytes) else bytes(body or b"")
