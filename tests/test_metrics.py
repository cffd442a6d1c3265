from __future__ import annotations

import math
from datetime import timedelta

import pipelines
import pytest
from tuning import sent

import phi_finetune as pf
from phi_finetune.errors import ConfigurationError, NotFound
from phi_finetune.testing import FakeAzure

FINETUNE = "chat_completion_finetune"


@pytest.fixture
def job(fake_azure: FakeAzure, workspace: pf.Workspace) -> pf.FinetuneJob:
    """A completed job that logged its losses."""
    rows = {
        "validation_file_path": pipelines.upload(fake_azure.cloud, "v.jsonl", pipelines.conversations(8)),
        "evaluation_strategy": "steps",
        "eval_steps": "10",
    }
    pipelines.start(fake_azure.cloud, "tune", rows)
    return workspace.job("tune").wait()


def test_the_whole_tree_is_read(job: pf.FinetuneJob) -> None:
    """The job's own run comes first and has no metrics; the training step's has the losses."""
    metrics = job.metrics()
    assert (metrics.runs[0].run, metrics.runs[0].step, metrics.runs[0].last) == ("tune", None, {})
    (training,) = [run for run in metrics.runs if "loss" in run.last]
    assert training.step == FINETUNE
    assert training.params
    assert {"loss", "eval_loss", "learning_rate"} <= set(metrics.keys)


def test_the_last_values_need_no_history(fake_azure: FakeAzure, job: pf.FinetuneJob) -> None:
    """They come with the runs; perplexity is the exponential of the evaluation loss."""
    metrics = job.metrics()
    asked = len(fake_azure.journal)
    assert metrics.loss == metrics.last["loss"]
    assert metrics.eval_loss == metrics.last["eval_loss"]
    assert metrics.perplexity == pytest.approx(math.exp(metrics.last["eval_loss"]))
    assert len(fake_azure.journal) == asked
    assert metrics.history("loss")[-1].value == metrics.loss
    assert metrics.history("eval_loss")[-1].value == metrics.eval_loss


def test_a_history_is_by_step(job: pf.FinetuneJob) -> None:
    """Points come in the order of their steps, and of their times."""
    points = job.metrics().history("loss")
    assert len(points) > 1
    assert [point.step for point in points] == sorted({point.step for point in points})
    assert [point.logged_at for point in points] == sorted(point.logged_at for point in points)
    assert all(point.logged_at.tzinfo is not None for point in points)


def test_metrics_grow_with_the_job(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Of a job that has just begun there is nothing; asking again gives more."""
    pipelines.start(fake_azure.cloud, "tune")
    job = workspace.job("tune")
    early = job.metrics()
    assert (early.loss, early.eval_loss, early.perplexity, early.keys) == (None, None, None, ())
    fake_azure.clock.advance(timedelta(days=1))
    assert job.metrics().loss is not None


def test_a_metric_that_was_not_logged_is_named(job: pf.FinetuneJob) -> None:
    """With those that were."""
    with pytest.raises(NotFound, match="no metric bleu") as caught:
        job.metrics().history("bleu")
    assert "eval_loss" in (caught.value.why or "")
    assert caught.value.resource == "job tune"


def test_histories_make_a_frame(job: pf.FinetuneJob) -> None:
    """A row a step, a column a metric, empty where a metric was not logged at a step."""
    metrics = job.metrics()
    frame = metrics.to_frame(["loss", "eval_loss"])
    assert list(frame.columns) == ["loss", "eval_loss"]
    assert frame.index.name == "step"
    assert frame.index.is_monotonic_increasing
    assert frame["loss"].dropna().tolist() == [point.value for point in metrics.history("loss")]
    assert set(metrics.to_frame().columns) == set(metrics.keys)


def test_metrics_are_plotted(job: pf.FinetuneJob) -> None:
    """A line for each metric that there is."""
    pytest.importorskip("matplotlib")
    axes = job.metrics().plot(["loss", "eval_loss", "bleu"]).axes[0]
    assert [line.get_label() for line in axes.get_lines()] == ["loss", "eval_loss"]
    assert axes.get_ylabel() == "loss (nats a token)"


def test_metrics_are_asked_for_by_rest(fake_azure: FakeAzure, job: pf.FinetuneJob) -> None:
    """Two requests give all runs of the tree; a history takes one."""
    job.metrics()
    fake_azure.journal.clear()
    metrics = job.metrics()
    assert [entry.method for entry in fake_azure.journal] == ["GET", "POST"]
    metrics.history("loss")
    assert len(sent(fake_azure, "GET", "*/metrics/get-history")) == 1


def test_metrics_without_a_workspace_know_their_last_values(job: pf.FinetuneJob) -> None:
    """What was read stays; a history needs a connection."""
    import pickle

    copy = pickle.loads(pickle.dumps(job.metrics()))
    assert copy.loss == job.metrics().loss
    with pytest.raises(ConfigurationError, match="not attached"):
        copy.history("loss")
