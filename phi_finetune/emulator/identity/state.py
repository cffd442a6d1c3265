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

__all__ = ["ARM_AUDIENCE", "ML_AUDIENCE", "Identity", "SignInRefused"]

ARM_AUDIENCE = "https://management.azure.com"
ML_AUDIENCE = "https://ml.azure.com"

_LIFETIME = timedelta(minutes=75)
"""The mean of 60 to 90 minutes (Entra's page on configurable token lifetimes)."""


class SignInRefused(Exception):
    """Entra's refusal of a sign-in: the OAuth error, the number of the AADSTS code, and the message."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(f"AADSTS{number}: {message}")
        self.status = status
        self.error = error
        self.number = number
        self.message = message


class Identity:
    """The tenant of one cloud: a single user, whose rights are not decided here."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        # A multiple of four, so that it is base64 as PyJWT insists on: no stray bits in the last character.
        self._signature = cloud.ids.secret(44)
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

    def sign_in(self, *, grant: str, client_id: str, secret: str, scope: str) -> str:
        """A token for the service principal.

        Raises:
            SignInRefused: Another principal, a wrong secret, or another way of signing in (Entra's page on
                AADSTS error codes).
        """
        if grant != "client_credentials":
            message = f"The app requested an unsupported grant type '{grant}'."
            raise SignInRefused(400, "unsupported_grant_type", 70003, message)
        if client_id != self.client_id:
            where = f"in the directory '{self._cloud.tenant_id}'"
            message = f"Application with identifier '{client_id}' was not found {where}."
            raise SignInRefused(400, "unauthorized_client", 700016, message)
        if secret != self.client_secret:
            message = (
                "Invalid client secret provided. Ensure the secret being sent in the request is the client "
                f"secret value, not the client secret ID, for a secret added to app '{client_id}'."
            )
            raise SignInRefused(401, "invalid_client", 7000215, message)
        return self.issue(scope.partition(" ")[0].removesuffix("/.default"))[0]

    def admit(self, request: Request, audience: Audience) -> None:
        """Let a request pass, or refuse it.

        Raises:
            ServiceError: 401, where the token is missing, not of this tenant, of another audience, or
                expired.
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
        if self._cloud.replays:
            return  # It was admitted when it came, with a token that is not kept.
        if request.bearer is None:
            raise ServiceError(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
            )
        claims = request.claims
        if not request.bearer.endswith("." + self._signature):
            raise ServiceError(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if str(claims.get("aud", "")).rstrip("/") not in audiences:
            raise ServiceError(
                401,
                "InvalidAuthenticationTokenAudience",
                "The access token has been obtained for wrong audience or resource.",
            )
        if int(claims.get("exp", 0)) <= self._cloud.clock.now().timestamp():
            raise ServiceError(
                401, "ExpiredAuthenticationToken", "The access token expiry UTC time is in the past."
            )


def _part(value: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
