"""The routes about the workspace (wire.md 5 and 7); the lists are read from azure-ai-ml 1.35.2."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import API, ARM, PROVIDER, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.workspaces import handlers

__all__ = ["ROUTES"]

_SUBSCRIPTION = "/subscriptions/{subscription}"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{group}}"

ROUTES = (
    Route("GET", ARM, f"{_SUBSCRIPTION}{PROVIDER}/workspaces", handlers.list_workspaces),
    Route("GET", ARM, f"{_GROUP}{PROVIDER}/workspaces", handlers.list_workspaces),
    Route("GET", ARM, WORKSPACE, handlers.get),
    Route("GET", API, "/discovery/{guid}", handlers.discover, audience="none"),
)
