from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tuning import SIZE, Heard, data, finetune, sent

import phi_finetune as pf
from phi_finetune.errors import PermissionMissing, ServiceError
from phi_finetune.events import Uploaded
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer

MIB = 1024 * 1024


def large(rows: int = 12) -> pf.ChatDataset:
    """Conversations of a MiB each."""
    row: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": "Go on."},
            {"role": "assistant", "content": "word " * (MIB // 5)},
        ]
    }
    return pf.ChatDataset.from_records([row] * rows, name="large")


def tune(workspace: pf.Workspace, dataset: pf.ChatDataset) -> pf.Finetune:
    """A fine-tune on all rows of a data set."""
    request = workspace.foundation_model("Phi-4").finetune(dataset).on(pf.GpuCompute.serverless(SIZE))
    return request.with_parameters(evaluation_strategy="disable")


def place(plan: pf.FinetunePlan) -> str:
    """Where the train file lies in the blob store."""
    return plan.files["train_file_path"].address.rpartition("/paths/")[2]


def stored(azure: FakeAzure, path: str) -> Any:
    """The blob at a path."""
    blob = azure.cloud.storage.get(path)
    assert blob is not None
    return blob


@pytest.mark.parametrize("dataset", [data(), large()], ids=["one request", "blocks"])
def test_a_file_arrives_whole(
    fake_azure: FakeAzure, workspace: pf.Workspace, dataset: pf.ChatDataset
) -> None:
    """Byte by byte, with azure-ai-ml's own mark of a finished upload."""
    request = tune(workspace, dataset)
    request.submit()
    blob = stored(fake_azure, place(request.plan()))
    assert blob.data == b"".join(dataset.lines())
    assert blob.metadata["upload_status"] == "completed"


def test_a_large_file_is_never_held_whole(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It goes out in blocks of 8 MiB, after a look whether it is there."""
    tune(workspace, large()).submit()
    blocks = [entry for entry in sent(fake_azure, "PUT", "*/LocalUpload/*") if "comp=block&" in entry.url]
    assert [len(entry.body) for entry in blocks] == [8 * MIB, pytest.approx(4 * MIB, rel=0.01)]
    assert len(sent(fake_azure, "HEAD", "*/LocalUpload/*")) == 1


def test_a_large_file_that_is_there_is_not_sent(fake_azure: FakeAzure) -> None:
    """A look is enough."""
    heard = Heard()
    workspace = fake_azure.workspace(on_event=heard)
    tune(workspace, large()).submit()
    sends = len(sent(fake_azure, "PUT", "*/LocalUpload/*"))
    tune(workspace, large()).submit(again=True)
    assert len(sent(fake_azure, "PUT", "*/LocalUpload/*")) == sends
    assert [event.reused for event in heard.of(Uploaded)] == [False, True]


@pytest.mark.parametrize("dataset", [data(), large()], ids=["one request", "blocks"])
def test_half_a_file_is_sent_again(
    fake_azure: FakeAzure, workspace: pf.Workspace, dataset: pf.ChatDataset
) -> None:
    """What another upload left without its mark is replaced, and never trained on."""
    request = tune(workspace, dataset)
    path = place(request.plan())
    fake_azure.cloud.storage.put(path, b"half")
    request.submit()
    assert stored(fake_azure, path).data == b"".join(dataset.lines())


def test_a_signature_is_asked_for_anew_in_time(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It is good for an hour; a workspace that lives longer asks again."""
    tune(workspace, data()).submit()
    tune(workspace, data()).submit(again=True)
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 1
    fake_azure.clock.advance(timedelta(hours=1))
    finetune(workspace, {"lora_r": 4}).submit()
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 2


def test_an_upload_that_is_refused_submits_nothing(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The error names the file's place, and there is no job."""
    fake_azure.faults.next(Answer("PUT *.blob.core.windows.net/*", 403, "AuthorizationFailure"))
    with pytest.raises(PermissionMissing) as caught:
        finetune(workspace).submit()
    assert "train.jsonl" in (caught.value.resource or "")
    assert fake_azure.jobs == {}


def test_a_part_that_is_refused_leaves_no_file(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Until all parts are there, there is no blob that could be taken for the whole."""
    request = tune(workspace, large())
    fake_azure.faults.next(Answer("PUT *.blob.core.windows.net/*", 400, "InvalidBlockId"))
    with pytest.raises(ServiceError):
        request.submit()
    assert fake_azure.cloud.storage.get(place(request.plan())) is None
