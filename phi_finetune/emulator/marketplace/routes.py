"""The routes about marketplace subscriptions (wire.md 11)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.marketplace import handlers

__all__ = ["ROUTES"]

_SUBSCRIPTIONS = f"{WORKSPACE}/marketplaceSubscriptions"
_SUBSCRIPTION = f"{_SUBSCRIPTIONS}/{{marketplace}}"

ROUTES = (
    Route("GET", ARM, _SUBSCRIPTIONS, handlers.list_all),
    Route("GET", ARM, _SUBSCRIPTION, handlers.get),
    Route("PUT", ARM, _SUBSCRIPTION, handlers.put),
    Route("DELETE", ARM, _SUBSCRIPTION, handlers.delete),
)
