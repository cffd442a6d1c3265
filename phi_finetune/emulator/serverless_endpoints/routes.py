"""The routes about serverless endpoints (wire.md 11)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.serverless_endpoints import handlers

__all__ = ["ROUTES"]

_ENDPOINTS = f"{WORKSPACE}/serverlessEndpoints"
_ENDPOINT = f"{_ENDPOINTS}/{{serverless}}"

ROUTES = (
    Route("GET", ARM, _ENDPOINTS, handlers.list_all),
    Route("GET", ARM, _ENDPOINT, handlers.get),
    Route("PUT", ARM, _ENDPOINT, handlers.put),
    Route("PATCH", ARM, _ENDPOINT, handlers.patch),
    Route("DELETE", ARM, _ENDPOINT, handlers.delete),
    Route("POST", ARM, f"{_ENDPOINT}/listKeys", handlers.list_keys),
    Route("POST", ARM, f"{_ENDPOINT}/regenerateKeys", handlers.regenerate_keys),
)
