"""The routes about jobs (wire.md 5, service.md)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import ARM, LOCATION, WORKSPACE
from phi_finetune.emulator.core.router import Route
from phi_finetune.emulator.jobs import handlers

__all__ = ["ROUTES"]

_JOB = f"{WORKSPACE}/jobs/{{job}}"

ROUTES = (
    Route("GET", ARM, f"{WORKSPACE}/jobs", handlers.list_jobs),
    Route("GET", ARM, _JOB, handlers.get),
    Route("PUT", ARM, _JOB, handlers.put),
    Route("POST", ARM, f"{_JOB}/cancel", handlers.cancel),
    Route("GET", ARM, f"{LOCATION}/mfeOperationResults/jc:{{guid}}:{{job}}", handlers.cancel_result),
)
