"""The benchmark's data: as large as asked for, and shaped as what is known of ultrachat_200k (data.md 0)."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ultrachat

from phi_finetune.chat_dataset import shards
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.hub import resolve

ROWS = {"train_sft": 2500, "test_gen": 300}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two splits, of which one is in two files."""
    folder = tmp_path_factory.mktemp("ultrachat")
    return {
        **ultrachat.make(folder, {"train_sft": ROWS["train_sft"]}, ultrachat.Recipe(shards=2)),
        **ultrachat.make(folder, {"test_gen": ROWS["test_gen"]}, ultrachat.Recipe(pool_bytes=1)),
    }


def test_the_rows_are_shaped_as_the_card_says(made: dict[str, list[Path]]) -> None:
    """6.3 messages of 1,000 characters, 6,720 bytes in Arrow of which parquet takes 53 %, 36 % not all ASCII."""
    rows = [row for path in made["train_sft"] for row in pq.read_table(path).to_pylist()]
    messages = [message for row in rows for message in row["messages"]]
    assert len(messages) / len(rows) == pytest.approx(6.3, rel=0.03)
    assert sum(len(message["content"]) for message in messages) / len(messages) == pytest.approx(
        1000, rel=0.05
    )
    not_ascii = sum(not all(each["content"].isascii() for each in row["messages"]) for row in rows)
    assert not_ascii / len(rows) == pytest.approx(0.36, abs=0.04)
    in_arrow = sum(pq.read_table(path).nbytes for path in made["train_sft"])
    assert in_arrow / len(rows) == pytest.approx(1_397e6 / 207_865, rel=0.05)
    on_disk = sum(path.stat().st_size for path in made["train_sft"])
    assert on_disk / in_arrow == pytest.approx(0.53, abs=0.05)


def test_the_columns_are_those_of_the_card(made: dict[str, list[Path]]) -> None:
    """With the prompt as the first message, and its hash as the id."""
    assert shards.schema(made["train_sft"] + made["test_gen"]).equals(ultrachat.SCHEMA)
    for row in pq.read_table(made["train_sft"][0]).slice(0, 50).to_pylist():
        assert row["messages"][0] == {"content": row["prompt"], "role": "user"} or not row["prompt"].isascii()
        assert re.fullmatch("[0-9a-f]{64}", row["prompt_id"])


def test_the_rows_can_be_trained_on(made: dict[str, list[Path]]) -> None:
    """Turns alternate; those of a split for generation end on the user's."""
    for split, last in (("train_sft", "assistant"), ("test_gen", "user")):
        for row in pq.read_table(made[split][0]).to_pylist():
            assert Conversation.from_record(row).messages[-1].role == last


def test_the_files_are_found_as_the_hubs(made: dict[str, list[Path]]) -> None:
    """By name, whole, in groups of 1,000 rows."""
    folder = made["train_sft"][0].parents[1]
    found = resolve(folder, splits={"train": "train_sft", "test": "test_gen"}, percent=10)
    assert {ours: one.rows for ours, one in found.splits.items()} == {"train": 250, "test": 30}
    assert [pq.ParquetFile(path).metadata.num_row_groups for path in made["train_sft"]] == [2, 2]


def test_a_seed_gives_the_same_bytes_and_another_others(tmp_path: Path) -> None:
    """So that two runs of a benchmark read the same."""
    content = []
    for number, seed in enumerate((1, 1, 2)):
        [path] = ultrachat.make(
            tmp_path / str(number), {"test_sft": 20}, ultrachat.Recipe(seed, pool_bytes=1)
        )["test_sft"]
        content.append(path.read_bytes())
    assert content[0] == content[1] != content[2]


def test_a_file_can_be_one_row_group(tmp_path: Path) -> None:
    """The worst that a reader may meet (data.md 2.3)."""
    [path] = ultrachat.make(tmp_path, {"test_sft": 2100}, ultrachat.Recipe(one_group=True, pool_bytes=1))[
        "test_sft"
    ]
    assert pq.ParquetFile(path).metadata.num_row_groups == 1


def test_the_splits_keep_their_proportion() -> None:
    """The whole is the real data set's size."""
    assert ultrachat.rows_in_proportion(207_865) == dict(ultrachat.SPLITS)
    assert ultrachat.rows_in_proportion(2079) == {
        "train_sft": 2079,
        "test_sft": 231,
        "train_gen": 2561,
        "test_gen": 283,
    }
