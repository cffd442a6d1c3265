"""Data sets of the Hugging Face hub, from a loopback server that speaks its API."""

from __future__ import annotations

import errno
import gzip
import io
import json
import logging
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import HubRepo, HubServer, hub_server
from huggingface_hub import constants
from hypothesis import example, given
from hypothesis import strategies as st

from phi_finetune.chat_dataset import ChatDataset, shards
from phi_finetune.chat_dataset.hub import HubSplits, resolve, rows_of_percent
from phi_finetune.errors import (
    ConfigurationError,
    InvalidData,
    InvalidParameter,
    PhiFinetuneError,
    ServiceError,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from phi_finetune.events import DownloadProgress, Event

NAME = "HuggingFaceH4/ultrachat_200k"
TOKEN = "hf_canary0123456789ABCDEFGHIJKLMNOP"
CARD = """---
license: mit
dataset_info:
  config_name: default
  splits:
  - name: train_sft
    num_bytes: 1
    num_examples: 300
configs:
- config_name: default
  data_files:
  - split: train_sft
    path: data/train_sft-*
  - split: test_sft
    path: data/test_sft-*
  - split: train_gen
    path: data/train_gen-*
  - split: test_gen
    path: data/test_gen-*
---
# UltraChat
"""

waits_as_asked = pytest.mark.skipif(
    tuple(map(int, version("huggingface-hub").split(".")[:2])) < (2, 4),
    reason="earlier clients are less patient with a busy hub",
)


def parquet(rows: int, *, start: int = 0, group: int = 10) -> bytes:
    """A file of rows that are numbered."""
    out = io.BytesIO()
    pq.write_table(
        pa.table({"prompt_id": [str(start + row) for row in range(rows)]}), out, row_group_size=group
    )
    return out.getvalue()


def shard(split: str, index: int, count: int) -> str:
    """The name that the hub gives a shard."""
    return f"data/{split}-{index:05d}-of-{count:05d}-{'0123456789abcdef'[index:]}.parquet"


def ultrachat() -> HubRepo:
    """A small ultrachat_200k: four splits, train_sft in three files of 100 rows."""
    files = {"README.md": CARD.encode(), ".gitattributes": b""}
    for index in range(3):
        files[shard("train_sft", index, 3)] = parquet(100, start=100 * index)
        files[shard("train_gen", index, 3)] = parquet(5)
    files[shard("test_sft", 0, 1)] = parquet(40)
    files[shard("test_gen", 0, 1)] = parquet(5)
    return HubRepo(files, large={path for path in files if path.endswith(".parquet")})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What huggingface_hub would have waited between two sends; nobody waits (utils/_http.py calls time.sleep)."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> Iterator[HubServer]:
    """A hub with a small ultrachat_200k, and an empty cache of this test's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with hub_server() as server:
        server.repos[NAME] = ultrachat()
        yield server


def load(hub: HubServer, repo: str | Path = NAME, **options: Any) -> HubSplits:
    """Resolve a data set of the loopback hub."""
    return resolve(repo, endpoint=hub.endpoint, **options)


def rows_of(found: HubSplits, split: Any = "train") -> list[str]:
    """The rows that a split came to."""
    one = found.splits[split]
    return [
        row
        for batch in shards.batches(shards.plan(one.paths, one.rows))
        for row in batch.column("prompt_id").to_pylist()
    ]


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 sets when huggingface_hub is imported."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def told(error: PhiFinetuneError) -> str:
    """All that an error tells, its chain included."""
    return "\n".join([*traceback.format_exception(error), repr(vars(error))])


# What is found and fetched


def test_the_four_splits_of_ultrachat_map_by_name(hub: HubServer) -> None:
    """Train is train_sft, test is test_sft; the splits for generation are not touched."""
    found = load(hub)
    assert {ours: one.name for ours, one in found.splits.items()} == {
        "train": "train_sft",
        "test": "test_sft",
    }
    assert rows_of(found) == [str(row) for row in range(300)]
    assert len(rows_of(found, "test")) == 40
    assert not any("_gen" in each.path for each in hub.asked)


def test_the_commit_and_the_licence_are_kept(hub: HubServer) -> None:
    """A manifest can name them."""
    found = load(hub)
    assert (found.repo, found.revision, found.license) == (NAME, hub.repos[NAME].commit, "mit")


def test_only_the_files_that_hold_the_rows_are_fetched(hub: HubServer) -> None:
    """5 % of train_sft are in its first file; the others' footers are enough to know that."""
    found = load(hub, percent=5)
    assert rows_of(found) == [str(row) for row in range(15)]
    assert hub.fetched() == ["README.md", shard("train_sft", 0, 3)[5:], shard("test_sft", 0, 1)[5:]]


def test_rows_count_no_further_than_needed(hub: HubServer) -> None:
    """With rows= the footers after the last file wanted are not asked for."""
    found = load(hub, rows=101, splits={"train": "train_sft"})
    assert rows_of(found) == [str(row) for row in range(101)]
    assert hub.ranged() == [shard("train_sft", index, 3)[5:] for index in (0, 1)]
    assert [path.name for path in found.splits["train"].paths] == hub.ranged()


def test_more_rows_than_there_are_are_all(hub: HubServer) -> None:
    """As head() does."""
    assert len(rows_of(load(hub, rows=1000))) == 300


def test_a_split_of_generation_can_be_asked_for(hub: HubServer) -> None:
    """A mapping names any split, and only what it names is taken."""
    found = load(hub, splits={"train": "train_gen", "validation": "test_sft"})
    assert {ours: one.name for ours, one in found.splits.items()} == {
        "train": "train_gen",
        "validation": "test_sft",
    }


def test_what_was_fetched_is_not_fetched_again(hub: HubServer) -> None:
    """The cache of huggingface_hub is used, and cached files are counted where they are."""
    load(hub)
    hub.asked.clear()
    load(hub, percent=50)
    assert (hub.fetched(), hub.ranged()) == ([], [])


def test_a_hub_that_gives_no_ranges_is_counted_by_whole_files(hub: HubServer) -> None:
    """Some mirrors do not give a part of a file."""
    hub.ranges = False
    assert len(rows_of(load(hub, percent=10))) == 30
    assert {shard("train_sft", index, 3)[5:] for index in range(3)} < set(hub.fetched())


def test_a_footer_longer_than_the_first_try_is_asked_for_whole(hub: HubServer) -> None:
    """A footer grows with the number of row groups."""
    path = shard("train_sft", 0, 3)
    hub.repos[NAME].files[path] = parquet(4000, group=4)
    assert len(rows_of(load(hub, percent=50))) == 2100
    assert hub.ranged().count(path[5:]) == 2


def test_the_parts_of_a_file_are_told(hub: HubServer) -> None:
    """Progress goes to the listener, and nothing to the screen."""
    heard: list[Event] = []
    load(hub, splits={"train": "test_sft"}, on_event=heard.append)
    assert [event for event in heard if event.resource.endswith("parquet")] == [
        DownloadProgress(f"data set {NAME}, {shard('test_sft', 0, 1)}", received_bytes=size, size_bytes=size)
        for size in [len(hub.repos[NAME].files[shard("test_sft", 0, 1)])]
    ]


def test_nothing_is_printed(hub: HubServer, capfd: pytest.CaptureFixture[str]) -> None:
    """The bars of huggingface_hub stay away, without its switch for all its users being touched."""
    load(hub)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/convert/parquet", None])
def test_a_revision_is_looked_up_once(hub: HubServer, revision: str | None) -> None:
    """All files are then of its commit."""
    repo = hub.repos[NAME]
    repo.branches = {"v1.0", "refs/convert/parquet"}
    assert load(hub, revision=revision).revision == repo.commit
    data = [each.path for each in hub.asked if each.path.endswith(".parquet") and "/resolve/" in each.path]
    assert data
    assert all(f"/resolve/{repo.commit}/" in path for path in data)


def test_a_commit_is_a_revision(hub: HubServer) -> None:
    """Who wants the same files next year gives the hash."""
    commit = hub.repos[NAME].commit
    assert load(hub, revision=commit).revision == commit


def test_other_formats_are_given_with_their_paths(hub: HubServer) -> None:
    """A reader of JSON lines counts the rows itself."""
    lines = b'{"messages": []}\n' * 3
    hub.repos["a/lines"] = HubRepo({"train.jsonl": lines, "test.jsonl.gz": b"", "dataset_infos.json": b"{}"})
    found = load(hub, "a/lines", percent=50)
    train = found.splits["train"]
    assert (train.format, train.rows, train.percent) == ("json-lines", None, 50)
    assert train.paths[0].read_bytes() == lines
    assert found.splits["test"].paths[0].name == "test.jsonl.gz"
    assert load(hub, "a/lines", rows=2).splits["train"].rows == 2


# Who may see it


def test_a_token_opens_a_private_data_set_and_goes_nowhere_else(hub: HubServer) -> None:
    """The CDN gets no token: its address is signed (file_download.py)."""
    hub.repos[NAME].token = TOKEN
    found = load(hub, token=TOKEN, percent=5)
    assert len(rows_of(found)) == 15
    assert {each.authorization for each in hub.asked if "/cdn/" not in each.path} == {f"Bearer {TOKEN}"}
    cdn = [each for each in hub.asked if "/cdn/" in each.path]
    assert {each.range is None for each in cdn} == {True, False}
    assert {each.authorization for each in cdn} == {None}


def test_the_stored_login_opens_it_too(hub: HubServer, tmp_path: Path) -> None:
    """As ``hf auth login`` leaves it."""
    hub.repos[NAME].token = TOKEN
    (tmp_path / "token").write_text(TOKEN)
    assert load(hub, percent=5).license == "mit"


@pytest.mark.parametrize(
    ("gated", "token", "what", "then"),
    [
        (False, None, "it is private", "hf auth login"),
        (False, "hf_canary_that_has_expired_0000000000", "refused the token", "still valid"),
        (True, None, "gated", "ask for access"),
        (True, "hf_canary_that_has_no_access_000000000", "gated", "ask for access"),
    ],
)
def test_a_closed_data_set_says_how_it_opens(
    hub: HubServer, gated: bool, token: str | None, what: str, then: str
) -> None:
    """And the token that was tried is told nowhere."""
    hub.repos[NAME].token, hub.repos[NAME].gated = TOKEN, gated
    with pytest.raises(ConfigurationError, match=what) as caught:
        load(hub, token=token)
    assert then in str(caught.value)
    assert NAME in str(caught.value)
    assert caught.value.__context__ is None
    assert "canary" not in told(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_token_without_the_right_is_told(hub: HubServer) -> None:
    """403 without a code: a fine-grained token that does not cover the data set."""
    hub.fail("/revision/", 403)
    with pytest.raises(ConfigurationError, match="lacks the right"):
        load(hub, token=TOKEN)


@waits_as_asked
def test_no_token_is_logged(hub: HubServer, caplog: pytest.LogCaptureFixture) -> None:
    """Not by us, and not by what we use."""
    caplog.set_level(logging.DEBUG)
    hub.repos[NAME].token = TOKEN
    hub.fail("/tree/", 503)
    load(hub, token=TOKEN, percent=5)
    assert not any("canary" in record.getMessage() for record in caplog.records)


# What is not there


def test_a_data_set_that_is_not_there_is_told(hub: HubServer) -> None:
    """The hub answers 401 for it, as for a private one."""
    with pytest.raises(ConfigurationError, match="no such data set, or it is private") as caught:
        load(hub, "nobody/nothing")
    assert caught.value.status_code == 401
    assert "nobody/nothing" in str(caught.value)


def test_a_revision_that_is_not_there_is_told(hub: HubServer) -> None:
    """By its name."""
    with pytest.raises(ConfigurationError, match="no revision 'v9'"):
        load(hub, revision="v9")


def test_a_folder_that_is_not_there_is_told(hub: HubServer) -> None:
    """What looks like a path is not asked of the hub."""
    for path in ("./data", "/no/such/folder", "~/nothing_here", "a/b/c"):
        with pytest.raises(ConfigurationError, match="no such folder"):
            load(hub, path)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["a b", "-a/b-", "a..b"])
def test_what_is_no_name_is_refused(hub: HubServer, name: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidParameter, match="not the name of a data set"):
        load(hub, name)
    assert hub.asked == []


def test_a_file_that_vanished_is_told(hub: HubServer) -> None:
    """It was listed a moment ago."""
    path = shard("train_sft", 1, 3)
    hub.fail(f"/resolve/{hub.repos[NAME].commit}/{path}", 404, X_Error_Code="EntryNotFound")
    with pytest.raises(InvalidData, match="no such file") as caught:
        load(hub)
    assert caught.value.file == path


def test_a_missing_shard_is_named_before_anything_is_fetched(hub: HubServer) -> None:
    """Rows would be missing from the middle."""
    del hub.repos[NAME].files[shard("train_sft", 1, 3)]
    with pytest.raises(InvalidData, match="missing-shards") as caught:
        load(hub)
    assert "train_sft-00001-of-00003" in str(caught.value)
    assert hub.fetched() == ["README.md"]


def test_a_file_that_is_no_parquet_is_named(hub: HubServer) -> None:
    """Whatever its ending says."""
    hub.repos[NAME].files[shard("train_sft", 2, 3)] = b"version https://git-lfs.github.com/spec/v1\n"
    with pytest.raises(InvalidData, match="not-parquet") as caught:
        load(hub, percent=5)
    assert "train_sft-00002" in str(caught.value.file)


def test_a_percent_that_is_no_row_is_refused(hub: HubServer) -> None:
    """It would be an empty split, hours later."""
    with pytest.raises(InvalidParameter, match="1 % of the 40 rows of test_sft is no row"):
        load(hub, percent=1)


@pytest.mark.parametrize(
    "portion",
    [{"percent": 0}, {"percent": 101}, {"percent": float("nan")}, {"rows": 0}, {"rows": 1, "percent": 1}],
)
def test_a_portion_out_of_range_is_refused(hub: HubServer, portion: dict[str, Any]) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidParameter):
        load(hub, **portion)
    assert hub.asked == []


