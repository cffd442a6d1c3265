"""Signing in once: the token that proves a credential, how it went, and the error where it failed."""

from __future__ import annotations

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from phi_finetune._token_cache import CachedCredential
from phi_finetune.errors import AuthenticationFailed, InvalidParameter, PhiFinetuneError

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential, TokenProvider

    from phi_finetune.protocols import CredentialPolicy, TokenTransport

__all__ = ["ARM_SCOPE", "Attempt", "Provable", "SignIn", "check_timeout", "none_worked", "options", "sign_in"]

ARM_SCOPE: Final = "https://management.azure.com/.default"
"""Of the public cloud's management API."""

_NOT_TO_STDERR: Final = logging.NullHandler()
_LONGEST_TIMEOUT_S: Final = 3600

_LONGEST_REASON: Final = 400
_GENERAL_ADVICE: Final = re.compile(
    r"\s*(?:To mitigate this issue|Visit https://aka\.ms).*|See the troubleshooting guide [^\n]*?: \S+\s",
    re.DOTALL,
)
_JWT: Final = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)+")
_NAMED_SECRET: Final = re.compile(
    r"""(access_?token|refresh_?token|client_?secret|assertion)["']?\s*[:=]\s*["']?[^\s"',}&]+""",
    re.IGNORECASE,
)


@attrs.frozen
class Attempt:
    """One way of signing in that was tried.

    Attributes:
        name: The policy, such as ``"AzureCli"``, or the link of Azure's own chain, such as
            ``"ManagedIdentityCredential"``.
        took_s: How long it took, in seconds.
        error: Why it gave no token; None when it gave one.
        next_call: What would make it work, where that is known.
    """

    name: str
    took_s: float
    error: str | None = None
    next_call: str | None = None

    def __str__(self) -> str:
        advice = f" (next: {self.next_call})" if self.next_call else ""
        return f"{self.name}, {self.took_s:.1f} s: {self.error or 'gave a token'}{advice}"


class Provable(ABC):
    """A policy that proves its credential with a token for the management API of any of Microsoft's clouds."""

    @abstractmethod
    def credential(
        self, transport: TokenTransport | None = None, *, scope: str = ARM_SCOPE
    ) -> CachedCredential:
        """Give a credential, with a token for the scope in it."""


def sign_in(policy: CredentialPolicy, transport: TokenTransport | None, scope: str) -> TokenCredential:
    """The credential of a policy, proved with a token for the scope, where the policy is one of this library's."""
    if isinstance(policy, Provable):
        return policy.credential(transport=transport, scope=scope)
    return policy.credential(transport=transport)


class SignIn(Provable):
    """What the policies for one way of signing in share."""

    def credential(
        self, transport: TokenTransport | None = None, *, scope: str = ARM_SCOPE
    ) -> CachedCredential:
        """Give a credential, with a token for Azure's management API in it.

        Args:
            transport: What sends the requests for tokens. None: azure-identity's own connection.
            scope: The scope of that token; another cloud than the public one has another.

        Raises:
            AuthenticationFailed: It gave no token; the error says why.
        """
        from azure.core.exceptions import AzureError

        # azure-identity logs a warning for each failure, which Python prints where no logging is set up.
        logging.getLogger("azure.identity").addHandler(_NOT_TO_STDERR)
        began = time.monotonic()
        try:
            credential = self._cached(transport)
            credential.get_token_info(scope)
        except (AzureError, OSError, PhiFinetuneError, ValueError) as error:
            failed = Attempt(self._name, time.monotonic() - began, _reason(error), self._next_call())
        else:
            return attrs.evolve(credential, attempts=(Attempt(self._name, time.monotonic() - began),))
        # Raised out here, the error does not carry azure-identity's frames, whose variables hold secrets.
        raise none_worked([failed])

    def _cached(self, transport: TokenTransport | None) -> CachedCredential:
        opened = self._open(transport)
        if isinstance(opened, CachedCredential):
            return opened
        return CachedCredential(opened, renew=self._renewal(transport), tenant_id=self._extra_tenant)

    @abstractmethod
    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        """Build azure-identity's credential; nothing is sent."""

    def _renewal(self, transport: TokenTransport | None) -> Callable[[], TokenProvider] | None:
        """What builds it anew, without the tokens that it keeps; None where a person would be asked again."""
        return partial(self._open, transport)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _extra_tenant(self) -> str | None:
        """The tenant to name with each token, where the credential could not be built for it."""
        return None

    def _next_call(self) -> str | None:
        """What would make it work."""
        return None


def none_worked(attempts: Sequence[Attempt]) -> AuthenticationFailed:
    """Give the error of a sign-in whose every attempt failed; it has a line for each."""
    if len(attempts) == 1:
        (only,) = attempts
        return AuthenticationFailed(
            f"{only.name} gave no token for Azure ({only.took_s:.1f} s)",
            resource=only.name,
            why=only.error,
            next_call=only.next_call,
        )
    return AuthenticationFailed(
        "No credential gave a token for Azure",
        why="\n  ".join([f"{len(attempts)} were tried", *map(str, attempts)]),
        next_call=next((attempt.next_call for attempt in attempts if attempt.next_call), None),
    )


def options(transport: TokenTransport | None) -> dict[str, Any]:
    """The keywords for any credential of azure-identity that sends requests: each is sent once."""
    return {"transport": transport, "retry_total": 0}


def check_timeout(policy: object, field: attrs.Attribute[int], value: int) -> None:
    """Refuse a timeout that azure-identity would not take, or that nobody would wait for."""
    if not (isinstance(value, int) and 1 <= value <= _LONGEST_TIMEOUT_S):
        allowed = f"a whole number of seconds from 1 to {_LONGEST_TIMEOUT_S}"
        raise InvalidParameter(
            f"{field.name}={value!r} is not {allowed}", name=field.name, value=value, allowed=allowed
        )


def _reason(error: Exception) -> str:
    """The cause in one line, with no token and no secret in it."""
    text = _GENERAL_ADVICE.sub("", _words(error))
    text = _NAMED_SECRET.sub(r"\1 ***", _JWT.sub("***", text))
    return " ".join(text.split())[:_LONGEST_REASON]


def _words(error: Exception) -> str:
    if isinstance(error, PhiFinetuneError):
        return error.why or error.what
    # The str() of azure-core's errors may quote the body of an answer; their message does not.
    return str(getattr(error, "message", error))
