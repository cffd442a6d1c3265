"""A workspace whose datastores have no secrets: callers sign in to the storage themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.ai.ml.entities import Data

import phi_finetune as pf
from phi_finetune.testing import FakeAzure

SIZE = "Standard_NC24ads_A100_v4"


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """A fake whose datastores have no secrets."""
    with FakeAzure(datastores_auth="identity") as azure:
        yield azure


def test_azure_ai_ml_uploads_with_a_token(azure: FakeAzure, tmp_path: Path) -> None:
    """It asks for no secrets (wire.md 2)."""
    (tmp_path / "rows.csv").write_text("a,b\n")
    client = azure.ml_client()
    client.data.create_or_update(
        Data(name="rows", version="1", path=str(tmp_path / "rows.csv"), type="uri_file")
    )
    assert azure.data["rows"][0].files() == {"rows.csv": b"a,b\n"}
    assert not azure.journal.filter(path="*/listSecrets")
    assert client.workspaces.get(azure.workspace_name).system_datastores_auth_mode == "identity"


def test_our_library_trains_and_downloads_with_a_token(azure: FakeAzure, tmp_path: Path) -> None:
    """A whole fine-tune, and the files of its model."""
    ws = azure.workspace()
    tune = ws.foundation_model("Phi-4").finetune(pf.ChatDataset.from_sample())
    model = tune.on(pf.GpuCompute.serverless(SIZE)).submit().wait().register("support")
    assert (model.download(tmp_path / "model") / "MLmodel").is_file()
    assert not azure.journal.filter(path="*/listSecrets")
