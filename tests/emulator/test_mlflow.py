from __future__ import annotations

from typing import Any

import pytest
from asking import Answer, ask
from pipelines import start, statuses

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.testing import FakeAzure


@pytest.fixture
def cloud() -> Cloud:
    """A cloud in which a job named tune has completed."""
    cloud = Cloud()
    start(cloud)
    statuses(cloud)
    return cloud


def track(cloud: Cloud, method: str, path: str, body: object = None, version: str = "v2.0") -> Answer:
    """Ask the tracking service."""
    return ask(
        cloud,
        method,
        f"{cloud.workspace.api}/mlflow/{version}{cloud.workspace.id}/api/2.0/mlflow/{path}",
        body,
    )


def search(cloud: Cloud, text: str = "", **options: Any) -> Answer:
    """Search the runs of the job's experiment."""
    body = {"experiment_ids": [cloud.jobs.experiments["tests"]], "filter": text, **options}
    return track(cloud, "POST", "runs/search", body)


def names(answer: Answer) -> list[str]:
    """The names of the runs found."""
    return [run["info"]["run_name"] for run in answer.body["runs"]]


@pytest.mark.parametrize("version", ["v1.0", "v2.0"])
def test_run_by_id(cloud: Cloud, version: str) -> None:
    """A run is found by its id under both addresses; the job itself has no metrics (pain.md N1)."""
    run = track(cloud, "GET", "runs/get?run_id=tune&run_uuid=tune", version=version).body["run"]
    assert (run["info"]["status"], run["info"]["experiment_id"]) == (
        "FINISHED",
        cloud.jobs.experiments["tests"],
    )
    assert run["data"]["metrics"] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", 6),
        ("tags.mlflow.rootRunId = 'tune'", 6),
        ("tags.mlflow.parentRunId='tune'", 5),
        ("tags.`mlflow.parentRunId` = 'tune' AND metrics.loss > 0", 1),
        ("metrics.loss > 1000", 0),
        ("metrics.eval_loss<=1000 and params.lora_r = '8' and attributes.status = 'FINISHED'", 1),
        ("run_name LIKE 'chat_completion_%'", 3),
        ("attributes.run_name ILIKE '%FINETUNE'", 1),
        ("tags.mlflow.parentRunId != 'tune'", 0),
    ],
)
def test_filters(cloud: Cloud, text: str, found: int) -> None:
    """Runs are found by comparisons of tags, metrics, parameters and attributes, joined by AND."""
    assert len(search(cloud, text).body["runs"]) == found


