"""The clients of azure-ai-ml that a fake gives, and how they send and wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import Clock

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline.transport import RequestsTransport

__all__ = ["registry_client", "transport_on", "workspace_client"]


def transport_on(clock: Clock) -> RequestsTransport:
    """azure-core's usual transport, but its pauses between retries and polls pass on ``clock``, at once."""
    from azure.core.pipeline.transport import RequestsTransport

    transport = RequestsTransport()
    transport.sleep = clock.sleep
    return transport


def workspace_client(
    credential: TokenCredential, clock: Clock, subscription_id: str, resource_group: str, workspace_name: str
) -> MLClient:
    """A real client of a workspace, without telemetry, whose pauses pass on ``clock``."""
    from azure.ai.ml import MLClient

    names = (subscription_id, resource_group, workspace_name)
    return MLClient(credential, *names, enable_telemetry=False, transport=transport_on(clock))


def registry_client(credential: TokenCredential, clock: Clock, registry_name: str) -> MLClient:
    """A real client of a registry, without telemetry, whose pauses pass on ``clock``."""
    from azure.ai.ml import MLClient

    return MLClient(
        credential, registry_name=registry_name, enable_telemetry=False, transport=transport_on(clock)
    )
