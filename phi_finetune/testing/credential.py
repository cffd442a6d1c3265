"""The credential of a fake's one user."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

__all__ = ["FakeCredential", "Issuer"]

_LONGER_THAN_JITTER_S = 61
"""azure-core puts a refresh off by up to 60 s, drawn at random (azure.core.pipeline.policies, 1.41.0)."""


class Issuer(Protocol):
    """What makes tokens."""

    def issue(self, audience: str) -> tuple[str, int]:
        """A token for an audience, and when it expires in seconds since 1970."""
        ...


class FakeCredential:
    """A credential for any client of Azure's: it gives tokens of one fake's tenant, or of a replay's, at once.

    A client counts the age of a token on the machine's clock, and the fake's clock runs ahead of it. So
    ``get_token_info`` marks every token as due for renewal: azure-core then asks again for each request,
    and no virtual hour makes a cached token expire unnoticed. ``expires_on`` is on the fake's clock.

    Args:
        issuer: What makes the tokens; of a fake, ``azure.cloud.identity``.

    Attributes:
        requested: The scopes asked for so far, one entry a call.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._lock = threading.Lock()
        self.requested: list[str] = []

    # The keywords are those of azure-core's protocol TokenCredential, which a checker compares.
    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """A token for the scopes' audience; the other arguments change nothing."""
        from azure.core.credentials import AccessToken

        return AccessToken(*self._issue(scopes))

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """A token for the scopes' audience, due for renewal at once; the options change nothing."""
        from azure.core.credentials import AccessTokenInfo

        token, expires_on = self._issue(scopes)
        return AccessTokenInfo(token, expires_on, refresh_on=int(time.time()) - _LONGER_THAN_JITTER_S)

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> FakeCredential:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def _issue(self, scopes: tuple[str, ...]) -> tuple[str, int]:
        if len(scopes) != 1:
            raise ValueError(f"a token is for one scope; {len(scopes)} were given")
        with self._lock:
            self.requested.append(scopes[0])
        return self._issuer.issue(scopes[0].removesuffix("/.default"))
