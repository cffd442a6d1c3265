"""The rights of a cloud's one user: every one but those that a test took away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.actions import action_of
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.core.router import Route, Router

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Access"]


class Access:
    """What the user of one cloud may do."""

    def __init__(self, cloud: Cloud, router: Router) -> None:
        self._cloud = cloud
        self._router = router
        self._denied: dict[str, str] = {}

    def deny(self, action: str) -> None:
        """Take the right to an action away.

        Raises:
            ValueError: No route asks for the right to this action, in any case of letters.
        """
        asked_for = {found.lower(): found for route in self._router.routes if (found := action_of(route))}
        if action.lower() not in asked_for:
            raise ValueError(f"no request asks for the right to {action!r}")
        self._denied[action.lower()] = asked_for[action.lower()]

    def check(self, route: Route, request: Request) -> None:
        """Refuse what the user has no right to.

        Raises:
            ServiceError: 403, in the words of Azure Resource Manager, which those of the data plane are assumed to be.
        """
        action = action_of(route) if self._denied else None
        if action is None or action.lower() not in self._denied:
            return
        identity = self._cloud.identity
        raise ServiceError(
            403,
            "AuthorizationFailed",
            f"The client '{identity.client_id}' with object id '{identity.object_id}' does not have authorization to "
            f"perform action '{action}' over scope '{request.path}' or the scope is invalid. If access was recently "
            "granted, please refresh your credentials.",
        )

    def permissions(self) -> dict[str, Any]:
        """What the user's one role permits, as Azure Resource Manager describes it."""
        denied = sorted(self._denied.values())
        return {"actions": ["*"], "notActions": denied, "dataActions": [], "notDataActions": []}
