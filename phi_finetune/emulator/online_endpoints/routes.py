"""The routes about online endpoints and their deployments (wire.md 9)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.online_endpoints import following, handlers, handlers_deployments

__all__ = ["ROUTES"]

ENDPOINTS = f"{WORKSPACE}/onlineEndpoints"
ENDPOINT = f"{ENDPOINTS}/{{endpoint}}"
DEPLOYMENTS = f"{ENDPOINT}/deployments"
DEPLOYMENT = f"{DEPLOYMENTS}/{{deployment}}"

ROUTES = (
    Route("GET", ARM, ENDPOINTS, handlers.list_all),
    Route("GET", ARM, ENDPOINT, handlers.get),
    Route("PUT", ARM, ENDPOINT, handlers.put),
    Route("PATCH", ARM, ENDPOINT, handlers.patch),
    Route("DELETE", ARM, ENDPOINT, handlers.delete),
    Route("POST", ARM, f"{ENDPOINT}/listKeys", handlers.list_keys),
    Route("POST", ARM, f"{ENDPOINT}/regenerateKeys", handlers.regenerate_keys),
    Route("POST", ARM, f"{ENDPOINT}/token", handlers.token),
    Route("GET", ARM, DEPLOYMENTS, handlers_deployments.list_all),
    Route("GET", ARM, DEPLOYMENT, handlers_deployments.get),
    Route("PUT", ARM, DEPLOYMENT, handlers_deployments.put),
    Route("PATCH", ARM, DEPLOYMENT, handlers_deployments.patch),
    Route("DELETE", ARM, DEPLOYMENT, handlers_deployments.delete),
    Route("POST", ARM, f"{DEPLOYMENT}/getLogs", handlers_deployments.get_logs),
    Route("GET", ARM, f"{following.RESULTS}/{{operation}}", following.result),
)
