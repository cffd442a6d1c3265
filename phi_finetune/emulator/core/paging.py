"""Pages of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from phi_finetune.emulator.core.http import Request, Response, json_answer

__all__ = ["page"]


def page(request: Request, items: Sequence[dict[str, Any]], *, size: int = 100) -> Response:
    """One page of ``items``; ``nextLink`` leads to the next (wire.md 13.16), null on the last."""
    start = int(request.query.get("$skipToken", 0))
    size = min(size, int(request.query.get("$top") or size))
    rest = start + size < len(items) and "$top" not in request.query
    link = _with_token(request.url, start + size) if rest else None
    return json_answer(200, {"value": list(items[start : start + size]), "nextLink": link})


def _with_token(url: str, start: int) -> str:
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query) if pair[0] != "$skipToken"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("$skipToken", str(start))])))
