"""The same code through both doors: in this process, and through the proxy from another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pipelines
import plain_client
import pytest
from pages import ROOT
from tuning import PROMPT, REPLY, SIZE

from phi_finetune.testing import FakeAzure
from phi_finetune.testing.proxy import ProxyDoor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what the plain client needs."""
    for split, count in (("train", 40), ("validation", 8)):
        (tmp_path / f"{split}.jsonl").write_bytes(pipelines.jsonl(pipelines.conversations(count)))
    given = {"size": SIZE, "prompt": PROMPT, "endpoint": "plain-endpoint"}
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    return tmp_path


def in_this_process(azure: FakeAzure, folder: Path) -> dict[str, Any]:
    """The plain client with the fake's own clients."""
    return plain_client.go(azure.ml_client(), azure.ml_client(registry_name="azureml"), folder)


def in_another_process(azure: FakeAzure, folder: Path) -> dict[str, Any]:
    """The plain client as a program, told of the fake by environment variables alone."""
    program = [sys.executable, plain_client.__file__, str(folder)]
    with ProxyDoor(azure.cloud) as door:
        path = {"PYTHONPATH": str(ROOT / "benchmarks"), "HOME": str(folder)}
        environment = {**os.environ, **door.environment(), **path}
        done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    return found


# azure-ai-ml 1.35.2 downloads in a way that azure-storage-blob calls deprecated.
@pytest.mark.filterwarnings("ignore:The use of a 'BlobProperties':DeprecationWarning")
@pytest.mark.filterwarnings("ignore:content_as_bytes is deprecated:DeprecationWarning")
@pytest.mark.parametrize("door", [in_this_process, in_another_process])
def test_the_tutorials_way_is_the_same_through_both_doors(
    fake_azure: FakeAzure, folder: Path, door: Callable[[FakeAzure, Path], dict[str, Any]]
) -> None:
    """Look-up, upload, job, metrics, model, deployment, question, download and deletion, with plain azure-ai-ml."""
    found = door(fake_azure, folder)
    assert (found["status"], found["model"]) == ("Completed", "mlflow_model")
    assert found["metrics"]["loss"]
    assert found["metrics"]["eval_loss"]
    assert found["answers"] == [{"output": REPLY}]
    assert "MLmodel" in found["downloaded"]
    assert fake_azure.endpoints == {}
    assert list(fake_azure.computes) == ["tutorial-cluster"]
