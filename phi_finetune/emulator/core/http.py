"""A request as it came, and an answer as it goes."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["Forwarded", "Request", "Response", "empty", "json_answer"]


@dataclass(frozen=True)
class Request:
    """A request: header names are in lower case, ``params`` holds what the route's template matched."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    params: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def host(self) -> str:
        """The host, in lower case, without a port."""
        return (urlsplit(self.url).hostname or "").lower()

    @cached_property
    def path(self) -> str:
        """The path as sent, still percent-encoded, without a trailing slash."""
        return urlsplit(self.url).path.rstrip("/") or "/"

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Query parameters; where one is repeated, the last value."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @cached_property
    def bearer(self) -> str | None:
        """The bearer token or endpoint key of the Authorization header."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token else None

    @cached_property
    def claims(self) -> Mapping[str, Any]:
        """The claims of the bearer token where it is a JWT, unverified; else empty."""
        parts = (self.bearer or "").split(".")
        if len(parts) != 3:
            return {}
        try:
            payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        except ValueError:
            return {}
        return payload if isinstance(payload, dict) else {}

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object.

        Raises:
            ServiceError: 400 for anything else, as Azure Resource Manager answers (InvalidRequestContent).
        """
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ServiceError(
                400, "InvalidRequestContent", "The request content was invalid and could not be deserialized."
            )
        return value

    def with_params(self, params: Mapping[str, str]) -> Request:
        """The same request, knowing what its route matched."""
        return replace(self, params={name: unquote(value) for name, value in params.items()})


@dataclass
class Response:
    """An answer.

    Attributes:
        status: The HTTP status.
        headers: Its headers.
        body: The whole body; for HEAD the door leaves it out and keeps its length.
        pause_s: How long the door waits before each byte of the body, in seconds.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    pause_s: float = 0.0


@dataclass
class Forwarded(Response):
    """An answer that a server of its own gives: whoever holds the door asks it; ``headers`` go on top of its own.

    Attributes:
        server: The server's id.
    """

    server: str = ""


def json_answer(status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body."""
    body = json.dumps(value).encode()
    return Response(status, {"Content-Type": "application/json; charset=utf-8", **(headers or {})}, body)


def empty(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body."""
    return Response(status, dict(headers or {}))
