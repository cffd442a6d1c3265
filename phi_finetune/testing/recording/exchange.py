"""A request with its answer, as a recording keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

__all__ = ["Answered", "Asked", "Content", "Exchange", "Lost", "is_read"]

Content = dict[str, Any]
"""A body, in one of these forms: nothing (an empty dictionary), ``{"json": value}``, ``{"text": text}``,
``{"base64": text}``; for what is the user's own, ``{"data": {"bytes": size, "sha256": digest}}``, or
``{"shape": value}`` with nothing of the values but how long they are."""

Lost = Literal["connection refused", "no connection in time", "connection lost", "no answer in time"]
"""Why no answer came."""

_READING_POSTS = ("list", "get", "search", "token", "rundata", "batch", "query")


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        method: The method.
        url: The URL, without what signs it, its query in order of names.
        headers: The headers that matter to the answer.
        body: What was sent.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        status: The HTTP status.
        headers: The headers that clients read.
        body: What came.
        cut_off: Whether the connection was lost in the middle of it; the body is then what came before that.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Content = field(default_factory=dict)
    cut_off: bool = False


@dataclass(frozen=True)
class Exchange:
    """A request, and its answer or why none came.

    Attributes:
        asked: The request.
        answered: The answer; None where none came.
        lost: Why none came; None where one did.
    """

    asked: Asked
    answered: Answered | None = None
    lost: Lost | None = None

    @property
    def method(self) -> str:
        """The request's method."""
        return self.asked.method

    @property
    def url(self) -> str:
        """The request's URL."""
        return self.asked.url

    @property
    def status(self) -> int | None:
        """The status answered; None where no answer came."""
        return None if self.answered is None else self.answered.status

    def __str__(self) -> str:
        return f"{self.status or self.lost} {self.method} {self.url}"


def is_read(method: str, url: str) -> bool:
    """Whether a request changes nothing, so that its answer can be given again."""
    last = urlsplit(url).path.rstrip("/").rpartition("/")[2].lower()
    return method in ("GET", "HEAD") or (method == "POST" and last.startswith(_READING_POSTS))
