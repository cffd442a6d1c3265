"""Plain REST calls through the one transport, for all that azure-ai-ml is not needed for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

import attrs

from phi_finetune._azure.hosts import scope_for
from phi_finetune.errors import (
    AuthenticationFailed,
    PhiFinetuneError,
    ServiceUnreachable,
    UnexpectedAnswer,
)

if TYPE_CHECKING:
    from azure.core.rest import HttpRequest

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
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = attrs.field(repr=False)
    asked: str

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

    @property
    def asked(self) -> str:
        """Method and path, for errors."""
        return f"{self.method} {self.url.partition('?')[0]}"


class Rest:
    """Sends requests with the right token, and gives every answer back."""

    def __init__(self, transport: Transport, credential: CachedCredential, user_agent: str) -> None:
        self._transport = transport
        self._credential = credential
        self._user_agent = user_agent

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

        Raises:
            ServiceUnreachable: No answer came.
        """
        if query:
            url += ("&" if "?" in url else "?") + urlencode(query)
        call = _Call(method, url, dict(headers or {}), body, content, signed)
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
            response = self._transport.send(self._request(call))
        except ClientAuthenticationError as error:
            return sign_in_lapsed(error)
        except AzureError as error:
            return ServiceUnreachable(
                "Azure did not answer",
                resource=call.asked,
                why=_causes(error),
                next_call="check the network and call again; a change is looked for before it is sent again",
            )
        except PhiFinetuneError as error:
            return error.with_traceback(None)
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, lower, _content(response), call.asked)

    def _request(self, call: _Call) -> HttpRequest:
        from azure.core.rest import HttpRequest

        own = {
            "User-Agent": self._user_agent,
            "x-ms-client-request-id": str(uuid4()),
            "Accept": "application/json",
        }
        if call.signed:
            own["Authorization"] = f"Bearer {self._token(scope_for(call.url))}"
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
