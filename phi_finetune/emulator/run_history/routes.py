"""The routes of run history, and the one of the data service that a download needs (wire.md 5)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import API, HISTORY, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.run_history import handlers

__all__ = ["ROUTES"]

_RUN = f"{HISTORY}/runs/{{run}}"
_RESOLVE = f"/data/v1.0{WORKSPACE}/dataversion/batchGetResolvedUris"

ROUTES = (
    Route("GET", API, _RUN, handlers.get, audience="arm-or-ml"),
    Route("GET", API, f"{_RUN}/details", handlers.details, audience="arm-or-ml"),
    Route("GET", API, f"{_RUN}/children", handlers.children, audience="arm-or-ml"),
    Route("POST", API, f"{HISTORY}/rundata", handlers.run_data, audience="arm-or-ml"),
    Route(
        "PATCH",
        API,
        f"{HISTORY}/experiments/{{experiment}}/runs/{{run}}",
        handlers.update,
        audience="arm-or-ml",
    ),
    Route("POST", API, _RESOLVE, handlers.resolve_uris, audience="arm-or-ml"),
)
