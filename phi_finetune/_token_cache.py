"""A credential that keeps its tokens, so that a slow source is asked once an hour and not at each request.

azure-ai-ml asks for a token at each ``jobs.get`` and each submission, and azureml-mlflow at each request, and
neither keeps it (wire.md 2); the Azure CLI takes seconds for one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias, cast

import attrs

from phi_finetune.errors import ConfigurationError

if TYPE_CHECKING:
    from azure.core.credentials import (
        AccessToken,
        AccessTokenInfo,
        TokenCredential,
        TokenProvider,
        TokenRequestOptions,
    )

    from phi_finetune._credentials_sign_in import Attempt

__all__ = ["CachedCredential"]

_REFRESH_S: Final = 300
"""A token that expires within so many seconds is replaced; azure-core does the same (1.41.0)."""

_REMEMBERED: Final = 64

_Key: TypeAlias = tuple[tuple[str, ...], str | None, bool]


@attrs.define(eq=False, repr=False)
class CachedCredential:
    """A TokenCredential around another one, safe to share between threads: one of them fetches for all.

    A token is kept for its scopes, tenant and kind (continuous access evaluation or not) until 300 s before
    it expires, or until the time at which its source wants it renewed. A claims challenge is always passed
    on, and its token takes the place of the one kept. Errors of the source pass through unchanged.

    Attributes:
        attempts: How signing in went, link by link; the last one gave this credential. Empty where it was not
            signed in with here.
    """

    _credential: TokenProvider
    attempts: tuple[Attempt, ...] = attrs.field(default=(), kw_only=True)
    _tenant_id: str | None = attrs.field(default=None, kw_only=True, alias="tenant_id")
    _renew: Callable[[], TokenProvider] | None = attrs.field(default=None, kw_only=True, alias="renew")
    _now: Callable[[], float] = attrs.field(default=time.time, kw_only=True, alias="now")
    _tokens: dict[_Key, AccessTokenInfo] = attrs.field(factory=dict, kw_only=True)
    _issued: deque[tuple[str, str]] = attrs.field(factory=lambda: deque(maxlen=_REMEMBERED), kw_only=True)
    _lock: threading.RLock = attrs.field(factory=threading.RLock, kw_only=True)

    # The keywords are those of azure-core's protocol TokenCredential, which a checker compares.
    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: Any,
    ) -> AccessToken:
        """Give a token for the scopes; further keywords are not passed on."""
        from azure.core.credentials import AccessToken

        options: TokenRequestOptions = {"enable_cae": enable_cae}
        if claims:
            options["claims"] = claims
        if tenant_id:
            options["tenant_id"] = tenant_id
        token = self.get_token_info(*scopes, options=options)
        return AccessToken(token.token, token.expires_on)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """Give a token for the scopes, and what is known of it."""
        asked: TokenRequestOptions = {**options} if options else {}
        if self._tenant_id:
            asked.setdefault("tenant_id", self._tenant_id)
        key: _Key = (scopes, asked.get("tenant_id"), asked.get("enable_cae", False))
        if not asked.get("claims") and (kept := self._kept(key)):
            return kept
        with self._lock:
            if not asked.get("claims") and (kept := self._kept(key)):
                return kept
            token = self._fetch(scopes, asked)
            self._tokens[key] = token
            self._issued.extend((scope, token.token) for scope in scopes)
        return token

    def scope_of(self, token: str) -> str | None:
        """The scope that this credential gave a token for; None where it is another's, or none of its last 64."""
        with self._lock:
            return next((scope for scope, given in self._issued if given == token), None)

    def forget(self, scope: str, refused: str | None = None) -> None:
        """Drop the token of a scope, and the source's own copy of it where the source can be built anew.

        Args:
            scope: The scope.
            refused: The token that a service refused. Where another thread has replaced it already, nothing
                is dropped, so that one refusal costs one new token.
        """
        with self._lock:
            held = [
                key for key, kept in self._tokens.items() if scope in key[0] and refused in (None, kept.token)
            ]
            for key in held:
                del self._tokens[key]
            if held and self._renew:
                self._credential = self._renew()

    def _kept(self, key: _Key) -> AccessTokenInfo | None:
        token, now = self._tokens.get(key), self._now()
        if token is None or token.expires_on - now <= _REFRESH_S:
            return None
        return None if token.refresh_on is not None and token.refresh_on <= now else token

    def _fetch(self, scopes: tuple[str, ...], options: TokenRequestOptions) -> AccessTokenInfo:
        from azure.core.credentials import AccessTokenInfo

        # A credential need have only one of the two methods; azure-core prefers this one too.
        ask = getattr(self._credential, "get_token_info", None)
        if ask is not None:
            return cast("Callable[..., AccessTokenInfo]", ask)(*scopes, options=options)
        token = cast("TokenCredential", self._credential).get_token(*scopes, **options)
        return AccessTokenInfo(token.token, token.expires_on)

    def __repr__(self) -> str:
        return f"CachedCredential({type(self._credential).__name__})"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "A credential is not pickled",
            why="it holds tokens",
            next_call="hand over the policy, and sign in where it arrives",
        )
