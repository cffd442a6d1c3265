"""Which handler answers a request: a table of method, host and path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.core.http import Request, Response

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Audience", "Handler", "Route", "Router", "template"]

Handler = Callable[["Cloud", Request], Response]
Audience = Literal["arm", "arm-or-ml", "none", "sas", "handler"]
"""Who may call: a token for Azure Resource Manager, one for it or for ml.azure.com, anybody, the bearer of a SAS
(or of a token, for blobs), or whomever the handler itself lets in."""


@dataclass(frozen=True)
class Route:
    """One row of a family's table.

    Attributes:
        method: The HTTP method.
        host: The host, with ``{name}`` for a label or part of one that varies.
        path: The path, with ``{name}`` for a segment and ``{name:path}`` for the rest.
        handler: Takes the cloud and the request, gives the answer.
        audience: Who may call.
        reads: What kind of error envelope the answer has.
    """

    method: str
    host: str
    path: str
    handler: Handler
    audience: Audience = "arm"
    errors: Literal["arm", "mlflow", "blob", "scoring"] = "arm"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Made when it is first tried: making those of the whole table is a third of loading it.
        return template(self.host, self.path)

    @property
    def name(self) -> str:
        """How the journal and the coverage table call it."""
        return f"{self.method} {self.host}{self.path}"

    def match(self, request: Request) -> dict[str, str] | None:
        """What the template's names stand for in this request, or None."""
        found = self._pattern.fullmatch(request.host + request.path)
        return found.groupdict() if found else None


class Router:
    """All routes of a cloud."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_method: dict[str, list[Route]] = {}
        for route in self.routes:
            self._by_method.setdefault(route.method, []).append(route)

    def find(self, request: Request) -> tuple[Route, dict[str, str]] | None:
        """The first route that matches, and what its names stand for; None for an unknown one."""
        for route in self._by_method.get(request.method, ()):
            params = route.match(request)
            if params is not None:
                return route, params
        return None


def template(host: str, path: str) -> re.Pattern[str]:
    """What a host and a path match in which braces stand for something, in upper and lower case."""
    text = re.escape(host + path)
    text = re.sub(r"\\\{(\w+):path\\\}", r"(?P<\1>.*)", text)
    host_part, slash, path_part = text.partition("/")
    host_part = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/.]+)", host_part)
    path_part = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", path_part)
    return re.compile(host_part + slash + path_part, re.IGNORECASE)
