from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import unicodedata
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pipelines
import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st
from tuning import SIZE, Heard, content, finetune, sent, trained

import phi_finetune as pf
from phi_finetune._file_names import check_names
from phi_finetune.errors import (
    DeadlineExceeded,
    InvalidParameter,
    NameTaken,
    NotFound,
    ServiceError,
    UnexpectedAnswer,
)
from phi_finetune.events import AdoptedExisting, Created, DownloadProgress, Event, RequestRetried
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, Fault, HalfBody, Silence, Wrong

MIB = 1024 * 1024


def test_a_model_is_registered_with_its_lineage(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Job, base model and data's digest are tags; the type is MLflow's; the description says what it is."""
    request = finetune(workspace)
    job = request.submit().wait()
    model = job.register(tags={"team": "nlp"})
    assert model.name == "Phi-4-facts"
    assert (model.job, model.base_model, model.data_digest) == (
        job.name,
        request.model.id,
        request.data.digest,
    )
    assert (model.tags["team"], model.tags["made-by"]) == ("nlp", "phi-finetune")
    assert model.description == f"Phi-4:8, fine-tuned on facts by job {job.name}"
    (put,) = sent(fake_azure, "PUT", "*/models/*")
    properties = content(put)["properties"]
    assert (properties["modelType"], model.type) == ("mlflow_model", "mlflow_model")
    assert properties["modelUri"] == f"azureml://jobs/{job.name}/outputs/trained_model"


def test_registering_again_gives_the_same(fake_azure: FakeAzure) -> None:
    """One job is one version, whoever registers it."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    first = trained(fake_azure, ws)
    second = ws.job("tune").register("facts")
    assert first == second
    assert len(sent(fake_azure, "PUT", "*/models/*")) == 1
    assert [len(heard.of(kind)) for kind in (Created, AdoptedExisting)] == [1, 1]


def test_versions_of_other_jobs_do_not_collide(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Another job's model is another version of the name, and the one registered last is found by name."""
    one = trained(fake_azure, workspace, job="one")
    other = trained(fake_azure, workspace, job="other")
    assert one.name == other.name
    assert one.version != other.version
    assert workspace.model("facts") == other


def test_a_version_is_short_and_the_same_everywhere() -> None:
    """It is made from the job's name alone, and the service takes it as a number."""
    version = pf.FinetuneJob("phi-4-facts-0123456789", "Completed").model_version()
    assert version == pf.FinetuneJob("phi-4-facts-0123456789", "Running").model_version()
    assert 1 <= int(version) < 2**31
    assert version != pf.FinetuneJob("phi-4-facts-0123456789-2", "Completed").model_version()


def test_a_version_of_another_lineage_is_not_taken_over(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """Somebody else's model under that version is left alone, and the error says whose it is."""
    pipelines.start(fake_azure.cloud, "theirs")
    pipelines.start(fake_azure.cloud, "ours")
    workspace.job("theirs").wait()
    job = workspace.job("ours").wait()
    version = job.model_version()
    properties = {"modelType": "mlflow_model", "modelUri": "azureml://jobs/theirs/outputs/trained_model"}
    path = f"models/facts/versions/{version}"
    assert ask(fake_azure.cloud, "PUT", path, {"properties": properties}).status == 201
    with pytest.raises(NameTaken, match="something that it does not name, not by ours") as caught:
        job.register("facts")
    assert caught.value.resource == f"model facts:{version}"
    assert job.register("others").job == "ours"


def test_slashes_in_a_name_become_dashes(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A data set's name from the hub has one."""
    assert trained(fake_azure, workspace, name="HuggingFaceH4/ultrachat").name == "HuggingFaceH4-ultrachat"


def test_a_job_of_another_tool_can_be_registered(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Its base model is read from its inputs, its data is not known."""
    pipelines.start(fake_azure.cloud, "tune")
    model = workspace.job("tune").wait().register()
    assert model.name == "Phi-4-tune"
    assert (model.base_model, model.data_digest) == (pipelines.MODEL_ID, None)


def test_a_job_without_our_output_says_what_it_has(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Where the model lies under another name, that name is told."""
    body = pipelines.pipeline(fake_azure.cloud)
    ((_, node),) = body["properties"]["jobs"].items()
    node["outputs"]["mlflow_model_folder"]["value"] = "${{parent.outputs.weights}}"
    body["properties"]["outputs"] = {"weights": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}}
    assert ask(fake_azure.cloud, "PUT", "jobs/tune", body).status == 201
    with pytest.raises(NotFound, match="its outputs are weights"):
        workspace.job("tune").wait().register("facts")


# Downloading


def test_a_model_is_downloaded_whole(fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path) -> None:
    """All its files are there, with their folders, and nothing else is left beside them."""
    model = trained(fake_azure, workspace)
    folder = model.download(tmp_path / "models")
    assert folder == tmp_path / "models" / f"facts-{model.version}"
    assert (folder / "MLmodel").read_text(encoding="utf-8")
    stored = fake_azure.cloud.assets.model_files(model.id)
    assert {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == (dict(stored))
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]


def test_a_download_replaces_nothing(fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path) -> None:
    """A folder that is there already is left as it is."""
    model = trained(fake_azure, workspace)
    model.download(tmp_path)
    with pytest.raises(InvalidParameter, match="is there already") as caught:
        model.download(tmp_path)
    assert (caught.value.name, caught.value.resource) == ("folder", model.resource)


def beside(folder: Path) -> list[str]:
    """All that is in and around the folder of downloads."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


HOSTILE = [
    *(
        "../x",
        "a/../../x",
        "a/..",
        "..",
        ".",
        "./x",
        "a/./b",
        "a//b",
        "/abs",
        "//server/share",
        "data/../MLmodel",
    ),
    *("C:\\x", "c:x", "..\\x", "a\\..\\x", "file:stream", "a?b", "a*b", "a|b", "a<b", 'a"b'),
    *("a\0b", "a\nb", "\x7f", "\u202egpj.exe", "a\u200db", "a\u2028b"),
    *("con", "CON.txt", "nul", "aux/x", "x/com1.log", "LPT\u00b9", "prn .txt", "conin$"),
    *("trail.", "trail ", " ", "...", "a. /b", "x/" + "y" * 300, "\u00e9" * 128),
    *("mlmodel", "MLmodel/inner", "Data/config/x", "data/config", "data", "DATA/MODEL"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_file_of_a_hostile_name_is_refused(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path, name: str
) -> None:
    """A model with such a file is not downloaded at all: no byte is asked for, and nothing is written."""
    model = trained(fake_azure, workspace)
    fake_azure.cloud.storage.put(f"azureml/tune/trained_model/{name}", b"x")
    with pytest.raises(UnexpectedAnswer, match="not safe to write") as caught:
        model.download(tmp_path / "models")
    assert caught.value.resource == model.resource
    assert str(caught.value).isascii()
    assert beside(tmp_path) == []
    assert sent(fake_azure, "GET", "*/trained_model/*") == []


@pytest.mark.parametrize(
    "name",
    [
        "-rf",
        "~",
        "$HOME",
        "...x",
        "\u2026/x",
        "%2e%2e/x",
        "\ud7ff",
        "a b",
        "console",
        "com10",
        "\u00e9" * 127,
    ],
)
def test_an_odd_name_that_harms_nobody_is_kept(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path, name: str
) -> None:
    """It is the file's name to the letter."""
    model = trained(fake_azure, workspace)
    fake_azure.cloud.storage.put(f"azureml/tune/trained_model/{name}", b"x")
    assert (model.download(tmp_path) / name).read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == [f"facts-{model.version}"]


@given(
    names=st.lists(
        st.text(alphabet="aA.\u00e9\u0301e/\\: \0x1", min_size=1, max_size=6), min_size=1, max_size=4
    )
)
def test_names_that_pass_are_those_of_so_many_files(names: list[str]) -> None:
    """Whatever is let through makes as many files, none of them elsewhere, also where case does not count."""
    try:
        check_names(names, resource="model m:1")
    except UnexpectedAnswer:
        return
    with TemporaryDirectory() as top:
        folder = Path(top) / "in"
        for name in names:
            path = folder / unicodedata.normalize("NFC", name.casefold())
            path.parent.mkdir(parents=True, exist_ok=True)
            path.open("x").close()
        assert len([path for path in folder.rglob("*") if path.is_file()]) == len(names)
        assert list(Path(top).iterdir()) == [folder]


@pytest.mark.parametrize(
    "names", [["a/b", "A"], ["A", "a/b"], ["a", "A"], ["a/b", "A/c"], ["a", "a"]], ids=str
)
def test_names_clash_in_any_order(names: list[str]) -> None:
    """A file and a folder, two files, or two spellings of one folder."""
    with pytest.raises(UnexpectedAnswer, match="another file or folder"):
        check_names(names, resource="model m:1")


def test_the_marks_of_folders_are_no_files(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """A job that writes through a mount leaves an empty blob for each folder."""
    model = trained(fake_azure, workspace)
    for folder in ("data", "data/model"):
        fake_azure.cloud.storage.put(f"azureml/tune/trained_model/{folder}", b"", {"hdi_isfolder": "true"})
    assert (model.download(tmp_path) / "data" / "model").is_dir()


def big(azure: FakeAzure, size: int = 20 * MIB) -> bytes:
    """A large file of the model: its content."""
    content = random.Random(size).randbytes(size)
    azure.cloud.storage.put("azureml/tune/trained_model/data/model/weights.bin", content)
    azure.cloud.storage.put("azureml/tune/trained_model/data/empty.txt", b"")
    return content


def test_a_large_file_comes_in_parts(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """Of 8 MiB each, and their coming is told; an empty file is there too, and was not asked for."""
    heard = Heard()
    workspace = fake_azure.workspace(on_event=heard)
    model = trained(fake_azure, workspace)
    content = big(fake_azure)
    folder = model.download(tmp_path)
    assert (folder / "data/model/weights.bin").read_bytes() == content
    assert (folder / "data/empty.txt").read_bytes() == b""
    assert len(sent(fake_azure, "GET", "*/weights.bin")) == 3
    assert sent(fake_azure, "GET", "*/empty.txt") == []
    told = heard.of(DownloadProgress)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert [event.received_bytes for event in told] == sorted({event.received_bytes for event in told})
    assert told[-1] == DownloadProgress(model.resource, total, total)


@pytest.mark.parametrize(
    "fault",
    [
        HalfBody("GET */weights.bin"),
        AnswerLost("GET */weights.bin"),
        Answer("GET */weights.bin", 503),
        Answer("GET */weights.bin", 403, "AuthenticationFailed"),
        Answer("GET */weights.bin", 401, "AuthenticationFailed"),
        Answer("GET */azureml-blobstore-*", 403, "AuthenticationFailed"),
        Wrong("GET */weights.bin", "Content-Type", "application/json"),
    ],
    ids=["cut", "lost", "503", "signature expired", "401", "list refused", "called JSON"],
)
def test_a_part_that_fails_is_asked_for_again(fake_azure: FakeAzure, tmp_path: Path, fault: Fault) -> None:
    """That part alone; and a part of a file is never taken for half a JSON."""
    heard = Heard()
    workspace = fake_azure.workspace(on_event=heard)
    model = trained(fake_azure, workspace)
    content = big(fake_azure)
    fake_azure.faults.next(fault)
    assert (model.download(tmp_path) / "data/model/weights.bin").read_bytes() == content
    refused = isinstance(fault, Answer) and fault.status in (401, 403)
    assert len(heard.of(RequestRetried)) == (0 if refused or isinstance(fault, Wrong) else 1)
    assert len(sent(fake_azure, "POST", "*/listSecrets")) == (2 if refused else 1)


def test_a_file_that_changes_meanwhile_is_not_mixed(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """Parts of two contents never come together: the download ends, and nothing is left of it."""

    def listen(event: Event) -> None:
        if isinstance(event, DownloadProgress):
            fake_azure.cloud.storage.put("azureml/tune/trained_model/data/model/weights.bin", b"x" * 60 * MIB)

    workspace = fake_azure.workspace(on_event=listen)
    model = trained(fake_azure, workspace)
    big(fake_azure, 60 * MIB)
    with pytest.raises(ServiceError, match="ConditionNotMet") as caught:
        model.download(tmp_path / "models")
    assert caught.value.next_call == "call again: the files are listed anew"
    assert beside(tmp_path) == ["models"]


def test_a_part_of_another_length_is_refused(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """The store lists one size and gives another."""
    sizes = iter([b"x" * 9])
    model = trained(fake_azure, workspace)
    path = "azureml/tune/trained_model/weights.bin"
    fake_azure.cloud.storage.put_live(path, lambda: next(sizes, b"x" * 5))
    with pytest.raises(UnexpectedAnswer, match="another part"):
        model.download(tmp_path / "models")
    assert beside(tmp_path) == ["models"]


def test_a_download_has_a_limit(fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path) -> None:
    """Nothing is asked for of a model that is larger; one as large as the limit is copied."""
    model = trained(fake_azure, workspace)
    total = sum(map(len, fake_azure.cloud.assets.model_files(model.id).values()))
    with pytest.raises(InvalidParameter, match=f"come to {total:,} bytes") as caught:
        model.download(tmp_path, max_bytes=total - 1)
    assert (caught.value.name, caught.value.value) == ("max_bytes", total - 1)
    assert beside(tmp_path) == []
    assert model.download(tmp_path, max_bytes=total).is_dir()


def test_a_model_that_does_not_fit_is_not_begun(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is looked at before the first byte."""
    model = trained(fake_azure, workspace)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(InvalidParameter, match="does not fit on the disk") as caught:
        model.download(tmp_path)
    assert (caught.value.name, caught.value.value) == ("folder", str(tmp_path))
    assert sent(fake_azure, "GET", "*/trained_model/*") == []


def test_a_folder_that_cannot_be_used_is_told(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """As a wrong folder, not as an error of the system."""
    model = trained(fake_azure, workspace)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InvalidParameter, match="cannot be written") as caught:
        model.download(tmp_path / "file" / "models")
    assert (caught.value.name, caught.value.resource) == ("folder", model.resource)
    (tmp_path / f"facts-{model.version}").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidParameter, match="is there already"):
        model.download(tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_a_target_that_appears_meanwhile_is_left_as_it_is(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """Whoever was first keeps what is there."""

    def listen(event: Event) -> None:
        if isinstance(event, DownloadProgress):
            (tmp_path / f"facts-{model.version}" / "theirs").mkdir(parents=True, exist_ok=True)

    workspace = fake_azure.workspace(on_event=listen)
    model = trained(fake_azure, workspace)
    with pytest.raises(InvalidParameter, match="cannot be written"):
        model.download(tmp_path)
    assert beside(tmp_path) == [f"facts-{model.version}", f"facts-{model.version}/theirs"]


def test_a_download_that_is_killed_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    """Killed at its first part or after its last one, there is no folder of the model's name."""
    script = """
import os, signal, sys
from tuning import trained
from phi_finetune.events import DownloadProgress
from phi_finetune.testing import FakeAzure

def listen(event):
    if isinstance(event, DownloadProgress) and event.received_bytes >= int(sys.argv[2]) * event.size_bytes:
        os.kill(os.getpid(), signal.SIGKILL)

with FakeAzure() as azure:
    trained(azure, azure.workspace(on_event=listen)).download(sys.argv[1])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    for when in ("0", "1"):
        command = [sys.executable, "-c", script, str(tmp_path), when]
        done = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=60)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(tmp_path.iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".facts-")] == []


def test_a_model_without_files_is_told(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """An empty place is not an empty model."""
    uri = "azureml://datastores/workspaceblobstore/paths/nothing/here/"
    body = {"properties": {"modelType": "mlflow_model", "modelUri": uri}}
    assert ask(fake_azure.cloud, "PUT", "models/empty/versions/1", body).status == 201
    with pytest.raises(NotFound, match="has no files"):
        workspace.model("empty").download(tmp_path)


def test_a_model_in_another_store_is_not_guessed_at(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """Only the default store's files are known here; another address is named."""
    model = workspace.attach(pf.RegisteredModel("far", "1", "azureml://datastores/mine/paths/x"))
    with pytest.raises(UnexpectedAnswer, match="not in the workspace's blob store"):
        model.download(tmp_path)


def test_a_model_is_deployed_by_its_id(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """The deployment names the version, and keeps the lineage."""
    model = trained(fake_azure, workspace)
    endpoint = model.deploy(instance_type=SIZE)
    (deployment,) = fake_azure.endpoints[endpoint.name].deployments.values()
    assert deployment.model == model.id
    assert deployment.spec.tags["phi-finetune.job"] == "tune"


def test_a_time_that_is_up_is_no_folder_that_cannot_be_written(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """Both are errors of the system to Python, and different ones to a caller."""
    model = trained(fake_azure, workspace)
    fake_azure.faults.at_rate(1.0, kinds=[Silence("GET *.blob.core.windows.net/*/trained_model/*")])
    with pytest.raises(DeadlineExceeded):
        model.with_options(timeout=timedelta(seconds=30)).download(tmp_path)
    fake_azure.faults.stop()
    assert list(tmp_path.iterdir()) == []
