"""The routes of sign-in: Entra's, and the machine's own identity endpoint."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import INSTANCE_METADATA, LOGIN
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.identity import handlers

__all__ = ["ROUTES"]

ROUTES = (
    Route("GET", LOGIN, "/common/discovery/instance", handlers.discover_instance, audience="none"),
    Route(
        "GET",
        LOGIN,
        "/{tenant}/v2.0/.well-known/openid-configuration",
        handlers.discover_tenant,
        audience="none",
    ),
    Route("POST", LOGIN, "/{tenant}/oauth2/v2.0/token", handlers.token, audience="none"),
    Route(
        "GET", INSTANCE_METADATA, "/metadata/identity/oauth2/token", handlers.machine_token, audience="none"
    ),
)
