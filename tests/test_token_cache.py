"""A credential that keeps its tokens: when it asks its source, and when it does not."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo, TokenCredential, TokenRequestOptions
from azure.core.exceptions import ClientAuthenticationError

from phi_finetune._token_cache import CachedCredential
from phi_finetune.errors import ConfigurationError

ARM = "https://management.azure.com/.default"
ML = "https://ml.azure.com/.default"


class Source:
    """Gives numbered tokens that live for an hour, and keeps each one, as azure-identity's credentials do."""

    def __init__(self, *, refresh_on: int | None = None, keeps: bool = False) -> None:
        self.asked: list[tuple[tuple[str, ...], TokenRequestOptions]] = []
        self.refresh_on = refresh_on
        self.keeps = keeps
        self.kept: AccessTokenInfo | None = None
        self.now = 0
        self.numbers: Iterator[int] = count(1)

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        self.asked.append((scopes, options or {}))
        if not self.kept or not self.keeps:
            self.kept = AccessTokenInfo(
                f"token-{next(self.numbers)}", self.now + 3600, refresh_on=self.refresh_on
            )
        return self.kept

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **kwargs: object,
    ) -> AccessToken:
        raise AssertionError("the other method is preferred")


class OldSource:
    """A credential from before get_token_info."""

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken("old", 3600)


def cached(source: Source) -> CachedCredential:
    """A cache on the source's clock."""
    return CachedCredential(source, now=lambda: source.now)


def test_a_token_is_asked_for_once() -> None:
    """Both methods give the token that is kept; the source is asked once."""
    source = Source()
    credential = cached(source)
    assert isinstance(credential, TokenCredential)
    tokens = [
        credential.get_token(ARM).token,
        credential.get_token_info(ARM).token,
        credential.get_token(ARM).token,
    ]
    assert tokens == ["token-1"] * 3
    assert len(source.asked) == 1


def test_a_token_is_replaced_before_it_expires() -> None:
    """Until 300 s before its end a token is kept; from then on the source is asked."""
    source = Source()
    credential = cached(source)
    seen = []
    for source.now in (0, 3299, 3300, 3301):
        seen.append(credential.get_token(ARM).token)
    assert seen == ["token-1", "token-1", "token-2", "token-2"]


def test_a_token_that_its_source_wants_renewed_is_replaced() -> None:
    """From refresh_on the source is asked, however long the token would live."""
    source = Source(refresh_on=1000)
    credential = cached(source)
    seen = []
    for source.now in (0, 999, 1000):
        seen.append(credential.get_token(ARM).token)
    assert seen == ["token-1", "token-1", "token-2"]


def test_a_token_that_is_about_to_expire_is_never_kept() -> None:
    """A source whose tokens are always short-lived is asked each time."""
    source = Source()
    credential = CachedCredential(source, now=lambda: source.now + 3400)
    assert [credential.get_token(ARM).token for _ in range(2)] == ["token-1", "token-2"]


def test_tokens_are_kept_apart() -> None:
    """Another scope, tenant or kind of token is another token."""
    source = Source()
    credential = cached(source)
    for _ in range(2):
        credential.get_token(ARM)
        credential.get_token(ML)
        credential.get_token(ARM, tenant_id="other")
        credential.get_token_info(ARM, options={"enable_cae": True})
    assert len(source.asked) == 4


def test_a_claims_challenge_reaches_the_source() -> None:
    """Claims are passed on each time, and their token replaces the one that was refused."""
    source = Source()
    credential = cached(source)
    credential.get_token(ARM)
    assert credential.get_token(ARM, claims="{}").token == "token-2"
    assert source.asked[-1] == ((ARM,), {"enable_cae": False, "claims": "{}"})
    assert credential.get_token(ARM).token == "token-2"


def test_a_credential_with_get_token_alone_will_do() -> None:
    """A source without get_token_info is asked through get_token."""
    credential = CachedCredential(OldSource(), now=lambda: 0)
    assert credential.get_token_info(ARM).token == "old"


def test_the_tenant_given_is_named_unless_the_caller_names_one() -> None:
    """A cache for a tenant asks for that tenant's tokens."""
    source = Source()
    credential = CachedCredential(source, tenant_id="mine", now=lambda: 0)
    credential.get_token_info(ARM)
    credential.get_token_info(ARM, options={"tenant_id": "other"})
    assert [options.get("tenant_id") for _, options in source.asked] == ["mine", "other"]


def test_a_forgotten_token_is_fetched_anew() -> None:
    """forget drops the scope's token and leaves the others."""
    source = Source()
    credential = cached(source)
    credential.get_token(ARM)
    credential.get_token(ML)
    credential.forget(ARM)
    assert (credential.get_token(ARM).token, credential.get_token(ML).token) == ("token-3", "token-2")


def test_forgetting_a_refused_token_twice_costs_one_token() -> None:
    """Where two threads met the same refusal, the second does not drop what the first has fetched."""
    source = Source()
    credential = cached(source)
    refused = credential.get_token(ARM).token
    for _ in range(2):
        credential.forget(ARM, refused)
        credential.get_token(ARM)
    assert len(source.asked) == 2


def test_a_source_that_keeps_its_token_is_built_anew() -> None:
    """forget reaches the source's own cache, by way of a new source."""
    sources = [Source(keeps=True), Source(keeps=True)]
    sources[1].numbers = count(100)
    unused = iter(sources)
    credential = CachedCredential(next(unused), renew=lambda: next(unused), now=lambda: 0)
    assert credential.get_token(ARM).token == "token-1"
    credential.forget(ARM)
    assert credential.get_token(ARM).token == "token-100"


def test_forgetting_nothing_builds_nothing() -> None:
    """forget of a scope that has no token leaves the source alone."""
    source = Source()
    credential = CachedCredential(source, renew=lambda: pytest.fail("built anew"), now=lambda: 0)
    credential.forget(ARM)
    assert credential.get_token(ARM).token == "token-1"


def test_it_knows_the_tokens_that_it_gave() -> None:
    """A token is known for the scope it was given for, also after it was replaced."""
    credential = cached(Source())
    token = credential.get_token(ARM).token
    credential.forget(ARM)
    credential.get_token(ARM)
    assert credential.scope_of(token) == ARM
    assert credential.scope_of("another") is None


def test_threads_share_one_fetch() -> None:
    """Eight threads that need a token at the same time ask the source once."""
    together = threading.Barrier(8)
    source = Source()
    credential = cached(source)

    def token(_: int) -> str:
        together.wait(timeout=30)
        return credential.get_token(ARM).token

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(token, range(8))) == {"token-1"}
    assert len(source.asked) == 1


def test_a_failure_is_not_kept() -> None:
    """An error of the source passes through, and the next call asks again."""

    class Flaky(Source):
        def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
            if not self.asked:
                self.asked.append((scopes, {}))
                raise ClientAuthenticationError("signed out")
            return super().get_token_info(*scopes, options=options)

    credential = cached(Flaky())
    with pytest.raises(ClientAuthenticationError, match="signed out"):
        credential.get_token(ARM)
    assert credential.get_token(ARM).token == "token-1"


def test_it_shows_no_token() -> None:
    """Neither repr nor a pickle holds a token; pickling is refused, and says what to do instead."""
    credential = cached(Source())
    credential.get_token(ARM)
    assert repr(credential) == "CachedCredential(Source)"
    with pytest.raises(ConfigurationError, match="hand over the policy"):
        pickle.dumps(credential)
