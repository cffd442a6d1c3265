"""The routes about models and data assets (wire.md 6 and 8)."""

from __future__ import annotations

from functools import partial

from phi_finetune.emulator.assets import handlers
from phi_finetune.emulator.assets.versions import Kind
from phi_finetune.emulator.core.hosts import ARM, WORKSPACE
from phi_finetune.emulator.core.router import Route

__all__ = ["ROUTES"]


def _assets(kind: Kind) -> tuple[Route, ...]:
    one = f"{WORKSPACE}/{kind}/{{name}}"
    return (
        Route("GET", ARM, f"{WORKSPACE}/{kind}", partial(handlers.list_containers, kind)),
        Route("GET", ARM, one, partial(handlers.get_container, kind)),
        Route("PUT", ARM, one, partial(handlers.put_container, kind)),
        Route("GET", ARM, f"{one}/versions", partial(handlers.list_versions, kind)),
        Route("GET", ARM, f"{one}/versions/{{version}}", partial(handlers.get_version, kind)),
        Route("PUT", ARM, f"{one}/versions/{{version}}", partial(handlers.put_version, kind)),
    )


ROUTES = (*_assets("models"), *_assets("data"))