# A hub that is busy, or gone


@waits_as_asked
def test_a_busy_hub_is_asked_again_by_its_own_client(hub: HubServer, slept: list[float]) -> None:
    """As long apart as it asks, and a second more (utils/_http.py); each kind of request, and by one layer only."""
    repo = hub.repos[NAME]
    hub.fail("/revision/", 429, Retry_After="7")
    hub.fail("/tree/", 503)
    hub.fail(f"/cdn/{NAME}/{shard('test_sft', 0, 1)}", 429, Retry_After="3")
    assert len(rows_of(load(hub, splits={"train": "test_sft"}))) == 40
    assert slept == [8, 1, 4]
    assert sum(each.path.endswith(f"/tree/{repo.commit}") for each in hub.asked) == 1 + 4  # pages


@waits_as_asked
def test_a_hub_that_stays_busy_is_told(hub: HubServer, slept: list[float]) -> None:
    """After six sends, with when to come back."""
    hub.fail("/revision/", 429, times=100, Retry_After="60")
    with pytest.raises(ServiceUnreachable, match="too many requests") as caught:
        load(hub)
    assert "in 60 s" in str(caught.value)
    assert (len(hub.asked), slept) == (6, [61] * 5)


def test_a_hub_that_fails_is_told(hub: HubServer) -> None:
    """Also when it is a file that it fails at."""
    hub.fail("/resolve/", 500, times=100)
    with pytest.raises(ServiceUnreachable, match="answers 500") as caught:
        load(hub)
    assert "README.md" in str(caught.value)


