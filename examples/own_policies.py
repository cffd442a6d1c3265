"""The two plug points: how to sign in, by a policy of the library, and when to send again, by a class of your own."""

from __future__ import annotations

import tempfile

import phi_finetune as pf
from phi_finetune.credentials import ServicePrincipal
from phi_finetune.protocols import Try
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer


class ThreeReads:
    """Sends a request that only reads up to three times, a second apart, and any other once."""

    def wait_s(self, failed: Try) -> float | None:
        """The seconds to wait, or None to give up."""
        return 1.0 if failed.verb_class == "read" and failed.attempt < 3 else None


def main(azure: FakeAzure) -> None:
    """Sign in as an application, and meet two answers of 503."""
    me = ServicePrincipal(
        tenant_id=azure.tenant_id, client_id=azure.client_id, client_secret=azure.client_secret
    )
    with tempfile.TemporaryDirectory() as folder:
        config, clock = azure.config_json(folder), azure.clock
        ws = pf.Workspace.connect(config=config, credential=me, retries=ThreeReads(), clock=clock)
    azure.faults.next(Answer("GET *models/Phi-4*", 503), times=2)
    print("found:  ", ws.foundation_model("Phi-4").name)
    print("answers:", [entry.status for entry in azure.journal if "models/Phi-4" in entry.url])


if __name__ == "__main__":
    with FakeAzure() as azure:
        main(azure)
