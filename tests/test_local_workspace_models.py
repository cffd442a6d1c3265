"""Base models of this machine."""

from __future__ import annotations

import errno
import filecmp
import json
import os
import shutil
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pipelines
import pytest
from hub_server import HubRepo, HubServer, hub_server
from huggingface_hub import constants
from local_workspaces import SIZE, programs, simulated, told, with_programs

import phi_finetune as pf
from phi_finetune.emulator.runners.engine import Server
from phi_finetune.emulator.runners.runner import JobInputs
from phi_finetune.emulator.storage.blobs import Files, StoredFile
from phi_finetune.errors import ConfigurationError, InvalidParameter, ServiceUnreachable
from phi_finetune.local._files import LINKED, take_in
from phi_finetune.local.models import add_model
from phi_finetune.local.programs import Programs
from phi_finetune.local.run_folder import RunFolder
from phi_finetune.local.server_folder import ServerFolder
from phi_finetune.testing import FakeAzure

NAME = "microsoft/tiny-phi"
PARTS = ("model-1-of-2.safetensors", "model-2-of-2.safetensors")
WANTED = {
    "config.json": b'{"max_position_embeddings": 512}',
    "model.safetensors.index.json": json.dumps({"weight_map": dict(zip("ab", PARTS, strict=True))}).encode(),
    **{part: part.encode() * 100 for part in PARTS},
    "tokenizer.json": b"{}",
}
UNWANTED = dict.fromkeys(
    ("pytorch_model.bin", "modeling_phi.py", "onnx/config.json", "consolidated.safetensors"), b"not to be run"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, and no login."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "cache"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub with a model, and nobody waits between two sends."""
    with hub_server() as server:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        server.repos[NAME] = HubRepo({**WANTED, **UNWANTED}, large=set(PARTS), branches={"next"})
        yield server


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 sets when huggingface_hub is imported."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def put_into(cache: Path, files: dict[str, bytes]) -> Path:
    """Lay a model out as huggingface_hub does: names are links to contents. The folder of its commit."""
    root, commit = cache / f"models--{NAME.replace('/', '--')}", "c" * 40
    for number, (name, content) in enumerate(files.items()):
        blob, link = root / "blobs" / f"{number:064}", root / "snapshots" / commit / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(Path("../" * (2 + name.count("/")), "blobs", blob.name))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return root / "snapshots" / commit


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


def test_what_was_tuned_and_downloaded_can_be_tuned_on(tmp_path: Path) -> None:
    """From MLflow's layout as Azure leaves it, with the tokenizer beside the model, a job is given what it needs."""
    names = (
        "data/model/config.json",
        "data/model/model.safetensors",
        "data/tokenizer/tokenizer.json",
        "MLmodel",
    )
    for path in (tmp_path / "facts-1" / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"max_position_embeddings": 512}')
    folder = tmp_path / "runs"
    workspace = with_programs(folder, programs(tmp_path / "programs"))
    added = add_model(workspace, tmp_path / "facts-1", name="facts")
    assert added.context_length == 512
    data = pf.ChatDataset.from_records(pipelines.conversations(24), name="more")
    job = added.finetune(data).on(workspace.gpu_compute("here", size="this-machine").ensure()).submit().wait()
    taken = folder / "jobs" / job.name / "inputs" / "model"
    assert {path.name for path in taken.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}


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


BIG = 3 * 1024**3
"""Bytes that would be noticed in memory."""


@pytest.fixture
def big(tmp_path: Path) -> Files:
    """A model of this machine with weights that have a size, and take no room."""
    folder = tmp_path / "big"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(BIG)
    return Files({path.name: StoredFile(path) for path in folder.iterdir()})


def prepared_job(files: Files, folder: Path) -> Path:
    """The folder of a job's model."""
    job = JobInputs("tune", {}, {}, files, "tiny-phi", ["chat_completion_finetune"])
    RunFolder(folder).prepare(job, Programs(), "sqlite://")
    return folder / "inputs" / "model"


def prepared_server(files: Files, folder: Path) -> Path:
    """The folder of a server's model."""
    ServerFolder(folder).prepare(Server("s", "facts", "blue", "facts:1", files), Programs())
    return folder / "model"


@pytest.mark.parametrize("prepared", [prepared_job, prepared_server])
def test_weights_are_linked_and_never_read(
    tmp_path: Path, big: Files, prepared: Callable[[Files, Path], Path]
) -> None:
    """They are the very file; settings are copied, so that whoever writes over them leaves the source alone."""
    tracemalloc.start()
    try:
        taken = prepared(big, tmp_path / "work" / "prepared")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024**2
    assert (taken / "model.safetensors").samefile(tmp_path / "big" / "model.safetensors")
    (taken / "config.json").write_text("another")
    assert (tmp_path / "big" / "config.json").read_text() == "{}"


def test_where_the_disk_has_no_links_files_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from behind a link of a name, as the cache of Hugging Face has them; what was there is replaced."""

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    with (tmp_path / "blob").open("wb") as file:
        file.write(b"weights")
        file.truncate(LINKED)
    (tmp_path / "named").symlink_to("blob")
    (tmp_path / "taken").symlink_to("named")
    monkeypatch.setattr(os, "link", refuse)
    take_in(tmp_path / "named", tmp_path / "taken")
    assert not (tmp_path / "taken").is_symlink()
    assert filecmp.cmp(tmp_path / "taken", tmp_path / "blob", shallow=False)
    assert not (tmp_path / "taken").samefile(tmp_path / "blob")


def test_no_file_of_a_model_leads_out_of_its_folder(tmp_path: Path, big: Files) -> None:
    """Nothing is left of what was begun."""
    (path,) = [path for path in (big.path(name) for name in big) if path and path.name == "config.json"]
    for name in ("../escaped", "/escaped"):
        with pytest.raises(ValueError, match="leads out of its folder"):
            prepared_job(Files({name: StoredFile(path)}), tmp_path / "work" / "prepared")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_model_of_the_cache_is_trained_from_its_files(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without network, and without the pickles and the code that somebody else has fetched."""
    go_offline(monkeypatch)
    put_into(cache, {**WANTED, **UNWANTED})
    folder = tmp_path / "runs"
    workspace = with_programs(folder, programs(tmp_path / "programs"))
    added = add_model(workspace, NAME, name="tiny-phi")
    assert added.context_length == 512
    data = pf.ChatDataset.from_records(pipelines.conversations(24), name="facts")
    job = added.finetune(data).on(workspace.gpu_compute("here", size="this-machine").ensure()).submit().wait()
    taken = folder / "jobs" / job.name / "inputs" / "model"
    assert {path.name: path.read_bytes() for path in taken.iterdir()} == WANTED


def test_a_model_that_is_not_cached_is_fetched_once(tmp_path: Path, hub: HubServer) -> None:
    """And of it only what can do no harm; a branch is asked for by its name."""
    workspace = simulated(tmp_path / "runs")
    first = add_model(workspace, NAME, name="tiny-phi")
    assert sorted(hub.fetched()) == sorted(WANTED)
    hub.asked.clear()
    assert add_model(workspace, NAME, name="tiny-phi") == first
    assert hub.asked == []
    add_model(workspace, NAME, name="tiny-phi", revision="next")
    assert any(each.path.endswith("/revision/next") for each in hub.asked)


@pytest.mark.parametrize("lacking", [PARTS[1], "config.json"])
def test_a_model_that_was_cached_in_part_is_fetched(
    tmp_path: Path, hub: HubServer, cache: Path, lacking: str
) -> None:
    """A fetch may have been cut off."""
    put_into(cache, {name: content for name, content in WANTED.items() if name != lacking})
    assert add_model(simulated(tmp_path / "runs"), NAME, name="tiny-phi").context_length == 512
    assert lacking in hub.fetched()


def test_a_model_that_cannot_be_had_is_told(
    tmp_path: Path, hub: HubServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why, and what to do."""
    workspace = simulated(tmp_path / "runs")

    def told(words: str, name: str = NAME, revision: str | None = None) -> str:
        with pytest.raises(ConfigurationError, match=words) as caught:
            add_model(workspace, name, name="tiny-phi", revision=revision)
        assert "data set" not in str(caught.value)
        return str(caught.value.next_call)

    assert "check the name" in told("There is no such model, or it is private", name="microsoft/nothing")
    assert "revision=" in told("has no revision 'never'", revision="never")
    hub.repos["a/pickle"] = HubRepo({"config.json": b"{}", "pytorch_model.bin": b"\x80"})
    assert "safetensors" in told("weights in safetensors are missing", name="a/pickle")
    assert "pytorch_model.bin" not in hub.fetched()
    hub.repos[NAME] = HubRepo(WANTED, token="hf_somebody", gated=True)
    assert told("is gated") == "ask for access on the model's page, then run `hf auth login`"
    hub.fail("/api/models/", 503, times=20)
    with pytest.raises(ServiceUnreachable, match="503"):
        add_model(workspace, NAME, name="tiny-phi")
    go_offline(monkeypatch)
    assert "hf download microsoft/tiny-phi" in told("cannot be fetched: HF_HUB_OFFLINE is set")


def test_a_machine_without_network_is_told(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens where the hub should be."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match=r"not in the Hugging Face cache.*could not be reached"):
        add_model(simulated(tmp_path / "runs"), NAME, name="tiny-phi")


def test_a_folder_comes_before_the_hub_and_has_no_revision(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that is none is no name of the hub, either."""
    workspace = simulated(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(weights, tmp_path / NAME)
    assert add_model(workspace, NAME, name="tiny-phi").context_length == 512
    with pytest.raises(InvalidParameter, match="no revisions"):
        add_model(workspace, weights, name="other", revision="main")
    for path in ("./weights/nowhere", Path("weights/nowhere"), "nowhere"):
        with pytest.raises(ConfigurationError, match="no such folder"):
            add_model(workspace, path, name="other")
