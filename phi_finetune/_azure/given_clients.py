"""What is taken from an azure-ai-ml client that a user brings: the names and the credential."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune._azure import entities
from phi_finetune.errors import ConfigurationError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

__all__ = ["registry_of", "workspace_of"]


def workspace_of(client: MLClient) -> tuple[str, str, str, TokenCredential, str]:
    """Subscription, resource group, workspace, credential and cloud of a client.

    Raises:
        ConfigurationError: It is a mock, or a registry's client.
    """
    _check_real(client)
    name = client.workspace_name
    if not name:
        raise ConfigurationError(
            "This azure-ai-ml client belongs to a registry",
            next_call="Workspace.from_clients(workspace_client, registry_client)",
        )
    return (
        client.subscription_id,
        client.resource_group_name,
        name,
        entities.credential_of(client),
        entities.cloud_of(client),
    )


def registry_of(client: MLClient) -> str:
    """The registry of a client.

    Raises:
        ConfigurationError: It is a mock, or a workspace's client.
    """
    _check_real(client)
    name = entities.registry_of(client)
    if not name:
        raise ConfigurationError(
            "This azure-ai-ml client belongs to a workspace",
            next_call="Workspace.from_clients(workspace_client, registry_client)",
        )
    return name


def _check_real(client: object) -> None:
    from azure.ai.ml import MLClient

    # A mock with a spec passes isinstance(); its type does not lie.
    if issubclass(type(client), MLClient):
        return
    raise ConfigurationError(
        f"This is no azure-ai-ml client but a {type(client).__name__}",
        why="a mock answers questions that Azure is never asked, so this library does not work on one",
        next_call="with phi_finetune.testing.FakeAzure() as azure: azure.workspace(), or azure.ml_client()",
    )
