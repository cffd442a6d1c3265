"""Chat data registered as a versioned asset, found again, and read back."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pipelines
import pytest
from asking import ask
from azure.ai.ml.entities import Data
from cutting import When, interrupted
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning import SIZE, Heard, content, data, sent

import phi_finetune as pf
from phi_finetune.chat_dataset import Origin, SplitInfo, SplitName
from phi_finetune.data_assets import DataAsset
from phi_finetune.errors import (
    ConfigurationError,
    DeadlineExceeded,
    InvalidData,
    InvalidParameter,
    NameTaken,
    NotFound,
    OutcomeUnknown,
    PhiFinetuneError,
    UnexpectedAnswer,
)
from phi_finetune.events import AdoptedExisting, Created, DownloadProgress, Event, Uploaded
from phi_finetune.retries import NoRetries, PatientRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, AnswerLost, HalfBody, RequestFault, Silence

MIB = 1024 * 1024
UNREGISTERED = {"properties": {"dataUri": "azureml://datastores/workspaceblobstore/paths/theirs"}}


def whole(name: str = "facts") -> pf.ChatDataset:
    """A data set with all three splits."""
    rows = pipelines.conversations(30)
    return pf.ChatDataset.from_records(rows[:20], rows[20:26], rows[26:], name=name)


def large(rows: int = 12) -> pf.ChatDataset:
    """Conversations of a MiB each, one of them to validate with."""
    row: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": "Go on."},
            {"role": "assistant", "content": "word " * (MIB // 5)},
        ]
    }
    return pf.ChatDataset.from_records([row] * rows, [row], name="large")


def submit(workspace: pf.Workspace, dataset: pf.ChatDataset) -> pf.FinetuneJob:
    """A fine-tune on a data set as it is."""
    return workspace.foundation_model("Phi-4").finetune(dataset).on(pf.GpuCompute.serverless(SIZE)).submit()


def writes(azure: FakeAzure) -> int:
    """How often something was written to the store."""
    return len(sent(azure, "PUT", "*/LocalUpload/*"))


# Registering


def test_a_data_set_becomes_a_folder(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """With a file for each split, as training takes them, and one that says what they come to."""
    dataset = whole()
    asset = workspace.register_data(dataset, tags={"team": "nlp"})
    (stored,) = fake_azure.data["facts"]
    files = dict(stored.files())
    manifest = json.loads(files.pop("manifest.json"))
    assert files == {f"{split}.jsonl": b"".join(dataset.lines(split)) for split in dataset.splits}
    assert (manifest["digest"], list(manifest["splits"])) == (dataset.digest, ["train", "validation", "test"])
    assert manifest["splits"]["test"]["rows"] == 4
    assert (asset.name, asset.version) == ("facts", dataset.digest[:12])
    assert (asset.type, asset.path) == ("uri_folder", stored.uri)
    assert asset.path.endswith(f"/paths/LocalUpload/{dataset.digest}/")
    assert asset.id == stored.id
    assert (asset.digest, asset.rows) == (dataset.digest, {"train": 20, "validation": 6, "test": 4})
    assert asset.description == "facts: 20 train, 6 validation, 4 test conversations"
    assert asset.tags == {
        "team": "nlp",
        "made-by": "phi-finetune",
        "phi-finetune.data": "facts",
        "phi-finetune.data-digest": dataset.digest,
    }


def test_azure_ai_ml_finds_it(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """By version and as the latest, with what we said of it."""
    asset = workspace.register_data(whole())
    client = fake_azure.ml_client()
    for found in (client.data.get("facts", version=asset.version), client.data.get("facts", label="latest")):
        assert (found.id, found.path, found.type) == (asset.id, asset.path, "uri_folder")
        assert (found.version, found.tags, found.description) == (
            asset.version,
            dict(asset.tags),
            asset.description,
        )


def test_the_request_is_that_of_azure_ai_ml(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Address, parameters and body, to the letter."""
    asset = workspace.register_data(whole())
    (ours,) = sent(fake_azure, "PUT", "*/data/*")
    uri = content(ours)["properties"]["dataUri"]
    properties = content(ours)["properties"]["properties"]
    fake_azure.ml_client().data.create_or_update(
        Data(
            name=asset.name,
            version=asset.version,
            path=uri,
            type="uri_folder",
            description=asset.description,
            tags=dict(asset.tags),
            properties=properties,
        )
    )
    (_, theirs) = sent(fake_azure, "PUT", "*/data/*")
    assert (theirs.url, content(theirs)) == (ours.url, content(ours))


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        ("HuggingFaceH4/ultrachat_200k", "HuggingFaceH4-ultrachat_200k"),
        ("_facts.", "facts"),
        ("Flüsse und Städte", "Fl-sse-und-St-dte"),
        ("\u6cb3", "chat-data"),
        ("x" * 300, "x" * 100),
    ],
)
def test_its_name_is_made_from_the_data_sets(workspace: pf.Workspace, called: str, expected: str) -> None:
    """Where none is given; what Azure takes in no name becomes a dash."""
    assert workspace.register_data(data(called)).name == expected


