"""The route about the caller's rights (Azure's REST reference, "Permissions - List For Resource", 2022-04-01)."""

from __future__ import annotations

from phi_finetune.emulator.authorization import handlers
from phi_finetune.emulator.core.hosts import ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route

__all__ = ["ROUTES"]

ROUTES = (
    Route(
        "GET", ARM, f"{WORKSPACE}/providers/Microsoft.Authorization/permissions", handlers.list_permissions
    ),
)
