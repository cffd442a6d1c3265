"""What a job logged: losses, evaluation and the rest, over its whole tree of runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune.errors import MissingDependency, NotFound

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from phi_finetune._azure.client import Client

__all__ = ["MetricPoint", "RunMetrics", "TrainingMetrics"]

LOSS, EVAL_LOSS = "loss", "eval_loss"


@attrs.frozen
class MetricPoint:
    """One logged value.

    Attributes:
        value: The value; losses are in nats a token.
        step: The step of the optimiser at which it was logged.
        logged_at: When.
    """

    value: float
    step: int
    logged_at: datetime


@attrs.frozen
class RunMetrics:
    """One run of the tree.

    Attributes:
        run: Its name.
        step: The step of the pipeline; None for the job's own run.
        last: The value logged last, by metric.
        params: Its parameters.
    """

    run: str
    step: str | None
    last: Mapping[str, float] = attrs.field(factory=dict, hash=False)
    params: Mapping[str, str] = attrs.field(factory=dict, hash=False)


@attrs.frozen(slots=False)
class TrainingMetrics(WithoutHandle):
    """The metrics of a job as they stood when asked for; a history is read from the service when it is asked for.

    Azure keeps a pipeline's metrics on the runs of its steps, not on the job's own (azure-sdk-for-python issue
    39198), so all runs of the tree are read.

    Attributes:
        job: The job.
        runs: Its runs, the job's own first.
    """

    job: str
    runs: tuple[RunMetrics, ...]
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of all metrics, sorted."""
        return tuple(sorted({key for run in self.runs for key in run.last}))

    @property
    def last(self) -> dict[str, float]:
        """The value logged last, by metric, over all runs."""
        return {key: value for run in self.runs for key, value in run.last.items()}

    @property
    def loss(self) -> float | None:
        """The training loss logged last, in nats a token; None before the first."""
        return self.last.get(LOSS)

    @property
    def eval_loss(self) -> float | None:
        """The loss on the validation split logged last, in nats a token; None without one."""
        return self.last.get(EVAL_LOSS)

    @property
    def perplexity(self) -> float | None:
        """``exp(eval_loss)``: among how many equally likely tokens the model wavers; None without an eval loss."""
        return None if self.eval_loss is None else math.exp(min(self.eval_loss, 700.0))

    def history(self, key: str) -> tuple[MetricPoint, ...]:
        """Every value of a metric, by step.

        Raises:
            NotFound: No run has logged it.
        """
        from phi_finetune._azure.client import attached
        from phi_finetune._azure.run_history import metric_history

        runs = [run.run for run in self.runs if key in run.last]
        if not runs:
            raise NotFound(
                f"The job has logged no metric {key}",
                resource=f"job {self.job}",
                why=f"it has logged {', '.join(self.keys) or 'nothing yet'}",
                next_call="job.metrics() looks again",
            )
        client = attached(self._client, "metrics").for_call()
        points = [_point(item) for run in runs for item in metric_history(client, run, key)]
        return tuple(sorted(points, key=lambda point: (point.step, point.logged_at)))

    def to_frame(self, keys: Sequence[str] | None = None) -> DataFrame:
        """Histories as a pandas DataFrame: a row a step, a column a metric.

        Args:
            keys: The metrics; None is all, one request each.
        """
        import pandas as pd

        wanted = self.keys if keys is None else tuple(keys)
        call = self._limited() if wanted else self
        columns = {key: {point.step: point.value for point in call.history(key)} for key in wanted}
        frame = pd.DataFrame(columns).sort_index()
        frame.index.name = "step"
        return frame

    def plot(self, keys: Sequence[str] = (LOSS, EVAL_LOSS)) -> Figure:
        """A figure of histories over steps. Metrics that were not logged are left out.

        Raises:
            MissingDependency: matplotlib is not installed; it comes with the extra ``plot``.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError:
            raise MissingDependency(
                "Plotting needs matplotlib", next_call='pip install "phi-finetune[plot]"'
            ) from None
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        logged = [key for key in keys if key in self.keys]
        call = self._limited() if logged else self
        for key in logged:
            points = call.history(key)
            marker = "o" if len(points) < 30 else None
            axes.plot([p.step for p in points], [p.value for p in points], marker=marker, label=key)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (nats a token)" if all("loss" in key for key in logged) else "value")
        axes.set_title(self.job)
        if axes.lines:
            axes.legend()
        return figure


def gather(client: Client, job: str) -> TrainingMetrics:
    """The metrics of a job and all runs below it."""
    from phi_finetune._azure.run_history import mlflow_runs

    return TrainingMetrics(job, tuple(_run(item, job) for item in mlflow_runs(client, job)), client=client)


def _run(item: Mapping[str, Any], job: str) -> RunMetrics:
    info, data = item.get("info") or {}, item.get("data") or {}
    run = str(info.get("run_id"))
    tags = {tag["key"]: tag["value"] for tag in data.get("tags", ())}
    return RunMetrics(
        run=run,
        step=None if run == job else info.get("run_name") or tags.get("mlflow.runName") or run,
        last={metric["key"]: float(metric["value"]) for metric in data.get("metrics", ())},
        params={param["key"]: str(param["value"]) for param in data.get("params", ())},
    )


def _point(item: Mapping[str, Any]) -> MetricPoint:
    logged_at = datetime.fromtimestamp(int(item.get("timestamp") or 0) / 1000, UTC)
    return MetricPoint(float(item["value"]), int(item.get("step") or 0), logged_at)