@pytest.mark.parametrize(
    ("name", "version", "which"),
    [("", None, "name"), ("-a", None, "name"), ("a b", None, "name"), ("a" * 256, None, "name")]
    + [("a", text, "version") for text in ("", "..", "a/b", "1" * 31, "a b", "latest:1")],
)
def test_what_is_no_name_is_refused_before_anything_is_sent(
    fake_azure: FakeAzure, workspace: pf.Workspace, name: str, version: str | None, which: str
) -> None:
    """So is what is no version."""
    with pytest.raises(InvalidParameter) as caught:
        workspace.register_data(data(), name, version=version)
    assert caught.value.name == which
    assert len(fake_azure.journal) == 0


def test_data_that_is_not_fit_for_training_is_not_sent(
    fake_azure: FakeAzure, workspace: pf.Workspace
) -> None:
    """The rules are those of a fine-tune."""
    with pytest.raises(InvalidData):
        workspace.register_data(pf.ChatDataset.from_records(pipelines.conversations(9), name="few"))
    assert len(fake_azure.journal) == 0


def test_data_that_changes_meanwhile_is_not_registered(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """The folder is named after its content, so another content must not come there."""
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) + "\n" for row in pipelines.conversations(24)]
    file.write_text("".join(lines))

    def listen(event: Event) -> None:
        if isinstance(event, Uploaded) and event.resource == "file train.jsonl":
            file.write_text("".join(lines[:20]))

    dataset = pf.ChatDataset.from_jsonl(file, file, name="facts")
    with pytest.raises(InvalidData, match="changed"):
        fake_azure.workspace(on_event=listen).register_data(dataset)
    assert fake_azure.data == {}
    stored = fake_azure.cloud.storage.list("LocalUpload/")
    assert [path.rpartition("/")[2] for path in stored] == ["train.jsonl"]


def changed_at(moment: int, file: Path, text: str) -> Callable[[pf.ChatDataset, SplitName], SplitInfo]:
    """What describes a split, and at the call of this number writes to its file first."""
    describe, calls = pf.ChatDataset.describe, iter(range(1, 100))

    def changing(self: pf.ChatDataset, split: SplitName = "train") -> SplitInfo:
        if next(calls) == moment:
            file.write_text(text)
        return describe(self, split)

    return changing


@pytest.mark.parametrize("moment", range(1, 14))
def test_whenever_data_changes_no_asset_holds_what_it_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """At each moment of the call: it is refused, or what was registered is what lies there."""
    lines = [json.dumps(row) + "\n" for row in pipelines.conversations(24)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(lines))
    monkeypatch.setattr(pf.ChatDataset, "describe", changed_at(moment, file, "".join(lines[:20])))
    with FakeAzure() as azure:
        try:
            asset = azure.workspace().register_data(pf.ChatDataset.from_jsonl(file, name="facts"))
        except InvalidData:
            assert azure.data == {}
            return
        back = asset.download(tmp_path)
        (stored,) = azure.data["facts"]
    told = json.loads(stored.files()["manifest.json"])["splits"]["train"]["rows"]
    assert back.describe("train").rows == asset.rows["train"] == told


# Registering again


def test_registering_again_gives_the_same(fake_azure: FakeAzure) -> None:
    """One content is one version, whoever registers it and from whatever it was read; one look is enough."""
    heard = Heard()
    first = fake_azure.workspace().register_data(whole())
    fake_azure.journal.clear()
    second = fake_azure.workspace(on_event=heard).register_data(whole(), description="another")
    assert first == second
    assert [entry.method for entry in fake_azure.journal] == ["GET"]
    assert [event.resource for event in heard.of(AdoptedExisting)] == [first.resource]
    assert heard.of(Created) == []


