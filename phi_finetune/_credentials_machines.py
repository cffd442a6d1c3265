"""The policies that need no person: a machine's identity, an application's, a pod's."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NoReturn

import attrs

from phi_finetune._credentials_sign_in import SignIn, options
from phi_finetune.errors import ConfigurationError, InvalidParameter

if TYPE_CHECKING:
    from azure.core.credentials import TokenProvider

    from phi_finetune.protocols import TokenTransport

__all__ = ["ManagedIdentity", "ServicePrincipal", "WorkloadIdentity", "identity_of_environment"]

_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_CONNECT_S: Final = 2
"""Seconds to connect to what gives the tokens: it is on the machine or on its host, or is not there."""


@attrs.frozen(kw_only=True)
class ManagedIdentity(SignIn):
    """The identity of the Azure machine that this runs on.

    Attributes:
        client_id: The client id (not the object id) of a user-assigned identity. None: ``AZURE_CLIENT_ID``,
            else ``DEFAULT_IDENTITY_CLIENT_ID`` where it is a GUID, as on Azure ML's clusters, else the
            machine's own identity. On a compute instance with single sign-on, that last one is the *user's*
            (pain.md A3).
    """

    client_id: str | None = None

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        from azure.identity import ManagedIdentityCredential

        return ManagedIdentityCredential(
            client_id=self.client_id or identity_of_environment(), timeout=_CONNECT_S, **options(transport)
        )

    def _next_call(self) -> str | None:
        return "assign an identity to this machine, or pass the client_id= of one that is assigned"


@attrs.frozen(kw_only=True)
class ServicePrincipal(SignIn):
    """An application's own identity, with a secret or a certificate. It is not pickled.

    Attributes:
        tenant_id: The application's tenant.
        client_id: The application's id.
        client_secret: Its secret; shown nowhere.
        certificate_path: A PEM or PKCS12 file with its certificate and private key, in place of the secret.
    """

    tenant_id: str
    client_id: str
    client_secret: str | None = attrs.field(default=None, repr=False, eq=False)
    certificate_path: str | os.PathLike[str] | None = None

    def __attrs_post_init__(self) -> None:
        for name, value in (("tenant_id", self.tenant_id), ("client_id", self.client_id)):
            if not value:
                raise InvalidParameter(
                    f"{name}={value!r} names no {name}", name=name, value=value, allowed="an id"
                )
        if bool(self.client_secret) == bool(self.certificate_path):
            raise ConfigurationError(
                "A service principal takes either a secret or a certificate",
                next_call="pass client_secret= or certificate_path=, and not both",
            )

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        from azure.identity import CertificateCredential, ClientSecretCredential

        if self.client_secret:
            return ClientSecretCredential(
                self.tenant_id, self.client_id, self.client_secret, **options(transport)
            )
        path = os.fspath(self.certificate_path or "")
        return CertificateCredential(self.tenant_id, self.client_id, path, **options(transport))

    def _next_call(self) -> str | None:
        return "check the tenant, the client id, and that the secret or certificate has not expired"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "A ServicePrincipal is not pickled",
            why="it holds a secret",
            next_call="build it in the process that signs in",
        )


@attrs.frozen(kw_only=True)
class WorkloadIdentity(SignIn):
    """The identity that a Kubernetes pod is federated with.

    Attributes:
        tenant_id: The application's tenant. None: ``AZURE_TENANT_ID``.
        client_id: The application's id. None: ``AZURE_CLIENT_ID``.
        token_file: The file with the pod's own token. None: ``AZURE_FEDERATED_TOKEN_FILE``.
    """

    tenant_id: str | None = None
    client_id: str | None = None
    token_file: str | os.PathLike[str] | None = None

    def _open(self, transport: TokenTransport | None) -> TokenProvider:
        from azure.identity import WorkloadIdentityCredential

        return WorkloadIdentityCredential(
            tenant_id=self.tenant_id,
            client_id=self.client_id,
            token_file_path=os.fspath(self.token_file) if self.token_file else None,
            **options(transport),
        )

    def _next_call(self) -> str | None:
        return "give the pod the label azure.workload.identity/use and a service account that is federated"


def identity_of_environment() -> str | None:
    """The client id of the managed identity that the environment names."""
    named = os.environ.get("AZURE_CLIENT_ID")
    if named:
        return named
    # azure-identity does not read this one; with no identity, Azure ML puts the word "clientid" in it.
    default = os.environ.get("DEFAULT_IDENTITY_CLIENT_ID", "")
    return default if _GUID.fullmatch(default) else None