def test_another_answer_is_told_as_it_is(hub: HubServer) -> None:
    """A status that means nothing in particular."""
    hub.fail("/tree/", 418)
    with pytest.raises(ServiceError, match="418"):
        load(hub)


@waits_as_asked
def test_no_connection_is_told(hub: HubServer, slept: list[float]) -> None:
    """With what works without one."""
    with pytest.raises(ServiceUnreachable, match="could not be reached") as caught:
        resolve(NAME, endpoint="http://127.0.0.1:9")
    assert "HF_ENDPOINT" in str(caught.value)
    assert "HF_HUB_OFFLINE" in str(caught.value)
    assert len(slept) == 5


def test_a_file_that_breaks_off_is_told(hub: HubServer) -> None:
    """After the client has tried to go on with it."""
    path = shard("test_sft", 0, 1)
    hub.repos[NAME].files[path] = bytes(100_000)
    hub.cut.add(path)
    hub.ranges = False
    with pytest.raises(ServiceUnreachable, match="broke off"):
        load(hub, splits={"train": "test_sft"})


def test_what_answers_with_a_page_is_no_hub(hub: HubServer) -> None:
    """A proxy that wants a log-in."""
    hub.html = True
    with pytest.raises(UnexpectedAnswer, match="not a Hugging Face hub"):
        load(hub)


