"""What the caller may do in the workspace, and whether a token is given for an audience."""

from __future__ import annotations

from typing import Any

from phi_finetune._azure.client import Client
from phi_finetune._azure.rest import sign_in_lapsed

__all__ = ["list_permissions", "sign_in"]

API = "2022-04-01"


def list_permissions(client: Client) -> list[dict[str, Any]]:
    """The permissions of the caller's roles in the workspace, those of what is above it among them.

    Raises:
        PermissionMissing: Not even that may be asked.
    """
    return client.listed(
        "/providers/Microsoft.Authorization/permissions",
        api=API,
        resource=client.resource,
        doing="list your permissions",
    )


def sign_in(client: Client, scope: str) -> None:
    """Get a token for a scope.

    Raises:
        AuthenticationFailed: None is given.
    """
    from azure.core.exceptions import AzureError

    try:
        client.credential.get_token(scope)
    except AzureError as error:
        # Not chained: the error of azure-identity may hold the sign-in's request.
        raise sign_in_lapsed(error) from None