def test_other_content_is_another_version(workspace: pf.Workspace) -> None:
    """The one registered last is found by name, and each by its version."""
    one = workspace.register_data(data("facts"))
    other = workspace.register_data(whole("facts"))
    assert one.version != other.version
    assert workspace.data_asset("facts") == other
    assert workspace.data_asset("facts", version=one.version) == one


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (
            data(),
            "train has 24 rows there, 20 here; validation has no rows there, 6 here; test has no rows there",
        ),
        (
            pf.ChatDataset.from_records(
                pipelines.conversations(60)[30:50], pipelines.conversations(6), pipelines.conversations(4)
            ),
            "as many conversations, and others",
        ),
    ],
    ids=["other rows", "other content"],
)
def test_another_content_under_the_version_is_refused(
    fake_azure: FakeAzure, workspace: pf.Workspace, there: pf.ChatDataset, why: str
) -> None:
    """The error says in what it differs, and nothing was sent or changed."""
    before = workspace.register_data(there, "facts", version="1")
    count = writes(fake_azure)
    with pytest.raises(NameTaken, match=why) as caught:
        workspace.register_data(whole(), "facts", version="1")
    assert caught.value.resource == "data asset facts:1"
    assert writes(fake_azure) == count
    assert workspace.data_asset("facts", version="1") == before
    assert workspace.register_data(whole(), "facts", version="2").digest == whole().digest


