"""The log is the state: whoever carries it out again comes to the same."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.core.ids import Ids
from phi_finetune.emulator.storage.blobs import Contents
from phi_finetune.errors import ConfigurationError
from phi_finetune.local.folder import Folder
from phi_finetune.testing.light.runner import ScriptedRunner

_API = "?api-version=2023-08-01-preview"
_BLOB = {"x-ms-blob-type": "BlockBlob"}
_COMPONENT = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"


def opened(path: Path) -> Folder:
    """The folder as one more process has it."""

    def make(settings: Settings, contents: Contents) -> Cloud:
        return Cloud(settings, ScriptedRunner(), contents=contents)

    return Folder(path, make, kind="a simulation")


def ask(
    folder: Folder, method: str, url: str, body: object = None, scope: str = "management.azure"
) -> Response:
    """Send one request, signed in."""
    token, _ = folder.issue(f"https://{scope}.com")
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return folder.handle(Request(method, url, {"authorization": f"Bearer {token}", **_BLOB}, content))


def arm(folder: Folder, path: str) -> str:
    """The URL of something in the workspace."""
    return f"https://management.azure.com{folder.cloud.workspace.id}/{path}{_API}"


def job(folder: Folder, name: str) -> dict[str, Any]:
    """A fine-tune on serverless compute."""
    rows = "azureml://datastores/workspaceblobstore/paths/data/train.jsonl"
    model = "azureml://registries/azureml/models/Phi-4/versions/8"
    node = {
        "name": "finetune",
        "type": "pipeline",
        "componentId": _COMPONENT,
        "inputs": {
            "mlflow_model_path": {"job_input_type": "mlflow_model", "uri": model},
            "train_file_path": {"job_input_type": "uri_file", "uri": rows},
            **{
                f"instance_type_{step}": {"job_input_type": "literal", "value": "Standard_NC24ads_A100_v4"}
                for step in ("model_import", "preprocess", "finetune", "model_evaluation")
            },
        },
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained}}", "type": "literal"}},
    }
    return {
        "properties": {
            "jobType": "Pipeline",
            "jobs": {"finetune": node},
            "outputs": {"trained": {"jobOutputType": "mlflow_model"}},
        }
    }


def do(folder: Folder, what: str, name: str) -> None:
    """Do one thing, whether or not it is possible now."""
    blob = f"https://{folder.cloud.storage.host}/{folder.cloud.storage.datastore('workspaceblobstore').name}"
    endpoint = f"onlineEndpoints/{name}"
    match what:
        case "cluster":
            scale = {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M"}
            inner = {"vmSize": "STANDARD_NC24ADS_A100_V4", "vmPriority": "Dedicated", "scaleSettings": scale}
            body = {"location": "eastus", "properties": {"computeType": "AmlCompute", "properties": inner}}
            ask(folder, "PUT", arm(folder, f"computes/{name}"), body)
        case "endpoint":
            ask(
                folder,
                "PUT",
                arm(folder, endpoint),
                {"location": "eastus", "properties": {"authMode": "Key"}},
            )
        case "keys":
            ask(folder, "POST", arm(folder, f"{endpoint}/regenerateKeys"), {"keyType": "Primary"})
        case "delete":
            ask(folder, "DELETE", arm(folder, f"computes/{name}"))
            ask(folder, "DELETE", arm(folder, endpoint))
        case "upload":
            rows = b'{"messages": []}\n' * (10 if name == "one" else 1000)
            ask(folder, "PUT", f"{blob}/data/train.jsonl", rows, scope="storage.azure")
        case "job":
            ask(folder, "PUT", arm(folder, f"jobs/{name}"), job(folder, name))
        case "cancel":
            ask(folder, "POST", arm(folder, f"jobs/{name}/cancel"))
        case "look":
            ask(folder, "GET", arm(folder, f"jobs/{name}"))
            ask(folder, "GET", arm(folder, endpoint))
        case _:
            folder.pass_time(timedelta(minutes=7).total_seconds())


def state(folder: Folder) -> Iterator[tuple[str, int, object]]:
    """All that can be read, without what differs from one answer to the next."""
    folder.cloud.clock.progression = "realistic"  # Looking moves nothing.
    cloud = folder.cloud
    for path in ("computes", "onlineEndpoints", "jobs", "models", "jobs/one", "jobs/two"):
        answer = ask(folder, "GET", arm(folder, path))
        yield path, answer.status, answer.body if answer.status == 200 else None
    for endpoint in cloud.endpoints.all():
        yield endpoint.name, 200, endpoint.keys
    for run in cloud.jobs.runs():
        yield (
            run.id,
            200,
            (run.status, run.started, run.ended, run.log(), list(run.metrics), dict(run.params)),
        )
    for store in ("workspaceblobstore", "workspaceartifactstore"):
        for path, blob in cloud.storage.datastore(store).under(""):
            yield path, blob.size, (blob.etag, blob.modified, blob.data)
    yield "operations", 0, sorted(cloud.operations._operations)


_ACTIONS = ("cluster", "endpoint", "keys", "delete", "upload", "job", "cancel", "look", "time")
_STEPS = st.lists(
    st.tuples(st.sampled_from(_ACTIONS), st.sampled_from(["one", "two"]), st.sampled_from([0, 1])),
    max_size=14,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(_STEPS)
def test_whoever_opens_the_folder_comes_to_the_same_state(steps: list[tuple[str, str, int]]) -> None:
    """Two objects take turns; both, and a third that opens the folder at the end, have the same to tell."""
    with tempfile.TemporaryDirectory() as place:
        both = [opened(Path(place) / "runs"), opened(Path(place) / "runs")]
        for what, name, who in steps:
            do(both[who], what, name)
        for folder in both:
            folder.look_after()  # It catches up.
        third = opened(Path(place) / "runs")
        now = max(folder.cloud.clock.now() for folder in (*both, third))
        for folder in (*both, third):
            folder.cloud.clock.advance_to(now)
        states = [{path: (size, what) for path, size, what in state(folder)} for folder in (*both, third)]
        assert states[0] == states[1] == states[2]
        for folder in (*both, third):
            folder.close()


def test_the_steps_of_that_test_do_something(tmp_path: Path) -> None:
    """Else it would hold for nothing: a job ends, an endpoint has keys, large and small blobs are there."""
    folder = opened(tmp_path / "runs")
    for what in ("upload", "job", "endpoint", "cluster", *["look", "time"] * 20):
        do(folder, what, "two")
    third = opened(tmp_path / "runs")
    assert [one.status for one in third.cloud.jobs.all()] == ["Completed"]
    assert [one.name for one in third.cloud.endpoints.all()] == ["two"]
    assert [one.name for one in third.cloud.computes.all()] == ["two"]
    assert list((tmp_path / "runs" / "contents").iterdir()) != []


def test_what_is_drawn_for_a_request_depends_on_no_other() -> None:
    """So that reads, which are not in the log, change nothing that comes after them."""
    ids, again = Ids(5), Ids(5)
    ids.begin(7)
    first = ids.guid()
    again.guid()
    again.begin(6)
    again.guid()
    again.begin(7)
    assert again.guid() == first


def test_looking_is_not_written_down(tmp_path: Path) -> None:
    """Only a look that lets something move is."""
    folder = opened(tmp_path / "runs")
    do(folder, "endpoint", "one")
    for _ in range(5):
        do(folder, "look", "one")
    before = folder._read
    for _ in range(20):
        do(folder, "look", "one")
    assert folder._read == before
    assert len(folder.cloud.journal) == 0


def test_a_log_with_a_request_that_is_not_known_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version may have written it; what it did would be missing."""
    folder = opened(tmp_path / "runs")
    do(folder, "endpoint", "one")
    monkeypatch.setattr("phi_finetune.emulator.cloud.ROUTER.find", lambda request: None)
    with pytest.raises(ConfigurationError, match="does not know a request in it"):
        opened(tmp_path / "runs")
