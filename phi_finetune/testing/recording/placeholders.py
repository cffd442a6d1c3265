"""What stands in a recording for the real values: for the same value always the same."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

from phi_finetune.testing.recording.rules import GUID, JWT, Kind

__all__ = ["TOKEN", "Placeholders", "guid"]

TOKEN = re.compile(r"scrubbed-token\(([^()]*)\)")
"""What stands for a token: the audience is in the brackets, and a replay puts a token for it in its place."""

_PLACEHOLDERS = {
    "secret": re.compile(r"scrubbed\d{4,}|scrubbed-base64|" + TOKEN.pattern),
    "guid": re.compile(r"00000000-0000-4000-8000-\d{12}"),
    "mail": re.compile(r"user\d+@example\.com|tenant\d+\.example\.com"),
    "account": re.compile(r"account\d+"),
}
_NAMED = re.compile(r"(resource-group|workspace|resource|user)-\d+")


def guid(number: int) -> str:
    """The placeholder of the so many-th GUID."""
    return f"00000000-0000-4000-8000-{number:012d}"


class Placeholders:
    """The real values seen so far, each with what stands for it.

    Args:
        kept: Kinds of names that stay as they are.

    Attributes:
        secrets: Secrets, with their placeholders.
        ids: Tokens, and in lower case GUIDs and mail addresses: what is known by its form, and is never a word.
        given: What the user wants to be scrubbed.
        names: Names, in lower case.
    """

    def __init__(self, kept: frozenset[Kind] = frozenset()) -> None:
        self._kept = kept
        self._counts: dict[str, int] = {}
        self.secrets: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self.given: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def of(self, kind: Kind, value: str) -> str:
        """What stands for a value of a kind."""
        if kind in self._kept:
            return value
        if kind == "secret":
            return self._of(self.secrets, value, "secret", "scrubbed{:04d}".format)
        # The name of a storage account has no hyphen.
        form = "account{}" if kind == "account" else f"{kind}-{{}}"
        return self._of(self.names, value.lower(), kind, form.format)

    def of_id(self, value: str) -> str:
        """What stands for a GUID, a JWT, a mail address or a tenant's domain: something of the same form.

        For a JWT, that says whom the token is for.
        """
        if GUID.fullmatch(value):
            return self._of(self.ids, value.lower(), "guid", guid)
        if JWT.fullmatch(value):
            return self._of(self.ids, value, "token", lambda _: f"scrubbed-token({_audience(value)})")
        form = "user{}@example.com" if "@" in value else "tenant{}.example.com"
        return self._of(self.ids, value.lower(), "mail", form.format)

    def give(self, value: str) -> None:
        """Learn a text that the user wants to be scrubbed."""
        self.given[value] = self.of("secret", value)

    def _of(self, known: dict[str, str], value: str, kind: str, form: Callable[[int], str]) -> str:
        # What stands for something already is left, so that a recording of a replay stays as it is.
        if _PLACEHOLDERS.get(kind, _NAMED).fullmatch(value):
            return value
        if value not in known:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            known[value] = form(self._counts[kind])
        return known[value]


def _audience(token: str) -> str:
    """Whom a JWT is for, where it says so by a URL; else nothing."""
    payload = token.split(".")[1]
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except ValueError:
        return ""
    audience = claims.get("aud") if isinstance(claims, dict) else None
    is_url = isinstance(audience, str) and re.fullmatch(r"https://[\w./-]+", audience)
    return str(audience) if is_url else ""
