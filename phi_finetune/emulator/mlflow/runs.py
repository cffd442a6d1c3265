"""A run as MLflow sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from phi_finetune.emulator.jobs.state import Child, Job
from phi_finetune.emulator.runners.runner import Metric

__all__ = ["TrackedRun", "metric_body"]

_STATUS = {
    "Running": "RUNNING",
    "Finalizing": "RUNNING",
    "CancelRequested": "RUNNING",
    "Completed": "FINISHED",
    "Failed": "FAILED",
    "Canceled": "KILLED",
    "NotResponding": "FAILED",
    "Paused": "RUNNING",
}
"""MLflow's word for a state; what has not begun is SCHEDULED. The last two are assumed: MLflow has no words
for them."""


@dataclass(frozen=True)
class TrackedRun:
    """A job, or a step of one. The step that fine-tunes has the metrics and parameters (pain.md N1)."""

    run: Job | Child

    @property
    def status(self) -> str:
        """MLflow's status."""
        return _STATUS.get(self.run.status, "SCHEDULED")

    @property
    def latest(self) -> dict[str, Metric]:
        """The last value of each metric."""
        return {metric.key: metric for metric in self.run.metrics}

    @property
    def tags(self) -> dict[str, str]:
        """The run's tags, and those by which MLflow finds a tree of runs."""
        parent = self.run.parent
        tree = {
            "mlflow.rootRunId": self.run.root.id,
            "mlflow.runName": self.run.display_name,
            "mlflow.user": "phi",
        }
        return {**self.run.tags, **tree, **({"mlflow.parentRunId": parent.id} if parent else {})}

    def attributes(self) -> Mapping[str, str | int]:
        """What a filter or an order can call ``attributes``."""
        return {
            "run_id": self.run.id,
            "run_name": self.run.display_name,
            "status": self.status,
            "start_time": millis(self.run.started or self.run.created),
            "end_time": millis(self.run.ended) if self.run.ended else 0,
        }

    def body(self) -> dict[str, Any]:
        """The run as the REST API gives it."""
        run = self.run
        info = {
            "run_id": run.id,
            "run_uuid": run.id,
            "run_name": run.display_name,
            "experiment_id": run.experiment_id,
            "user_id": "phi",
            "status": self.status,
            "start_time": millis(run.started or run.created),
            "end_time": millis(run.ended) if run.ended else None,
            "artifact_uri": f"azureml://artifacts/ExperimentRun/dcid.{run.id}",
            "lifecycle_stage": "active",
        }
        data = {
            "metrics": [metric_body(run, metric) for metric in self.latest.values()],
            "params": [{"key": key, "value": value} for key, value in run.params.items()],
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        return {"info": {key: value for key, value in info.items() if value is not None}, "data": data}


def metric_body(run: Job | Child, metric: Metric) -> dict[str, Any]:
    """A value of a metric, with the time at which it was logged."""
    logged = (run.started or run.created) + metric.after
    return {"key": metric.key, "value": metric.value, "timestamp": millis(logged), "step": metric.step}


def millis(when: datetime) -> int:
    """Milliseconds since 1970."""
    return int(when.timestamp() * 1000)
