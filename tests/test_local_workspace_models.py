"""Base models of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pipelines
import pytest
from local_workspaces import SIZE, programs, simulated, told, with_programs

import phi_finetune as pf
from phi_finetune.errors import ConfigurationError
from phi_finetune.local.models import add_model
from phi_finetune.testing import FakeAzure


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The folder of a model."""
    folder = tmp_path / "weights"
    (folder / "more").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    (folder / "more" / "model.safetensors").write_bytes(b"w" * 10_000)
    (folder / ".cache").write_text("not of the model")
    return folder


def test_a_model_of_this_machine_is_trained_from_its_files(tmp_path: Path, weights: Path) -> None:
    """It answers to its name, in every process that opens the folder, and a job is given its files."""
    folder, doing = tmp_path / "runs", programs(tmp_path / "programs")
    added = add_model(with_programs(folder, doing), weights, name="tiny-phi")
    workspace = with_programs(folder, doing)
    assert workspace.foundation_model("tiny-phi") == added
    assert added.context_length == 512
    data = pf.ChatDataset.from_records(pipelines.conversations(24), name="facts")
    cluster = workspace.gpu_compute("here", size="this-machine").ensure()
    job = added.finetune(data).on(cluster).submit().wait()
    where = folder / "jobs" / job.name
    assert told(where / "job.json")["model"] == "inputs/model"
    taken = where / "inputs" / "model"
    names = sorted(path.relative_to(taken).as_posix() for path in taken.rglob("*") if path.is_file())
    assert names == ["config.json", "more/model.safetensors"]
    with job.register("facts").deploy(instance_type=SIZE) as endpoint:
        assert endpoint.chat("hello").text


def test_the_same_again_changes_nothing_and_another_of_the_name_is_refused(
    tmp_path: Path, weights: Path
) -> None:
    """The registry's own names are taken, too."""
    workspace = simulated(tmp_path / "runs")
    first = add_model(workspace, weights, name="tiny-phi")
    assert add_model(workspace, weights, name="tiny-phi") == first
    (weights / "another.json").write_text("{}")
    for name in ("tiny-phi", "Phi-4"):
        with pytest.raises(ConfigurationError, match="already"):
            add_model(workspace, weights, name=name)


def test_what_is_no_model_and_no_local_workspace_is_refused(
    tmp_path: Path, weights: Path, fake_azure: FakeAzure
) -> None:
    """Nothing is written."""
    with pytest.raises(ConfigurationError, match=r"no config\.json"):
        add_model(simulated(tmp_path / "runs"), tmp_path, name="tiny-phi")
    with pytest.raises(ConfigurationError, match="local workspace only"):
        add_model(fake_azure.workspace(), weights, name="tiny-phi")
