"""The policies that try several ways of signing in, one after the other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from phi_finetune._credentials_machines import identity_of_environment
from phi_finetune._credentials_people import Browser, DeviceCode, login_command, why_no_browser
from phi_finetune._credentials_sign_in import (
    ARM_SCOPE,
    Attempt,
    Provable,
    SignIn,
    check_timeout,
    none_worked,
    options,
    sign_in,
)
from phi_finetune._token_cache import CachedCredential
from phi_finetune.errors import AuthenticationFailed, ConfigurationError

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider

    from phi_finetune.protocols import CredentialPolicy, TokenTransport

__all__ = ["Chain", "DefaultCredentials"]

_STANDS_FOR: Final = {"FailedDACCredential": "WorkloadIdentityCredential"}
"""What azure-identity puts into its chain for a link whose settings are incomplete."""


@attrs.frozen(init=False)
class Chain(Provable):
    """The first of several policies that gives a token: ``Chain(ManagedIdentity(), AzureCli())``.

    A link that fails, for whatever reason, gives way to the next one. The credential's ``attempts`` says
    which link won, why those before it failed, and how long each took.

    Attributes:
        links: The policies, in the order in which they are tried.
    """

    links: tuple[CredentialPolicy, ...]

    def __init__(self, *links: CredentialPolicy) -> None:
        if not links:
            raise ConfigurationError("A chain of credentials has no link", next_call="Chain(AzureCli())")
        object.__setattr__(self, "links", links)

    def credential(
        self, transport: TokenTransport | None = None, *, scope: str = ARM_SCOPE
    ) -> CachedCredential:
        """Give the credential of the first link that works.

        Args:
            transport: What sends the requests for tokens. None: azure-identity's own connection.
            scope: The scope of the token that proves it; another cloud than the public one has another.

        Raises:
            AuthenticationFailed: No link worked; the error has a line for each.
        """
        failed: list[Attempt] = []
        for link in self.links:
            began = time.monotonic()
            try:
                credential = sign_in(link, transport, scope)
            except AuthenticationFailed as error:
                name, took_s = error.resource or type(link).__name__, time.monotonic() - began
                failed.append(Attempt(name, took_s, error.why or error.what, error.next_call))
                continue
            won = credential if isinstance(credential, CachedCredential) else CachedCredential(credential)
            attempts = won.attempts or (Attempt(type(link).__name__, time.monotonic() - began),)
            return attrs.evolve(won, attempts=(*failed, *attempts))
        raise none_worked(failed)


@attrs.frozen(kw_only=True)
class DefaultCredentials(Provable):
    """Whoever is signed in here: azure-identity's own chain, then a person.

    azure-identity's ``DefaultAzureCredential`` is tried link by link, each once: the environment's service
    principal, workload identity, managed identity, the Azure CLI and the other developer tools;
    ``AZURE_TOKEN_CREDENTIALS`` narrows it. Then a browser opens, or, where none can, a code is shown if there
    is an ``on_prompt``. Where the environment names an application (``AZURE_CLIENT_ID``, ``AZURE_TENANT_ID``,
    and a secret, a certificate or a federated token), that alone is tried, so that a secret that has expired
    is not followed by work under another name.

    Attributes:
        tenant_id: The tenant to take tokens from. None: the one that each way of signing in has by itself.
        timeout_s: Seconds that a developer tool may take for a token.
        sign_in_timeout_s: Seconds that a person has.
        on_prompt: Shows a person the code, where no browser can open: ``print`` will do. None: no code.
    """

    tenant_id: str | None = None
    timeout_s: int = attrs.field(default=30, validator=check_timeout)
    sign_in_timeout_s: int = attrs.field(default=300, validator=check_timeout)
    on_prompt: Callable[[str], object] | None = None

    def credential(
        self, transport: TokenTransport | None = None, *, scope: str = ARM_SCOPE
    ) -> CachedCredential:
        """Give the credential of the first way that works.

        Args:
            transport: What sends the requests for tokens. None: azure-identity's own connection.
            scope: The scope of the token that proves it; another cloud than the public one has another.

        Raises:
            AuthenticationFailed: None worked; the error has a line for each.
        """
        links = [
            _AzureLink(
                name=_name(member),
                member=member,
                again=partial(self._member, transport, position),
                tenant_id=self.tenant_id,
            )
            for position, member in enumerate(self._members(transport))
        ]
        named = [link for link in links if link.name == _named_by_environment()]
        chain = Chain(*named) if named else Chain(*links, *self._people())
        return chain.credential(transport, scope=scope)

    def _members(self, transport: TokenTransport | None) -> tuple[TokenProvider, ...]:
        from azure.identity import DefaultAzureCredential

        try:
            chain = DefaultAzureCredential(
                managed_identity_client_id=identity_of_environment(),
                additionally_allowed_tenants=[self.tenant_id] if self.tenant_id else [],
                process_timeout=self.timeout_s,
                **options(transport),
            )
        except (OSError, ValueError) as error:
            raise AuthenticationFailed(
                "Azure's own settings in the environment can't be used",
                why=str(error),
                next_call="correct or unset the variables that begin with AZURE_",
            ) from None
        return chain.credentials

    def _member(self, transport: TokenTransport | None, position: int) -> TokenProvider:
        return self._members(transport)[position]

    def _people(self) -> list[CredentialPolicy]:
        limit_s = self.sign_in_timeout_s
        browser = Browser(tenant_id=self.tenant_id, timeout_s=limit_s)
        if why_no_browser() is None:
            return [browser]
        return [browser, DeviceCode(on_prompt=self.on_prompt, tenant_id=self.tenant_id, timeout_s=limit_s)]


@attrs.frozen(kw_only=True)
class _AzureLink(SignIn):
    """One link of azure-identity's chain."""

    name: str
    member: TokenProvider
    again: Callable[[], TokenProvider]
    tenant_id: str | None

    @property
    def _name(self) -> str:
        return self.name

    @property
    def _extra_tenant(self) -> str | None:
        return self.tenant_id

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        return self.member

    def _renewal(self, transport: TokenTransport | None) -> Callable[[], TokenProvider] | None:
        return self.again

    def _next_call(self) -> str | None:
        if self.name == _named_by_environment():
            return "correct or unset AZURE_CLIENT_ID and the variables that belong to it"
        return login_command(self.tenant_id) if self.name == "AzureCliCredential" else None


def _name(member: TokenProvider) -> str:
    name = type(member).__name__
    return _STANDS_FOR.get(name, name)


def _named_by_environment() -> str | None:
    """The link of azure-identity's chain that the environment names an application for."""
    if not (os.environ.get("AZURE_CLIENT_ID") and os.environ.get("AZURE_TENANT_ID")):
        return None
    if os.environ.get("AZURE_CLIENT_SECRET") or os.environ.get("AZURE_CLIENT_CERTIFICATE_PATH"):
        return "EnvironmentCredential"
    return "WorkloadIdentityCredential" if os.environ.get("AZURE_FEDERATED_TOKEN_FILE") else None
