from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from asking import ask
from pipelines import conversations, follow, start, statuses, upload

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.faults import JobFails
from phi_finetune.emulator.core.http import Request


@pytest.fixture
def cloud() -> Cloud:
    """A cloud in which a job named tune has been submitted."""
    cloud = Cloud()
    start(cloud)
    return cloud


def test_following_a_job_to_its_end(cloud: Cloud) -> None:
    """Each read of the details sees the job further on and its log longer, to the end."""
    seen, lengths = [], []
    while not seen or seen[-1] != "Completed":
        details = follow(cloud, "runs/tune/details").body
        seen.append(details["status"])
        for url in details["logFiles"].values():
            lengths.append(len(cloud.handle(Request("GET", url, {})).body))
    assert list(dict.fromkeys(seen)) == ["Running", "Finalizing", "Completed"]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_log_of_the_fine_tune_grows(cloud: Cloud) -> None:
    """The log and metrics of a step grow while it runs, and nothing in them is ever changed."""
    logs: list[str] = []
    while follow(cloud, "runs/tune/details").body["status"] != "Completed":
        for child in follow(cloud, "runs/tune/children").body["value"]:
            if child["displayName"] == "chat_completion_finetune":
                logs.append(cloud.jobs.find_run(child["runId"]).log())
    grown = list(dict.fromkeys(logs))
    assert len(grown) >= 3
    assert all(after.startswith(before) for before, after in pairwise(grown))
    assert grown[0] == ""
    assert grown[1].startswith("SIMULATED RUN")


def test_child_is_a_run_of_its_own(cloud: Cloud) -> None:
    """A step has details, times and a log of its own, and names its parent."""
    statuses(cloud)
    child = follow(cloud, "runs/tune/children").body["value"][3]
    assert child["displayName"] == "chat_completion_finetune"
    assert (child["parentRunId"], child["rootRunId"], child["target"]) == ("tune", "tune", "serverless")
    assert child["startTimeUtc"] < child["endTimeUtc"]
    details = follow(cloud, f"runs/{child['runId']}/details").body
    assert details["status"] == "Completed"
    [(name, url)] = details["logFiles"].items()
    assert name == "user_logs/std_log.txt"
    assert b"'eval_loss'" in cloud.handle(Request("GET", url, {})).body
    assert follow(cloud, f"runs/{child['runId']}").body["experimentName"] == "tests"
    assert follow(cloud, f"runs/{child['runId']}/children").body == {"value": []}


def test_errors_of_a_failed_job(cloud: Cloud) -> None:
    """Errors are objects with code and message: the parent's names the step, the step's says why."""
    cloud.faults.next(JobFails(code="UserError", message="It broke."))
    assert follow(cloud, "runs/tune").body["error"] is None
    statuses(cloud)
    parent = follow(cloud, "runs/tune/details").body["error"]
    assert parent["error"]["referenceCode"] == "PipelineHasStepJobFailed"
    assert "chat_completion_finetune" in parent["error"]["message"]
    children = follow(cloud, "runs/tune/children").body["value"]
    assert [child["error"] and child["error"]["error"]["message"] for child in children] == [
        *[None] * 3,
        "It broke.",
    ]


def test_top_limits_children(cloud: Cloud) -> None:
    """The first children are given where only so many are asked for."""
    statuses(cloud)
    assert len(follow(cloud, "runs/tune/children?$top=2").body["value"]) == 2


def test_job_is_changed(cloud: Cloud) -> None:
    """Tags and properties are added, the name and description changed, and the job archived."""
    changes = {"displayName": "new", "description": "d", "tags": {"a": "b"}, "properties": {"p": "q"}}
    follow(cloud, "experiments/tests/runs/tune", "PATCH", changes)
    run = follow(cloud, "experiments/tests/runs/tune", "PATCH", {"tags": {"c": "d"}, "hidden": True}).body
    assert (run["displayName"], run["description"], run["hidden"]) == ("new", "d", True)
    assert (run["tags"], run["properties"]) == ({"a": "b", "c": "d"}, {"p": "q"})
    job = ask(cloud, "GET", "jobs/tune").body["properties"]
    assert (job["displayName"], job["tags"], job["isArchived"]) == ("new", {"a": "b", "c": "d"}, True)


def test_wrong_experiment(cloud: Cloud) -> None:
    """A job is changed only by way of its own experiment."""
    assert follow(cloud, "experiments/other/runs/tune", "PATCH", {"hidden": True}).status == 404
    assert not cloud.jobs.find("tune").archived


def test_unknown_run(cloud: Cloud) -> None:
    """A run that is not there is a 404."""
    assert follow(cloud, "runs/none").status == 404
    assert follow(cloud, "rundata", "POST", {"runId": "none"}).status == 404


def test_data_output_is_found() -> None:
    """A data output is listed when the job has completed, and leads to where it lies; a model output is not."""
    cloud = Cloud()
    outputs = {
        "trained_model": {"jobOutputType": "mlflow_model"},
        "weights": {"jobOutputType": "uri_folder"},
    }
    start(cloud, outputs=outputs)
    assert follow(cloud, "rundata", "POST", {"runId": "tune"}).body["runMetadata"]["outputs"] == {}
    statuses(cloud)
    found = follow(cloud, "rundata", "POST", {"runId": "tune"}).body["runMetadata"]["outputs"]
    assert list(found) == ["weights"]
    asset = found["weights"]["assetId"]
    url = f"{cloud.workspace.api}/data/v1.0{cloud.workspace.id}/dataversion/batchGetResolvedUris"
    resolved = ask(cloud, "POST", url, {"values": [asset]}).body["values"][asset]
    assert resolved == {"uri": cloud.storage.long_uri("azureml/tune/weights/"), "type": "UriFolder"}
    assert ask(cloud, "POST", url, {"values": ["azureml://none"]}).status == 404


def test_log_url_expires(cloud: Cloud) -> None:
    """The URL of a log is good for half an hour (pain.md, Part 2)."""
    statuses(cloud)
    [url] = follow(cloud, "runs/tune/details").body["logFiles"].values()
    cloud.clock.advance(timedelta(minutes=29))
    assert cloud.handle(Request("GET", url, {})).status == 200
    cloud.clock.advance(timedelta(minutes=1))
    assert cloud.handle(Request("GET", url, {})).status == 403


def test_validation_file_is_used() -> None:
    """With a validation and a test file, all training rows are trained on."""
    cloud = Cloud()
    files = {
        f"{part}_file_path": upload(cloud, f"{part}.jsonl", conversations(12))
        for part in ("validation", "test")
    }
    start(cloud, inputs=files)
    statuses(cloud)
    assert "  Num examples = 40" in cloud.jobs.find("tune").children[3].log()
