"""The routes about registries (wire.md 3)."""

from __future__ import annotations

from functools import partial

from phi_finetune.emulator.assets.routes import asset_routes
from phi_finetune.emulator.assets.versions import KINDS, Kind
from phi_finetune.emulator.core.hosts import API, MFE, REGISTRY
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.registries import handlers

__all__ = ["ROUTES"]

_DISCOVERY = "/registrymanagement/v1.0/registries/{registry}/discovery"
_VERSION = "{name}/versions/{version}"


def _assets(kind: Kind) -> tuple[Route, ...]:
    put = Route("PUT", MFE, f"{REGISTRY}/{kind}/{_VERSION}", partial(handlers.put_version, kind))
    return (*asset_routes(kind, MFE, REGISTRY, handlers.of_registry), put)


ROUTES = (
    Route("GET", API, _DISCOVERY, handlers.discover, audience="arm-or-ml"),
    *(route for kind in KINDS for route in _assets(kind)),
    Route("PUT", MFE, f"{REGISTRY}/tempdatarefs/{_VERSION}", handlers.reserve_upload),
    Route("POST", MFE, f"{REGISTRY}/datarefs/{_VERSION}", handlers.reference_data),
    Route("POST", MFE, f"{REGISTRY}/import", handlers.import_asset),
    Route("GET", API, f"/{handlers.OPERATIONS}/{{operation}}", handlers.operation, audience="arm-or-ml"),
)