@pytest.mark.parametrize(("number", "what"), [(errno.ENOSPC, "is full"), (errno.EACCES, "cannot be used")])
def test_a_cache_that_cannot_be_written_is_told(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    """With the setting that moves it."""
    replace = os.makedirs

    def refuse(path: Any, *args: Any, **named: Any) -> None:
        if "blobs" in str(path):
            raise OSError(number, os.strerror(number))
        replace(path, *args, **named)

    monkeypatch.setattr(os, "makedirs", refuse)
    with pytest.raises(ConfigurationError, match=what) as caught:
        load(hub)
    assert "HF_HOME" in str(caught.value)


# Offline


def test_offline_the_cache_is_used(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, the same commit, and nothing is asked."""
    first = load(hub)
    hub.asked.clear()
    go_offline(monkeypatch)
    again = load(hub)
    assert (again.revision, again.license) == (first.revision, "mit")
    assert rows_of(again) == rows_of(first)
    assert hub.asked == []


def test_offline_a_share_is_found_again(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its split's other files are not in the cache; how many rows they hold is in the card."""
    first = load(hub, percent=5)
    go_offline(monkeypatch)
    assert rows_of(load(hub, percent=5)) == rows_of(first)
    assert rows_of(load(hub, percent=5, revision=first.revision)) == rows_of(first)
    assert rows_of(load(hub, rows=7)) == rows_of(first)[:7]


def test_offline_a_branch_is_the_commit_that_it_was_last(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the cache has older ones; those are found by their hash."""
    repo = hub.repos[NAME]
    old = load(hub, percent=5).revision
    repo.files[shard("train_sft", 0, 3)] = parquet(100, start=1000)
    repo.files[".gitattributes"] = b"*.parquet"
    new = load(hub, percent=5).revision
    go_offline(monkeypatch)
    assert old != new
    for revision, first in ((None, "1000"), ("main", "1000"), (new, "1000"), (old, "0")):
        assert rows_of(load(hub, percent=5, revision=revision))[0] == first


def test_offline_a_larger_share_says_what_is_missing(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing is given in its place."""
    load(hub, percent=5)
    go_offline(monkeypatch)
    for portion in ({"percent": 50}, {"rows": 101}, {}):
        with pytest.raises(ServiceUnreachable, match="has not all") as caught:
            load(hub, **portion)
        assert "data/train_sft-00001-of-00003, data/train_sft-00002-of-00003 was" in str(caught.value)


def test_offline_without_the_cards_count_a_share_is_not_guessed(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The count of the rows at hand is not that of the split."""
    hub.repos[NAME].files["README.md"] = b"# UltraChat\n"
    load(hub, percent=5)
    go_offline(monkeypatch)
    with pytest.raises(ServiceUnreachable, match="has not all"):
        load(hub, percent=5)


@pytest.mark.parametrize("revision", [None, "v1.0"])
def test_offline_without_a_cache_is_told(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    """With nothing cached at all, and with another revision cached."""
    if revision is not None:
        load(hub)
    go_offline(monkeypatch)
    with pytest.raises(ServiceUnreachable, match="not in the Hugging Face cache") as caught:
        load(hub, revision=revision)
    assert "unset HF_HUB_OFFLINE" in str(caught.value)


def test_the_settings_of_the_environment_are_followed(hub: HubServer, tmp_path: Path) -> None:
    """A mirror, a cache and offline, set as for any user of huggingface_hub; and importing loads none of it."""
    code = f"""
import sys
from phi_finetune.chat_dataset.hub import resolve
assert not {{"huggingface_hub", "pyarrow", "datasets"}} & set(sys.modules)
print(len(resolve({NAME!r}, percent=5).splits["train"].paths))
"""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    for offline in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment | {"HF_HUB_OFFLINE": offline},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("1\n", "", 0)
    assert hub.fetched() == ["README.md", shard("train_sft", 0, 3)[5:], shard("test_sft", 0, 1)[5:]]


# A folder in the hub's place


def test_a_folder_laid_out_like_the_hub_is_read_where_it_is(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same rules, and nothing is copied or asked."""
    for path, content in hub.repos[NAME].files.items():
        (tmp_path / "ultrachat" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ultrachat" / path).write_bytes(content)
    found = load(hub, tmp_path / "ultrachat", percent=5)
    assert (found.revision, found.license) == (None, "mit")
    assert rows_of(found) == [str(row) for row in range(15)]
    assert found.splits["train"].paths == (tmp_path / "ultrachat" / shard("train_sft", 0, 3),)
    monkeypatch.chdir(tmp_path / "ultrachat" / "data")
    assert len(rows_of(load(hub, "."))) == 300
    assert hub.asked == []


def test_a_card_that_is_no_yaml_is_passed_over(tmp_path: Path) -> None:
    """The file names are enough."""
    (tmp_path / "train.parquet").write_bytes(parquet(3))
    for card in (b"---\nlicense: [\n---\n", b"---\n- mit\n---\n", b"---\n\xff\n---\n", b""):
        (tmp_path / "README.md").write_bytes(card)
        found = resolve(tmp_path)
        assert (found.license, rows_of(found)) == (None, ["0", "1", "2"])


# The rounding


@given(total=st.integers(0, 3_000_000), percent=st.integers(1, 100))
@example(total=207_865, percent=5)
@example(total=50, percent=1)
@example(total=150, percent=1)
def test_a_percent_is_rounded_as_datasets_rounds_it(total: int, percent: int) -> None:
    """The instruction that ``split="train[:5%]"`` is read as."""
    instruction = datasets.ReadInstruction.from_spec(f"train[:{percent}%]")
    [absolute] = instruction.to_absolute({"train": total})
    assert rows_of_percent(total, percent) == absolute.to


@given(total=st.integers(0, 3_000_000), percent=st.floats(0.001, 100))
def test_a_fraction_of_a_percent_is_rounded_as_datasets_rounds_it(total: int, percent: float) -> None:
    """Where only the long form of the instruction can say it."""
    instruction = datasets.ReadInstruction("train", to=percent, unit="%", rounding="closest")
    [absolute] = instruction.to_absolute({"train": total})
    assert rows_of_percent(total, percent) == absolute.to


@pytest.mark.parametrize("total", [1, 10, 150, 199, 1013])
def test_datasets_gives_as_many_rows_of_a_file(tmp_path: Path, total: int) -> None:
    """The whole way: ``load_dataset`` of a parquet file, at each percent."""
    (tmp_path / "train.parquet").write_bytes(parquet(total))
    # datasets refuses a slice that comes to no row.
    percents = [percent for percent in range(1, 101) if rows_of_percent(total, percent)]
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "train.parquet"),
        split=[f"train[:{percent}%]" for percent in percents],
        cache_dir=str(tmp_path / "cache"),
    )
    assert [len(each) for each in loaded] == [rows_of_percent(total, percent) for percent in percents]


@pytest.mark.parametrize(("rows", "problems"), [(1, []), (30, []), (31, [31]), (40, [31])])
def test_the_first_rows_of_lines_are_checked_and_no_others(
    tmp_path: Path, rows: int, problems: list[int]
) -> None:
    """Good ones are told many at once, of which only some may be wanted."""
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    lines = [json.dumps({"messages": talk}) + "\n" for _ in range(50)]
    lines[30] = "no JSON\n"
    (tmp_path / "train.jsonl").write_text("".join(lines))
    report = ChatDataset.from_hub(str(tmp_path), rows=rows).validate()
    found = [problem.row for problem in report.problems if problem.rule != "too-few-rows"]
    assert (report.rows, found) == ({"train": rows}, problems)


def test_a_fault_behind_the_first_rows_is_none_of_theirs(tmp_path: Path) -> None:
    """As where a compressed file breaks off further on."""
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    lines = "".join(json.dumps({"messages": talk, "prompt_id": str(row)}) + "\n" for row in range(20_000))
    whole = gzip.compress(lines.encode())
    (tmp_path / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    readable = ChatDataset.from_jsonl(tmp_path / "train.jsonl.gz").validate()
    assert [problem.rule for problem in readable.problems] == ["truncated-archive"]
    rows = readable.rows["train"] - 1
    report = ChatDataset.from_hub(str(tmp_path), rows=rows).validate()
    assert (report.rows, report.problems) == ({"train": rows}, ())
