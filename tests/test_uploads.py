from __future__ import annotations

import base64
import hashlib
import io
import random
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from tuning import SIZE, Heard, data, finetune, sent

import phi_finetune as pf
from phi_finetune._azure.rest import Rest
from phi_finetune._azure.uploads import upload
from phi_finetune.emulator.core.journal import Entry
from phi_finetune.errors import InvalidData, PermissionMissing, ServiceError, ServiceUnreachable
from phi_finetune.events import Event, Uploaded, UploadProgress
from phi_finetune.protocols import RetryPolicy
from phi_finetune.retries import NoRetries, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, ExpiredToken

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


# Breaks, and what is left of them


def parts(azure: FakeAzure) -> list[Entry]:
    """The blocks that were sent."""
    return [entry for entry in sent(azure, "PUT", "*/LocalUpload/*") if "comp=block&" in entry.url]


def test_progress_is_told(fake_azure: FakeAzure) -> None:
    """After each block: how much is there of how much."""
    heard = Heard()
    request = tune(fake_azure.workspace(on_event=heard), large(20))
    request.submit()
    (done,) = heard.of(Uploaded)
    told = heard.of(UploadProgress)
    assert [event.resource for event in told] == ["file train.jsonl"] * 3
    sizes = [event.sent_bytes for event in told]
    assert sizes == sorted(sizes)
    assert (sizes[-1], {event.size_bytes for event in told}) == (done.size_bytes, {done.size_bytes})


def test_four_blocks_go_at_a_time(fake_azure: FakeAzure) -> None:
    """Four requests are under way at once, and a fifth block is not read before one of them is through."""
    heard = Heard()
    together = threading.Barrier(4, timeout=10)

    class Together(Rest):
        """Sends a block when three others are to be sent too."""

        def send(self, method: str, url: str, **options: Any) -> Any:
            if "comp=block&" in url:
                together.wait()
            return super().send(method, url, **options)

    content = random.Random(2).randbytes(64 * MIB)
    ahead: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(8):
            ahead.append(number - len(heard.of(UploadProgress)))
            yield content[number * 8 * MIB :][: 8 * MIB]

    client = fake_azure.workspace(on_event=heard)._handle()
    client._own["rest"] = Together(client.transport, client.credential, "test", client.hosts)
    address = upload(
        client,
        file_name="x.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        content=pieces,
    )
    assert max(ahead) == 3
    assert stored(fake_azure, address.rpartition("/paths/")[2]).data == content


def test_an_upload_goes_on_where_it_broke_off(fake_azure: FakeAzure) -> None:
    """What the store holds of a file is not sent a second time, whoever sent it."""
    request = tune(fake_azure.workspace(), large(20))
    fake_azure.faults.next(Answer("PUT *.blob.core.windows.net/*", 400, "InvalidBlockId"))
    with pytest.raises(ServiceError):
        request.submit()
    assert len(parts(fake_azure)) > 1
    heard = Heard()
    again = tune(fake_azure.workspace(on_event=heard), large(20))
    again.submit()
    taken = [entry.url.partition("?")[2] for entry in parts(fake_azure) if entry.status == 201]
    assert len(taken) == len({query.partition("blockid=")[2][:64] for query in taken}) == 3
    assert stored(fake_azure, place(again.plan())).data == b"".join(large(20).lines())
    assert heard.of(UploadProgress)[-1].sent_bytes == heard.of(Uploaded)[-1].size_bytes


