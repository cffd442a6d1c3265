"""Parse and answer MLflow's calls (wire.md 7; MLflow's REST API page)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.jobs.state import Child, Job
from phi_finetune.emulator.mlflow.filters import matches, ordered
from phi_finetune.emulator.mlflow.runs import TrackedRun, metric_body

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = [
    "get_experiment",
    "get_experiment_by_name",
    "get_run",
    "metric_history",
    "search_experiments",
    "search_runs",
]

_MOST_RUNS = 1000
_MOST_METRICS = 25_000

_T = TypeVar("_T")


def get_run(cloud: Cloud, request: Request) -> Response:
    """A run with the last value of each of its metrics."""
    return json_answer(200, {"run": TrackedRun(_find(cloud, request)).body()})


def search_runs(cloud: Cloud, request: Request) -> Response:
    """The runs of some experiments that meet a filter."""
    asked = request.json()
    experiments = set(map(str, asked.get("experiment_ids") or []))
    view = str(asked.get("run_view_type") or "ACTIVE_ONLY").upper()
    runs = [
        TrackedRun(run) for run in cloud.jobs.runs() if run.experiment_id in experiments and _shows(view, run)
    ]
    found = [run for run in runs if matches(run, str(asked.get("filter") or ""))]
    found = ordered(found, asked.get("order_by") or [])
    shown, token = _page(found, asked.get("max_results") or _MOST_RUNS, asked.get("page_token"))
    return json_answer(200, {"runs": [run.body() for run in shown], **token})


def metric_history(cloud: Cloud, request: Request) -> Response:
    """Every value of a metric, in the order logged; none for a name that was never logged."""
    run, query = _find(cloud, request), request.query
    found = [metric for metric in run.metrics if metric.key == query.get("metric_key")]
    shown, token = _page(found, query.get("max_results") or _MOST_METRICS, query.get("page_token"))
    return json_answer(200, {"metrics": [metric_body(run, metric) for metric in shown], **token})


def get_experiment(cloud: Cloud, request: Request) -> Response:
    """An experiment by its id."""
    wanted = request.query.get("experiment_id", "")
    for name, experiment_id in cloud.jobs.experiments.items():
        if experiment_id == wanted:
            return json_answer(200, {"experiment": _experiment(name, experiment_id)})
    raise _absent(f"No experiment was found for experiment id: {wanted}")


def get_experiment_by_name(cloud: Cloud, request: Request) -> Response:
    """An experiment by its name."""
    name = request.query.get("experiment_name", "")
    if name not in cloud.jobs.experiments:
        raise _absent(f"Could not find experiment with name {name}")
    return json_answer(200, {"experiment": _experiment(name, cloud.jobs.experiments[name])})


def search_experiments(cloud: Cloud, request: Request) -> Response:
    """Every experiment; filters are not known here.

    Raises:
        ServiceError: 501 where there is a filter.
    """
    asked = request.json() or dict(request.query)
    if asked.get("filter"):
        raise ServiceError(501, "NOT_IMPLEMENTED", "The emulator searches experiments without a filter only.")
    found = [_experiment(*item) for item in cloud.jobs.experiments.items()]
    shown, token = _page(found, asked.get("max_results") or _MOST_RUNS, asked.get("page_token"))
    return json_answer(200, {"experiments": shown, **token})


def _find(cloud: Cloud, request: Request) -> Job | Child:
    run_id = request.query.get("run_id") or request.query.get("run_uuid") or ""
    try:
        return cloud.jobs.find_run(run_id)
    except ServiceError as error:
        raise _absent(f"Run with id={run_id} not found") from error


def _shows(view: str, run: Job | Child) -> bool:
    return view == "ALL" or run.root.archived == (view == "DELETED_ONLY")


def _experiment(name: str, experiment_id: str) -> dict[str, Any]:
    return {
        "experiment_id": experiment_id,
        "name": name,
        "lifecycle_stage": "active",
        "artifact_location": "",
        "tags": [],
    }


def _page(items: Sequence[_T], size: Any, token: Any) -> tuple[Sequence[_T], dict[str, str]]:
    try:
        start, end = int(token or 0), int(token or 0) + int(size)
    except ValueError:
        raise ServiceError(
            400, "INVALID_PARAMETER_VALUE", "max_results or page_token is not a number."
        ) from None
    return items[start:end], ({"next_page_token": str(end)} if end < len(items) else {})


def _absent(message: str) -> ServiceError:
    return ServiceError(404, "RESOURCE_DOES_NOT_EXIST", message)