def test_somebody_elses_asset_is_refused(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """It is found all the same, and says nothing of conversations."""
    assert ask(fake_azure.cloud, "PUT", "data/facts/versions/1", UNREGISTERED).status == 201
    with pytest.raises(NameTaken, match="it is a uri_folder that was not registered by phi-finetune"):
        workspace.register_data(whole(), version="1")
    found = workspace.data_asset("facts")
    assert (found.version, found.digest, found.rows, found.origin) == ("1", None, {}, None)


@pytest.mark.parametrize(
    "told", ["{", "[]", "7", '{"digest": 7, "splits": [], "origin": "x"}', '{"splits": {"a": 1}}']
)
def test_what_somebody_wrote_in_our_place_is_not_believed(
    fake_azure: FakeAzure, workspace: pf.Workspace, told: str
) -> None:
    """It is as if nothing were there."""
    properties = {**UNREGISTERED["properties"], "properties": {"phi-finetune.manifest": told}}
    ask(fake_azure.cloud, "PUT", "data/facts/versions/1", {"properties": properties})
    found = workspace.data_asset("facts")
    assert (found.digest, found.rows, found.origin) == (None, {}, None)


def test_an_absent_one_is_not_found(workspace: pf.Workspace) -> None:
    """By name, or by version."""
    workspace.register_data(data())
    for look in (lambda: workspace.data_asset("others"), lambda: workspace.data_asset("facts", version="1")):
        with pytest.raises(NotFound) as caught:
            look()
        assert caught.value.status_code == 404


# Uploading


@pytest.mark.parametrize("dataset", [whole(), large()], ids=["small", "large"])
def test_a_fine_tune_finds_what_was_registered(fake_azure: FakeAzure, dataset: pf.ChatDataset) -> None:
    """It trains on the asset's own files, and sends none of them."""
    heard = Heard()
    asset = fake_azure.workspace().register_data(dataset)
    job = submit(fake_azure.workspace(on_event=heard), dataset)
    assert [event.reused for event in heard.of(Uploaded)] == [True] * len(dataset.splits)
    assert job.tags["phi-finetune.data-digest"] == asset.digest
    (put,) = sent(fake_azure, "PUT", "*/jobs/*")
    ((_, node),) = content(put)["properties"]["jobs"].items()
    assert f"/LocalUpload/{asset.digest}/train.jsonl" in node["inputs"]["train_file_path"]["uri"]


@pytest.mark.parametrize("dataset", [whole(), large()], ids=["small", "large"])
def test_registering_finds_what_a_fine_tune_sent(fake_azure: FakeAzure, dataset: pf.ChatDataset) -> None:
    """The other way round; only the manifest is new."""
    submit(fake_azure.workspace(), dataset)
    heard = Heard()
    asset = fake_azure.workspace(on_event=heard).register_data(dataset)
    told = {event.resource: event.reused for event in heard.of(Uploaded)}
    assert told == {**{f"file {split}.jsonl": True for split in dataset.splits}, "file manifest.json": False}
    assert fake_azure.data[asset.name][0].files()["train.jsonl"] == b"".join(dataset.lines())


def test_one_content_under_two_names_is_one_folder(fake_azure: FakeAzure) -> None:
    """The manifest there is decided by the content alone; names and origins are the assets' own."""
    heard = Heard()
    workspace = fake_azure.workspace(on_event=heard)
    one = workspace.register_data(whole("one"))
    heard.clear()
    other = workspace.register_data(whole("other"))
    assert (one.path, one.digest) == (other.path, other.digest)
    assert {event.reused for event in heard.of(Uploaded)} == {True}


def test_identity_datastores_take_it(tmp_path: Path) -> None:
    """Where the store gives out no secrets, the caller's own token goes with each file."""
    with FakeAzure(datastores_auth="identity") as azure:
        asset = azure.workspace().register_data(whole())
        assert asset.download(tmp_path).digest == whole().digest
        assert not azure.journal.filter(path="*/listSecrets")


# Faults


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_call_that_is_cut_off_anywhere_is_made_good_by_the_next(
    monkeypatch: pytest.MonkeyPatch, when: When
) -> None:
    """Before or after any of its requests: no half asset, no second one, and nothing is sent twice but what was cut."""
    with FakeAzure() as azure:
        azure.workspace().register_data(whole())
        needed = len(azure.journal)
    assert needed == 8
    for at in range(1, needed + 1):
        with FakeAzure() as azure:
            with interrupted(monkeypatch, azure.cloud, at, when=when), pytest.raises(KeyboardInterrupt):
                azure.workspace().register_data(whole())
            asset = azure.workspace().register_data(whole())
            (stored,) = azure.data["facts"]
            assert sorted(stored.files()) == [
                "manifest.json",
                "test.jsonl",
                "train.jsonl",
                "validation.jsonl",
            ]
            assert asset.digest == whole().digest


def test_after_an_upload_only_the_registration_is_left(fake_azure: FakeAzure) -> None:
    """Large files that were sent before a call ended are not sent again."""
    fake_azure.faults.next(Answer("PUT */data/*", 403, "AuthorizationFailed"))
    with pytest.raises(PhiFinetuneError):
        fake_azure.workspace().register_data(large())
    fake_azure.journal.clear()
    heard = Heard()
    fake_azure.workspace(on_event=heard).register_data(large())
    assert {event.reused for event in heard.of(Uploaded)} == {True}
    assert max(len(entry.body) for entry in fake_azure.journal) < 2 * MIB


@pytest.mark.parametrize(
    "fault",
    [AnswerLost("PUT */data/*"), Silence("PUT */data/*"), HalfBody("PUT */data/*")],
    ids=["lost", "silence", "half"],
)
def test_a_lost_answer_is_looked_for(fake_azure: FakeAzure, fault: RequestFault) -> None:
    """What was applied is found, and adopted, without a second request."""
    heard = Heard()
    fake_azure.faults.next(fault)
    asset = fake_azure.workspace(retries=NoRetries(), on_event=heard).register_data(whole())
    assert len(sent(fake_azure, "PUT", "*/data/*")) == 1
    assert asset == fake_azure.workspace().data_asset("facts")
    assert len(heard.of(AdoptedExisting)) == 1


def test_another_process_that_was_faster_with_other_content_is_not_adopted(fake_azure: FakeAzure) -> None:
    """The version that was free a moment ago is theirs now."""

    def listen(event: Event) -> None:
        if isinstance(event, Uploaded) and event.resource == "file manifest.json":
            fake_azure.workspace().register_data(data(), "facts", version="1")

    with pytest.raises(NameTaken, match="train has 24 rows there, 20 here"):
        fake_azure.workspace(on_event=listen).register_data(whole(), "facts", version="1")
    assert len(fake_azure.data["facts"]) == 1


def test_what_cannot_be_found_out_is_said(fake_azure: FakeAzure) -> None:
    """Neither the answer nor the looks came."""
    fake_azure.faults.next(AnswerLost("PUT */data/*"))

    def listen(event: Event) -> None:
        if isinstance(event, Uploaded) and event.resource == "file manifest.json":
            fake_azure.faults.next(Answer("GET */data/*", 503), times=5)

    workspace = fake_azure.workspace(retries=NoRetries(), on_event=listen)
    with pytest.raises(OutcomeUnknown) as caught:
        workspace.register_data(whole())
    assert "register_data() again" in (caught.value.next_call or "")
    assert workspace.register_data(whole()).digest == whole().digest


@pytest.mark.parametrize(
    "trouble",
    [
        Silence("* *"),
        Answer("* *", 503),
        Answer("* *", 429, headers={"Retry-After": "86400"}),
        Silence("PUT */data/*", applied=False),
        Answer("PUT *.blob.core.windows.net/*", 503),
    ],
    ids=["no answer", "busy", "a long wait", "no answer to the last", "a busy store"],
)
@pytest.mark.parametrize("limit_s", [1, 60, 1800])
def test_a_call_ends_within_its_timeout(trouble: RequestFault, limit_s: int) -> None:
    """With all its uploads, requests, retries and looks; and what it gives has no limit."""
    with FakeAzure(progression="realistic") as azure:
        workspace = azure.workspace(retries=PatientRetries())
        azure.faults.at_rate(1.0, kinds=[trouble])
        started = azure.clock.monotonic()
        with pytest.raises(PhiFinetuneError) as caught:
            workspace.register_data(whole(), timeout=timedelta(seconds=limit_s))
        assert azure.clock.monotonic() - started <= limit_s + 1
        assert caught.value.resource
        azure.faults.stop()
        asset = workspace.register_data(whole(), timeout=timedelta(seconds=limit_s))
        azure.clock.advance(timedelta(days=1))
        assert asset.with_options(timeout=timedelta(seconds=5))._handle().server_time()
        assert asset._handle().server_time()


def test_a_timeout_must_leave_time(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Nothing is sent without."""
    with pytest.raises(InvalidParameter):
        workspace.register_data(whole(), timeout=timedelta(0))
    assert len(fake_azure.journal) == 0


def test_options_limit_a_download(tmp_path: Path) -> None:
    """As of any object."""
    with FakeAzure(progression="realistic") as azure:
        asset = azure.workspace(retries=PatientRetries()).register_data(whole())
        azure.faults.at_rate(1.0, kinds=[Silence("GET *.blob.core.windows.net/*")])
        with pytest.raises(DeadlineExceeded):
            asset.with_options(timeout=timedelta(seconds=30)).download(tmp_path)
        azure.faults.stop()
        assert list(tmp_path.iterdir()) == []


# Reading back


@pytest.mark.parametrize("dataset", [data(), whole(), large()], ids=["train alone", "all splits", "large"])
def test_a_data_set_comes_back(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path, dataset: pf.ChatDataset
) -> None:
    """The same conversations in the same splits, under the same name, from files that stay."""
    asset = workspace.register_data(dataset, "kept", version="1")
    back = fake_azure.workspace().data_asset("kept").download(tmp_path / "data")
    assert (back.name, back.splits, back.digest) == (dataset.name, dataset.splits, dataset.digest)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["kept-1"]
    assert (tmp_path / "data" / "kept-1" / "manifest.json").is_file()
    for split in dataset.splits:
        assert list(back.lines(split)) == list(dataset.lines(split))
    assert asset.rows == {split: back.describe(split).rows for split in back.splits}


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)
_ROW = st.tuples(_TEXT, _TEXT).map(
    lambda said: {
        "messages": [{"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}],
        "prompt_id": said[0],
    }
)


@given(
    train=st.lists(_ROW, min_size=10, max_size=12), test=st.none() | st.lists(_ROW, min_size=1, max_size=3)
)
@settings(max_examples=20, deadline=None)
def test_any_data_set_comes_back(
    tmp_path_factory: pytest.TempPathFactory, train: list[dict[str, Any]], test: list[dict[str, Any]] | None
) -> None:
    """Whatever is said in it."""
    dataset = pf.ChatDataset.from_records(train, test=test, name="any")
    with FakeAzure() as azure:
        back = azure.workspace().register_data(dataset).download(tmp_path_factory.mktemp("any"))
        assert (back.digest, back.splits) == (dataset.digest, dataset.splits)
        assert [list(back.rows(split)) for split in back.splits] == [
            list(dataset.rows(split)) for split in dataset.splits
        ]


def test_where_it_came_from_comes_back_too(workspace: pf.Workspace, tmp_path: Path) -> None:
    """Source, revision and licence are the asset's, whatever the files are called."""
    origin = Origin("HuggingFaceH4/ultrachat_200k", "abc", "mit")
    dataset = pf.ChatDataset(name="facts", train=whole()._source("train"), origin=origin)
    asset = workspace.register_data(dataset)
    assert asset.origin == workspace.data_asset("facts").origin == origin
    assert asset.download(tmp_path).origin == origin


def test_files_that_were_changed_in_the_store_are_not_read(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """Rows that somebody took out, or put broken ones in for; nothing is left of them."""
    asset = workspace.register_data(whole())
    place = f"LocalUpload/{asset.digest}/train.jsonl"
    lines = list(whole().lines())
    for content_now in (b"".join(lines[:-1]), b"".join(lines[:-1]) + b"{}\n", b""):
        fake_azure.cloud.storage.put(place, content_now)
        with pytest.raises(UnexpectedAnswer, match="do not hold what was registered") as caught:
            asset.download(tmp_path / "data")
        assert caught.value.resource == asset.resource
        assert list((tmp_path / "data").iterdir()) == []


def test_files_that_are_gone_are_not_found(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """All of them, or one."""
    asset = workspace.register_data(whole())
    with pytest.raises(NotFound, match="data asset has no files"):
        placed(asset, "LocalUpload/none").download(tmp_path)
    fake_azure.cloud.storage.put("half/train.jsonl", b"".join(whole().lines()))
    with pytest.raises(UnexpectedAnswer, match="do not hold what was registered"):
        placed(asset, "half").download(tmp_path)
    assert list(tmp_path.iterdir()) == []


def placed(asset: DataAsset, folder: str) -> DataAsset:
    """An asset as if its files were elsewhere."""
    path = f"azureml://datastores/workspaceblobstore/paths/{folder}/"
    return attrs.evolve(asset, path=path, client=asset._client)


def test_somebody_elses_files_are_not_guessed_at(
    fake_azure: FakeAzure, workspace: pf.Workspace, tmp_path: Path
) -> None:
    """What is in them nobody says; not one is asked for."""
    ask(fake_azure.cloud, "PUT", "data/facts/versions/1", UNREGISTERED)
    found = workspace.data_asset("facts")
    fake_azure.journal.clear()
    with pytest.raises(ConfigurationError, match="does not say which conversations"):
        found.download(tmp_path)
    assert len(fake_azure.journal) == 0


def test_a_download_replaces_nothing_and_keeps_its_bound(workspace: pf.Workspace, tmp_path: Path) -> None:
    """As of a model."""
    asset = workspace.register_data(whole())
    with pytest.raises(InvalidParameter, match="data asset's files come to") as bound:
        asset.download(tmp_path, max_bytes=10)
    asset.download(tmp_path)
    with pytest.raises(InvalidParameter, match="is there already") as there:
        asset.download(tmp_path)
    assert (bound.value.name, there.value.name) == ("max_bytes", "folder")


def test_a_download_is_told(fake_azure: FakeAzure, tmp_path: Path) -> None:
    """Part by part."""
    heard = Heard()
    asset = fake_azure.workspace(on_event=heard).register_data(large())
    asset.download(tmp_path)
    told = heard.of(DownloadProgress)
    assert {event.resource for event in told} == {asset.resource}
    files = list((tmp_path / f"large-{asset.version}").iterdir())
    assert told[-1].received_bytes == told[-1].size_bytes == sum(path.stat().st_size for path in files)


# The object


def test_a_pickle_leaves_the_connection_behind(workspace: pf.Workspace, tmp_path: Path) -> None:
    """And the workspace gives it one again."""
    asset = workspace.register_data(whole())
    revived: DataAsset = pickle.loads(pickle.dumps(asset))
    assert revived == asset
    calls: list[Callable[[], object]] = [lambda: revived.id, lambda: revived.download(tmp_path)]
    for call in calls:
        with pytest.raises(ConfigurationError, match="not attached"):
            call()
    assert workspace.attach(revived).download(tmp_path).digest == whole().digest