def test_a_block_of_another_content_is_not_taken_for_ours(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The name of a block is made of what is in it."""
    request = tune(workspace, large())
    path = place(request.plan())
    other = fake_azure.cloud.storage.datastore("workspaceblobstore")
    name = base64.b64encode(f"00000-{'0' * 40}".encode()).decode()
    other.stage(path, name, b"x" * 8 * MIB)
    request.submit()
    assert len(parts(fake_azure)) == 2
    assert stored(fake_azure, path).data == b"".join(large().lines())


# azure-storage-blob 12 reads datetimes in a way that Python calls deprecated.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_azure_storage_blob_left_half_sent_is_no_hindrance(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The store takes only names of one length for the blocks of a blob, so ours are as long as its own."""
    request = tune(workspace, large())
    storage, path = fake_azure.cloud.storage, place(request.plan())
    container = storage.datastore("workspaceblobstore")

    class Broken(io.BytesIO):
        """Ends with an error after two blocks."""

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() == 8:
                raise OSError("gone")
            return super().read(size)

    client = ContainerClient.from_container_url(
        f"https://{storage.host}/{container.name}?{storage.sas(timedelta(hours=1))}",
        max_single_put_size=4,
        max_block_size=4,
        retry_total=0,
    )
    with pytest.raises(OSError, match="gone"):
        client.upload_blob(path, Broken(b"0123456789ab"), length=12)
    assert len(container.staged(path)) == 2
    request.submit()
    assert stored(fake_azure, path).data == b"".join(large().lines())


@pytest.mark.parametrize(("dataset", "needed"), [(data(), 1), (large(), 3)], ids=["one request", "blocks"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_signature_that_ends_half_way_is_asked_for_anew(
    fake_azure: FakeAzure, dataset: pf.ChatDataset, needed: int, status: int
) -> None:
    """For the part that was refused, and no other is sent a second time."""
    workspace = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(Answer("PUT *.blob.core.windows.net*", status, "AuthenticationFailed"))
    request = tune(workspace, dataset)
    request.submit()
    assert stored(fake_azure, place(request.plan())).data == b"".join(dataset.lines())
    writes = [entry.status for entry in sent(fake_azure, "PUT", "*/LocalUpload/*")]
    assert sorted(str(status) for status in writes) == ["201"] * needed + [str(status)]
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 2


def test_a_signature_that_runs_out_in_the_middle(fake_azure: FakeAzure) -> None:
    """The store's own clock ends it, between two blocks."""

    def listen(event: Event) -> None:
        if isinstance(event, UploadProgress) and event.sent_bytes < 9 * MIB:
            fake_azure.clock.advance(timedelta(hours=2))

    workspace = fake_azure.workspace(retries=NoRetries(), on_event=listen)
    request = tune(workspace, large(20))
    request.submit()
    assert stored(fake_azure, place(request.plan())).data == b"".join(large(20).lines())
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 2


def test_a_signature_that_is_never_good_enough_is_told(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Two more are asked for, and the third refusal is the answer."""
    for _ in range(3):
        fake_azure.faults.next(Answer("PUT *.blob.core.windows.net*", 403, "AuthenticationFailed"))
    with pytest.raises(PermissionMissing) as caught:
        finetune(workspace).submit()
    assert caught.value.code == "AuthenticationFailed"
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 3
    assert fake_azure.jobs == {}


def test_a_store_without_signatures_is_signed_in_to_anew(fake_azure: FakeAzure) -> None:
    """Where the workspace gives out none, each block has a token, and a refused one is replaced."""
    workspace = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(Answer("POST */listSecrets", 403, "AuthorizationFailed"))
    fake_azure.faults.next(ExpiredToken("PUT *.blob.core.windows.net*"))
    request = tune(workspace, large())
    request.submit()
    assert stored(fake_azure, place(request.plan())).data == b"".join(large().lines())
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == 1


@pytest.mark.parametrize("retries", [NoRetries(), StandardRetries()], ids=["none", "standard"])
@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("comp", ["block", "blocklist", ""])
def test_a_write_whose_answer_is_lost(
    fake_azure: FakeAzure, retries: RetryPolicy, applied: bool, comp: str
) -> None:
    """What was applied is found, and never sent twice without retries; the file is whole, or there is none."""
    dataset = large(12) if comp else data()
    lost = AnswerLost("PUT *.blob.core.windows.net*", applied=applied)

    def listen(event: Event) -> None:
        # The next that is written after the last block is their list.
        if isinstance(event, UploadProgress) and event.sent_bytes == event.size_bytes and queue:
            fake_azure.faults.next(queue.pop())

    queue = [lost] if comp == "blocklist" else []
    request = tune(fake_azure.workspace(retries=retries, on_event=listen), dataset)
    path = place(request.plan())
    if comp != "blocklist":
        fake_azure.faults.next(lost)
    if isinstance(retries, NoRetries) and not applied:
        with pytest.raises(ServiceUnreachable):
            request.submit()
        assert fake_azure.cloud.storage.get(path) is None
    request.submit()
    assert stored(fake_azure, path).data == b"".join(dataset.lines())
    writes = sent(fake_azure, "PUT", "*/LocalUpload/*")
    (gone,) = [entry for entry in writes if entry.status is None]
    assert f"comp={comp}&" in gone.url or not comp
    needed = 3 if comp else 1
    assert len(writes) == needed + (0 if applied and isinstance(retries, NoRetries) else 1)


def test_two_uploads_of_one_file_do_not_spoil_each_other(fake_azure: FakeAzure) -> None:
    """The second finds its blocks in the blob that the first has made of them."""
    content = random.Random(1).randbytes(20 * MIB)

    def put(workspace: pf.Workspace) -> str:
        return upload(
            workspace._handle(),
            file_name="x.bin",
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            content=lambda: [content],
        )

    def listen(event: Event) -> None:
        if isinstance(event, UploadProgress) and event.sent_bytes == event.size_bytes:
            others.append(put(fake_azure.workspace()))

    others: list[str] = []
    address = put(fake_azure.workspace(on_event=listen))
    assert others == [address]
    blob = stored(fake_azure, address.rpartition("/paths/")[2])
    assert (blob.data, blob.metadata["upload_status"]) == (content, "completed")


@pytest.mark.parametrize("size", [MIB, 20 * MIB], ids=["one request", "blocks"])
def test_a_file_that_changes_meanwhile_is_not_stored(
    fake_azure: FakeAzure, tmp_path: Path, size: int
) -> None:
    """Its place is named after its content, so another content must not come there."""
    file = tmp_path / "zero.json"
    file.write_bytes(b"1" * size)

    def listen(event: Event) -> None:
        if isinstance(event, Uploaded) and event.resource == "file train.jsonl":
            file.write_bytes(b"1" * (size - 1) + b"2")

    workspace = fake_azure.workspace(on_event=listen)
    with pytest.raises(InvalidData, match="changed") as caught:
        tune(workspace, data()).with_parameters(deepspeed=file).submit()
    assert caught.value.file == "zero.json"
    assert not any(path.endswith("zero.json") for path in fake_azure.cloud.storage.list("LocalUpload/"))
    assert fake_azure.jobs == {}
