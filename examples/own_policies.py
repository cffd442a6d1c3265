"""The two plug points, each filled with a class of your own: how to sign in, and when to send again."""

from __future__ import annotations

import attrs
from azure.core.credentials import TokenCredential

import phi_finetune as pf
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.protocols import TokenTransport, Try
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer


@attrs.frozen
class FromTheVault:
    """Signs in with a secret that is fetched when it is needed, and kept nowhere."""

    vault: dict[str, str]

    def credential(self, transport: TokenTransport | None = None) -> TokenCredential:
        return ServicePrincipal(**self.vault).credential(transport)


class ThreeReads:
    """Sends what only reads up to three times, a second apart, and nothing else again."""

    def wait_s(self, failed: Try) -> float | None:
        return 1.0 if failed.verb_class == "read" and failed.attempt < 3 else None


def main(azure: FakeAzure, config: str) -> None:
    vault = {"tenant_id": azure.tenant_id, "client_id": azure.client_id, "client_secret": azure.client_secret}
    ws = pf.Workspace.connect(
        config=config, credential=FromTheVault(vault), retries=ThreeReads(), clock=azure.clock
    )
    azure.faults.next(Answer("GET *Phi-4*", 503), times=2)
