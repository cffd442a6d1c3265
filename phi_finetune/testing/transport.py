"""How a fake's own MLClient sends, and waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import Clock

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport

__all__ = ["transport_on"]


def transport_on(clock: Clock) -> RequestsTransport:
    """azure-core's usual transport, but its pauses between retries and polls pass on ``clock``, at once."""
    from azure.core.pipeline.transport import RequestsTransport

    transport = RequestsTransport()
    transport.sleep = clock.sleep
    return transport
