"""The usual way, with plain azure-ai-ml and plain mlflow, on ``FakeAzure``: code that never heard of this library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pipelines
import pytest
import tutorial_way
from tuning import PROMPT, REPLY, SIZE

from phi_finetune.testing import FakeAzure


def test_the_tutorials_whole_way(
    fake_azure: FakeAzure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Look-up, cluster, pipeline, streaming, metrics, model, endpoint, question and deletion."""
    files: dict[str, str] = {}
    for split, rows in (("train", pipelines.conversations(40)), ("validation", pipelines.conversations(8))):
        path = tmp_path / f"{split}.jsonl"
        path.write_bytes(pipelines.jsonl(rows))
        files[f"{split}_file_path"] = str(path)
    files["test_file_path"] = files["validation_file_path"]
    found = tutorial_way.lifecycle(
        fake_azure.ml_client(),
        fake_azure.ml_client(registry_name="azureml"),
        model_name="Phi-4",
        size=SIZE,
        files=files,
        request_file=tutorial_way.request_file(tmp_path, [{"role": "user", "content": PROMPT}]),
        endpoint_name="tutorial-endpoint",
    )
    assert found["job"].status == "Completed"
    assert found["metrics"]["loss"]
    assert found["metrics"]["eval_loss"]
    assert found["model"].type == "mlflow_model"
    assert found["answers"] == [{"output": REPLY}]
    assert "Execution Summary" in capsys.readouterr().out
    assert fake_azure.endpoints == {}
    assert list(fake_azure.computes) == ["tutorial-cluster"]


@pytest.mark.parametrize(
    ("name", "version"), [("Phi-3-mini-4k-instruct", "13"), ("Phi-3-mini-128k-instruct", "11")]
)
def test_the_oldest_generation_has_its_lists_in_tags(fake_azure: FakeAzure, name: str, version: str) -> None:
    """Allow lists and defaults are texts of Python literals."""
    registry = fake_azure.ml_client(registry_name="azureml")
    found: dict[str, Any] = tutorial_way.allow_lists(registry, name, version)
    assert "Standard_NC96ads_A100_v4" in found["finetune_compute_allow_list"]
    assert "Standard_NC96ads_A100_v4" in found["inference_compute_allow_list"]
    assert found["model_specific_defaults"]["apply_deepspeed"] == "true"


def test_ours_and_theirs_find_each_others_things(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """A plain client sees what this library made."""
    workspace = fake_azure.workspace()
    pipelines.start(fake_azure.cloud, "tune")
    model = workspace.job("tune").wait().register("facts")
    with model.deploy("answers", instance_type=SIZE):
        client = fake_azure.ml_client()
        assert client.jobs.get("tune").status == "Completed"
        assert client.models.get("facts", version=model.version).path
        assert client.online_endpoints.get("answers").traffic == {"default": 100}
        request = tutorial_way.request_file(tmp_path, [{"role": "user", "content": PROMPT}])
        # The deployment is named: one that an earlier call of the process named would be asked else (wire.md 9).
        answer = client.online_endpoints.invoke("answers", request_file=request, deployment_name="default")
        assert REPLY in answer
