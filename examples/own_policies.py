"""The two plug points: a way of signing in that is your own class, and a way of sending again, from tenacity."""

from __future__ import annotations

import tempfile

from azure.core.credentials import TokenCredential
from tenacity import stop_after_attempt, wait_fixed

import phi_finetune as pf
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.protocols import TokenTransport
from phi_finetune.retries import TenacityRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer


class FromTheVault:
    """Signs in with a secret that is read from ``vault`` only when it is needed."""

    def __init__(self, vault: FakeAzure) -> None:
        self.vault = vault

    def credential(self, transport: TokenTransport | None = None) -> TokenCredential:
        """A credential that has given a token."""
        tenant, client, secret = self.vault.tenant_id, self.vault.client_id, self.vault.client_secret
        policy = ServicePrincipal(tenant_id=tenant, client_id=client, client_secret=secret)
        return policy.credential(transport)


def main(azure: FakeAzure) -> None:
    """Sign in as an application, and meet two answers of 503."""
    retries, me = TenacityRetries(stop_after_attempt(3), wait_fixed(1)), FromTheVault(azure)
    with tempfile.TemporaryDirectory() as folder:
        config = azure.config_json(folder)
        ws = pf.Workspace.connect(config=config, credential=me, retries=retries, clock=azure.clock)
    azure.faults.next(Answer("GET *models/Phi-4*", 503), times=2)
    print("found:   ", ws.foundation_model("Phi-4").name)
    print("answers: ", [entry.status for entry in azure.journal if "models/Phi-4" in entry.url])


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
