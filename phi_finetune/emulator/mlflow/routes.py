"""The routes of the MLflow tracking service, under the workspace's v1.0 and v2.0 addresses (wire.md 7)."""

from __future__ import annotations

from phi_finetune.emulator.core.hosts import API, MLFLOW
from phi_finetune.emulator.core.router import Handler, Route
from phi_finetune.emulator.mlflow import handlers

__all__ = ["ROUTES"]


def _route(method: str, path: str, handler: Handler) -> Route:
    return Route(method, API, f"{MLFLOW}/{path}", handler, audience="arm-or-ml", errors="mlflow")


ROUTES = (
    _route("GET", "runs/get", handlers.get_run),
    _route("POST", "runs/search", handlers.search_runs),
    _route("GET", "metrics/get-history", handlers.metric_history),
    _route("GET", "experiments/get", handlers.get_experiment),
    _route("GET", "experiments/get-by-name", handlers.get_experiment_by_name),
    _route("POST", "experiments/search", handlers.search_experiments),
    _route("GET", "experiments/search", handlers.search_experiments),
)
