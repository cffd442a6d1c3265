"""Shared access signatures: what lets the bearer of a URL at a blob.

A signature covers what it grants: the container or blob, the permissions, and the time (Azure's page "Create
a service SAS"; what is signed here is shorter).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["Grant", "check", "sign"]

_VERSION = "2022-11-02"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Grant:
    """What a signature allows: ``blob`` is None for all of the container; ``permissions`` are letters."""

    container: str
    permissions: str
    expires: datetime
    blob: str | None = None

    def text(self) -> str:
        """What is signed."""
        return "\n".join(
            [self.container, self.blob or "", self.permissions, self.expires.strftime(_TIME), _VERSION]
        )


def sign(key: bytes, grant: Grant) -> str:
    """The query string that carries a grant."""
    fields = {
        "sv": _VERSION,
        "sr": "c" if grant.blob is None else "b",
        "st": (grant.expires - timedelta(days=1)).strftime(_TIME),
        "se": grant.expires.strftime(_TIME),
        "sp": grant.permissions,
        "sig": _signature(key, grant),
    }
    return urlencode(fields)


def check(
    key: bytes, query: Mapping[str, str], *, container: str, blob: str, need: str, now: datetime
) -> None:
    """Refuse a request whose signature does not grant what it needs.

    Raises:
        ServiceError: 403, with the codes of Azure Storage.
    """
    try:
        expires = datetime.strptime(query.get("se", ""), _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise _failed("The expiry time of the signature is missing or malformed.") from None
    grant = Grant(container, query.get("sp", ""), expires, blob if query.get("sr") == "b" else None)
    if not hmac.compare_digest(_signature(key, grant).encode(), query.get("sig", "").encode()):
        raise _failed("Signature did not match.")
    if expires <= now:
        raise _failed("Signature not valid in the specified time frame.")
    if not set(need) & set(grant.permissions):
        raise ServiceError(
            403,
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        )


def _signature(key: bytes, grant: Grant) -> str:
    return base64.b64encode(hmac.new(key, grant.text().encode(), hashlib.sha256).digest()).decode()


def _failed(why: str) -> ServiceError:
    message = (
        "Server failed to authenticate the request. Make sure the value of Authorization header is formed "
        f"correctly. {why}"
    )
    return ServiceError(403, "AuthenticationFailed", message)
