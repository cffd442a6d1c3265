"""The routes about computes (wire.md 4)."""

from __future__ import annotations

from phi_finetune.emulator.computes import handlers, handlers_regions
from phi_finetune.emulator.core.hosts import ARM, LOCATION, WORKSPACE
from phi_finetune.emulator.core.router import Route

__all__ = ["ROUTES"]

ROUTES = (
    Route("GET", ARM, f"{WORKSPACE}/computes", handlers.list_clusters),
    Route("GET", ARM, f"{WORKSPACE}/computes/{{compute}}", handlers.get),
    Route("PUT", ARM, f"{WORKSPACE}/computes/{{compute}}", handlers.put),
    Route("DELETE", ARM, f"{WORKSPACE}/computes/{{compute}}", handlers.delete),
    Route("POST", ARM, f"{WORKSPACE}/computes/{{compute}}/listNodes", handlers.list_nodes),
    Route("GET", ARM, f"{LOCATION}/vmSizes", handlers_regions.list_sizes),
    Route("GET", ARM, f"{LOCATION}/usages", handlers_regions.list_usages),
)
