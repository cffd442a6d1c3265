"""The two plug points, each filled with a class of your own: how to sign in, and when to send again."""

from __future__ import annotations

from azure.core.credentials import TokenCredential

import phi_finetune as pf
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.protocols import TokenTransport, Try
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer


class FromTheVault:
    """Signs in with a secret that is read from ``vault`` only when it is needed."""

    def __init__(self, vault: FakeAzure) -> None:
        self.vault = vault

    def credential(self, transport: TokenTransport | None = None) -> TokenCredential:
        """A credential that has given a token."""
        who, secret = self.vault, self.vault.client_secret
        policy = ServicePrincipal(tenant_id=who.tenant_id, client_id=who.client_id, client_secret=secret)
        return policy.credential(transport)


class ThreeReads:
    """Sends a request that only reads up to three times, a second apart."""

    def wait_s(self, failed: Try) -> float | None:
        """The seconds to wait, or None to give up."""
        return 1.0 if failed.verb_class == "read" and failed.attempt < 3 else None
