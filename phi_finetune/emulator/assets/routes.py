"""The routes about the assets of the workspace (wire.md 6 and 8)."""

from __future__ import annotations

from functools import partial

from phi_finetune.emulator.assets import handlers
from phi_finetune.emulator.assets.handlers import StoreOf
from phi_finetune.emulator.assets.versions import Kind
from phi_finetune.emulator.core.hosts import ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route

__all__ = ["ROUTES", "asset_routes"]

_CODE = f"{WORKSPACE}/codes/{{name}}/versions"


def asset_routes(kind: Kind, host: str, base: str, store_of: StoreOf) -> tuple[Route, ...]:
    """The routes that workspace and registry have alike for a kind of asset."""
    one = f"{base}/{kind}/{{name}}"
    return (
        Route("GET", host, f"{base}/{kind}", partial(handlers.list_containers, kind, store_of)),
        Route("GET", host, one, partial(handlers.get_container, kind, store_of)),
        Route("PUT", host, one, partial(handlers.put_container, kind, store_of)),
        Route("GET", host, f"{one}/versions", partial(handlers.list_versions, kind, store_of)),
        Route("GET", host, f"{one}/versions/{{version}}", partial(handlers.get_version, kind, store_of)),
    )


def _assets(kind: Kind) -> tuple[Route, ...]:
    version = f"{WORKSPACE}/{kind}/{{name}}/versions/{{version}}"
    put = Route("PUT", ARM, version, partial(handlers.put_version, kind))
    return (*asset_routes(kind, ARM, WORKSPACE, handlers.of_workspace), put)


ROUTES = (
    *_assets("models"),
    *_assets("data"),
    *_assets("environments"),
    *_assets("components"),
    # Before the same route of every other kind, which this one is more than.
    Route("GET", ARM, _CODE, handlers.list_code),
    Route("POST", ARM, f"{_CODE}/{{version}}/startPendingUpload", handlers.start_pending_upload),
    *_assets("codes"),
)