@pytest.mark.parametrize(
    "text", ["tags.a", "metrics.loss > 'much'", "things.a = 'b'", "attributes.colour = 'red'", "a OR b"]
)
def test_bad_filters(cloud: Cloud, text: str) -> None:
    """A filter of another form is refused in MLflow's own envelope."""
    answer = search(cloud, text)
    assert (answer.status, answer.body["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_order(cloud: Cloud) -> None:
    """Runs come in the order asked for, without one the last started first; those without the field come last."""
    rising = names(search(cloud, "tags.mlflow.parentRunId = 'tune'", order_by=["attributes.start_time ASC"]))
    assert rising == [child.display_name for child in cloud.jobs.find("tune").children]
    assert names(search(cloud, "tags.mlflow.parentRunId = 'tune'")) == rising[::-1]
    assert names(search(cloud, order_by=["metrics.loss"]))[0] == "chat_completion_finetune"
    assert search(cloud, order_by=["metrics.loss sideways"]).status == 400


def test_pages_of_runs(cloud: Cloud) -> None:
    """Runs are given page by page, each once."""
    found, token = [], None
    while True:
        answer = search(cloud, max_results=4, page_token=token)
        found += names(answer)
        token = answer.body.get("next_page_token")
        if token is None:
            break
    assert len(found) == len(set(found)) == 6


def test_metric_history(cloud: Cloud) -> None:
    """A metric's history has every value in order, page by page; the run itself has the last one."""
    child = cloud.jobs.find("tune").children[3]
    whole = track(cloud, "GET", f"metrics/get-history?run_id={child.id}&metric_key=loss").body["metrics"]
    assert [value["step"] for value in whole] == [10, 20, 30]
    assert whole[0]["value"] > whole[-1]["value"]
    pages, token = [], ""
    for _ in range(3):
        path = f"metrics/get-history?run_id={child.id}&metric_key=loss&max_results=1&page_token={token}"
        answer = track(cloud, "GET", path).body
        pages += answer["metrics"]
        token = answer.get("next_page_token", "")
    assert (pages, token) == (whole, "")
    run = track(cloud, "GET", f"runs/get?run_id={child.id}").body["run"]
    assert {"key": "loss", **whole[-1]} in run["data"]["metrics"]
    assert track(cloud, "GET", f"metrics/get-history?run_id={child.id}&metric_key=none").body == {
        "metrics": []
    }


def test_metrics_grow_while_the_job_runs() -> None:
    """While the fine-tune runs, its metrics are those logged so far."""
    cloud = Cloud()
    start(cloud)
    counts = set()
    while cloud.jobs.find("tune").watch() != "Completed":
        for run in search(cloud, "metrics.loss > 0").body["runs"]:
            query = f"metrics/get-history?run_id={run['info']['run_id']}&metric_key=loss"
            counts.add((run["info"]["status"], len(track(cloud, "GET", query).body["metrics"])))
    assert counts == {("RUNNING", 2), ("RUNNING", 3), ("FINISHED", 3)}


def test_experiments(cloud: Cloud) -> None:
    """An experiment is found by name, by id, and among all."""
    by_name = track(cloud, "GET", "experiments/get-by-name?experiment_name=tests").body["experiment"]
    by_id = track(cloud, "GET", f"experiments/get?experiment_id={by_name['experiment_id']}").body[
        "experiment"
    ]
    every = track(cloud, "POST", "experiments/search", {"max_results": 10}).body["experiments"]
    assert by_name == by_id == every[0]


@pytest.mark.parametrize(
    "path",
    [
        "runs/get?run_id=none",
        "metrics/get-history?run_id=none&metric_key=loss",
        "experiments/get-by-name?experiment_name=none",
        "experiments/get?experiment_id=none",
    ],
)
def test_missing_things(cloud: Cloud, path: str) -> None:
    """What is not there is a 404 with MLflow's code for it (wire.md 7)."""
    answer = track(cloud, "GET", path)
    assert (answer.status, answer.body["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_archived_jobs_are_left_out(cloud: Cloud) -> None:
    """Runs of an archived job are found only where deleted ones are asked for."""
    cloud.jobs.find("tune").update({"hidden": True})
    assert names(search(cloud)) == []
    assert len(names(search(cloud, run_view_type="DELETED_ONLY"))) == 6
    assert len(names(search(cloud, run_view_type="ALL"))) == 6


# azure-ai-ml 1.35.2 uses marshmallow in a way that it calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_real_client() -> None:
    """The real MLflow client reads a fine-tune's metrics by way of azureml-mlflow."""
    with FakeAzure() as azure:
        start(azure.cloud)
        statuses(azure.cloud)
        workspace = azure.ml_client().workspaces.get(azure.workspace_name)
        from mlflow.exceptions import RestException
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=workspace.mlflow_tracking_uri)
        experiment = client.get_experiment_by_name("tests")
        assert experiment is not None
        [run] = client.search_runs(
            [experiment.experiment_id], "tags.mlflow.rootRunId = 'tune' and metrics.train_loss > 0"
        )
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [value.step for value in history] == [10, 20, 30]
        assert history[-1].value == run.data.metrics["loss"]
        assert set(run.data.metrics) >= {"learning_rate", "epoch", "eval_loss", "train_runtime", "train_loss"}
        assert run.data.params["num_train_epochs"] == "1"
        with pytest.raises(RestException, match="RESOURCE_DOES_NOT_EXIST"):
            client.get_run("none")
