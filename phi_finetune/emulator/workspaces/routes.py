"""The routes about the workspace (wire.md 5 and 7)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import API, ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.workspaces import handlers

__all__ = ["ROUTES"]

ROUTES = (
    Route("GET", ARM, WORKSPACE, handlers.get),
    Route("GET", API, "/discovery/{guid}", handlers.discover, audience="none"),
)
