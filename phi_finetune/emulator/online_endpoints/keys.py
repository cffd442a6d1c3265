"""The keys and tokens of endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.online_endpoints.refusals import bad_request

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.online_endpoints.endpoint import Endpoint, KeyKind

__all__ = ["Keys", "Token"]

_TOKEN_LIFETIME = timedelta(hours=1)
_TOKEN_FRESH = timedelta(minutes=45)
"""Both assumed: Azure's pages give no lifetime for an endpoint's own tokens (pain.md, "Tokens")."""


@dataclass(frozen=True)
class Token:
    """A token of an endpoint: until when it is good, and from when a new one should be asked for."""

    value: str
    expires: datetime
    refresh_after: datetime


class Keys:
    """The secrets that the endpoints of one cloud have handed out; keys never expire (pain.md, Q8)."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._handed_out: set[str] = set()

    def knows(self, secret: str) -> bool:
        """Whether a key or token comes from here, also one that is no longer good."""
        return secret in self._handed_out

    def pair(self) -> dict[KeyKind, str]:
        """Two keys for a new endpoint."""
        return {"Primary": self._new(), "Secondary": self._new()}

    def of(self, endpoint: Endpoint) -> dict[KeyKind, str]:
        """The keys of an endpoint.

        Raises:
            ServiceError: 400, where it takes no keys. The wording is ours.
        """
        if endpoint.spec.auth_mode != "Key":
            raise bad_request(
                f"Endpoint {endpoint.name} takes no keys: its auth mode is {endpoint.spec.auth_mode}."
            )
        return endpoint.keys

    def regenerate(self, endpoint: Endpoint, kind: KeyKind, wanted: str | None) -> None:
        """Replace a key, by ``wanted`` if it is another one than now.

        azure-ai-ml sends the present key as the wanted one where it asks for a new one.
        """
        keys = self.of(endpoint)
        keys[kind] = self._keep(wanted) if wanted and wanted != keys[kind] else self._new()

    def token(self, endpoint: Endpoint) -> Token:
        """A new token of an endpoint.

        Raises:
            ServiceError: 400, where it takes none. The wording is ours.
        """
        if endpoint.spec.auth_mode != "AMLToken":
            raise bad_request(
                f"Endpoint {endpoint.name} gives no tokens: its auth mode is {endpoint.spec.auth_mode}."
            )
        now = self._cloud.clock.now()
        token = Token(self._new(), now + _TOKEN_LIFETIME, now + _TOKEN_FRESH)
        endpoint.tokens[token.value] = token.expires
        return token

    def admit(self, endpoint: Endpoint, secret: str | None) -> None:
        """Refuse a caller whose key or token is not good for an endpoint.

        Raises:
            ServiceError: 401 (Azure's page on troubleshooting online endpoints); the wording is ours.
        """
        if self._cloud.replays:
            return  # It was admitted when it came, with a key that is not kept.
        if endpoint.spec.auth_mode == "Key":
            good = secret in endpoint.keys.values()
        else:
            expires = endpoint.tokens.get(secret or "")
            good = expires is not None and self._cloud.clock.now() < expires
        if not good:
            raise ServiceError(401, "Unauthorized", "The key or token is missing, wrong or expired.")

    def _new(self) -> str:
        return self._keep(self._cloud.ids.secret())

    def _keep(self, secret: str) -> str:
        self._handed_out.add(secret)
        return secret
