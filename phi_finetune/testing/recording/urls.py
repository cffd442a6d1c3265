"""URLs as a recording keeps and compares them."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

__all__ = ["canonical", "unsigned"]

_SIGNED = re.compile(
    r"rsc[cdelt]|[a-z]{2}oid|scid|sdd|ses?|sig?|sip|sk[estv]|sktid|sp|spr|srt?|ss|st|sv",
)
"""The parameters of a SAS (Azure's page on creating a service SAS, a user delegation SAS, an account SAS)."""


def canonical(url: str) -> str:
    """The URL without its SAS, the host in lower case, the path encoded in one way, the query in order of names."""
    parts = urlsplit(url)
    query = urlencode(sorted(unsigned(parse_qsl(parts.query, keep_blank_values=True))), quote_via=quote)
    path = quote(unquote(parts.path), safe="/:@!$&'()*+,;=~")
    return urlunsplit((parts.scheme, parts.netloc.lower(), path, query, ""))


def unsigned(query: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The parameters of a query without those of a SAS, where it has one."""
    if not any(name == "sig" for name, _ in query):
        return query
    return [(name, value) for name, value in query if not _SIGNED.fullmatch(name)]
