"""Tokens: issued here, recognised here."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.core.router import Audience

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ARM_AUDIENCE", "ML_AUDIENCE", "Identity"]

ARM_AUDIENCE = "https://management.azure.com"
ML_AUDIENCE = "https://ml.azure.com"

_LIFETIME = timedelta(minutes=75)
"""The mean of 60 to 90 minutes (Entra's page on configurable token lifetimes)."""


class Identity:
    """The tenant of one cloud: a single user, who may do everything."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._signature = cloud.ids.secret(43)
        self.object_id = cloud.ids.guid()
        self.client_id = cloud.ids.guid()
        self.client_secret = cloud.ids.secret()

    def issue(self, audience: str) -> tuple[str, int]:
        """A token for an audience, and when it expires in seconds since 1970.

        It has the form of a JWT because the client reads ``aud`` and ``tid`` from it (wire.md 2).
        """
        now = self._cloud.clock.now()
        expires = int((now + _LIFETIME).timestamp())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self._cloud.tenant_id}/",
            "iat": int(now.timestamp()),
            "nbf": int(now.timestamp()),
            "exp": expires,
            "tid": self._cloud.tenant_id,
            "oid": self.object_id,
            "appid": self.client_id,
            "ver": "1.0",
        }
        return f"{_part({'alg': 'none', 'typ': 'JWT'})}.{_part(claims)}.{self._signature}", expires

    def admit(self, request: Request, audience: Audience) -> None:
        """Let a request pass, or refuse it.

        Raises:
            ServiceError: 401, where the token is missing, not of this tenant, of another audience, or expired.
        """
        if audience in ("none", "sas", "handler"):
            return
        allowed = (ARM_AUDIENCE,) if audience == "arm" else (ARM_AUDIENCE, ML_AUDIENCE)
        self.check(request, allowed)

    def check(self, request: Request, audiences: tuple[str, ...]) -> None:
        """Refuse a request whose token is not good for one of these audiences.

        Raises:
            ServiceError: 401, in the words of Azure Resource Manager.
        """
        if request.bearer is None:
            raise ServiceError(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        claims = request.claims
        if not request.bearer.endswith("." + self._signature):
            raise ServiceError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if str(claims.get("aud", "")).rstrip("/") not in audiences:
            raise ServiceError(
                401, "InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource."
            )
        if int(claims.get("exp", 0)) <= self._cloud.clock.now().timestamp():
            raise ServiceError(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is in the past.")


def _part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
