"""The routes about registries (wire.md 3)."""

from __future__ import annotations

from functools import partial

from phi_finetune.emulator.core.hosts import API, MFE, REGISTRY
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.registries import handlers
from phi_finetune.emulator.registries.state import Kind

__all__ = ["ROUTES"]

_DISCOVERY = "/registrymanagement/v1.0/registries/{registry}/discovery"


def _assets(kind: Kind) -> tuple[Route, ...]:
    one = f"{REGISTRY}/{kind}/{{name}}"
    return (
        Route("GET", MFE, f"{REGISTRY}/{kind}", partial(handlers.list_containers, kind)),
        Route("GET", MFE, one, partial(handlers.get_container, kind)),
        Route("GET", MFE, f"{one}/versions", partial(handlers.list_versions, kind)),
        Route("GET", MFE, f"{one}/versions/{{version}}", partial(handlers.get_version, kind)),
    )


ROUTES = (
    Route("GET", API, _DISCOVERY, handlers.discover, audience="arm-or-ml"),
    *_assets("models"),
    *_assets("components"),
)
