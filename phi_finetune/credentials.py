"""How to sign in to Azure: the credential policies.

A policy is a value: building one does no I/O. Its ``credential()`` gets one token for Azure's management API,
so that a way of signing in that does not work fails there, in seconds, and not hours later. azure-identity
does the signing in, with its own retries off.

:class:`DefaultCredentials` finds whoever is signed in. For production name one of the others: there, a chain
may find somebody else, as Azure's own documentation warns (pain.md A1).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import attrs

from phi_finetune._credentials_chain import Chain, DefaultCredentials
from phi_finetune._credentials_machines import ManagedIdentity, ServicePrincipal, WorkloadIdentity
from phi_finetune._credentials_people import AzureCli, Browser, DeviceCode
from phi_finetune._credentials_sign_in import Attempt, SignIn
from phi_finetune.errors import InvalidParameter

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider

    from phi_finetune.protocols import CredentialPolicy, TokenTransport

__all__ = [
    "Attempt",
    "AzureCli",
    "Browser",
    "Chain",
    "DefaultCredentials",
    "DeviceCode",
    "Given",
    "ManagedIdentity",
    "ServicePrincipal",
    "WorkloadIdentity",
    "expected_tenant",
    "policy_for",
]

_WRONG_ISSUER: Final = re.compile(
    r"must match (?:the tenant|one of the tenants) '[^']*?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})",
    re.IGNORECASE,
)


@attrs.frozen
class Given(SignIn):
    """A credential that you have already: anything with azure-core's ``get_token`` or ``get_token_info``.

    Attributes:
        token_credential: The credential. It is not closed.
    """

    token_credential: TokenProvider = attrs.field(repr=lambda credential: type(credential).__name__)

    def __attrs_post_init__(self) -> None:
        if not _gives_tokens(self.token_credential):
            raise InvalidParameter(
                f"A {type(self.token_credential).__name__} is no credential",
                name="token_credential",
                allowed="an object with get_token or get_token_info",
            )

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        return self.token_credential

    def _renewal(self, transport: TokenTransport | None) -> Callable[[], TokenProvider] | None:
        return None

    def _next_call(self) -> str:
        return "give connect() a credential that works, or none: it then tries every way of signing in"


def policy_for(given: CredentialPolicy | TokenProvider | None) -> CredentialPolicy:
    """Give the policy for what a user named as the credential: a policy, a credential, or nothing.

    Raises:
        InvalidParameter: It is neither a policy nor a credential.
    """
    if given is None:
        return DefaultCredentials()
    if callable(getattr(given, "credential", None)):
        return cast("CredentialPolicy", given)
    return Given(cast("TokenProvider", given))


def _gives_tokens(credential: object) -> bool:
    return hasattr(credential, "get_token") or hasattr(credential, "get_token_info")


def expected_tenant(message: str) -> str | None:
    """Give the tenant that Azure says the token should be from; a policy takes it as ``tenant_id=``.

    Args:
        message: That of Azure's error ``InvalidAuthenticationTokenTenant``, which says "It must match the
            tenant 'https://sts.windows.net/<id>/'" (pain.md A6). Any other gives None.
    """
    found = _WRONG_ISSUER.search(message)
    return found.group(1).lower() if found else None
