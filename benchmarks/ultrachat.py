"""Make parquet files shaped as those of HuggingFaceH4/ultrachat_200k: any number of rows, the same for a seed.

    python benchmarks/ultrachat.py FOLDER                 all four splits: 515,311 rows, about 3.5 GB of text
    python benchmarks/ultrachat.py FOLDER --rows 10000    a train_sft of 10,000 rows, and the others in proportion
    python benchmarks/ultrachat.py FOLDER --split train_sft --one-group    one row group a file

What is known of the real data is in its card: names, splits, row counts, bytes (data.md 0). Chosen, not known: 36 %
of the rows with a character outside ASCII, row groups of 1,000 rows, splits for generation that end on the user's
turn, and the text, which is made-up words.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["SCHEMA", "SPLITS", "Recipe", "make", "rows_in_proportion"]

SPLITS: Final[Mapping[str, int]] = {
    "train_sft": 207_865,
    "test_sft": 23_110,
    "train_gen": 256_032,
    "test_gen": 28_304,
}
"""The rows of each split, as the data set's card has them."""

SCHEMA: Final = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("messages", pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))),
    ]
)

_BATCH_ROWS = 1000
_POOL_STEP_BYTES = 4 * 1024 * 1024
_PAIRS = np.array([1, 2, 3, 4, 5, 6, 7])
_PAIRS_SHARE = np.array([0.10, 0.24, 0.30, 0.20, 0.10, 0.04, 0.02])
"""Pairs of turns in a conversation: 3.16 on average, which makes 6.3 messages."""
_QUESTION_BYTES, _ANSWER_BYTES = 280, 1640
_NOT_ASCII_SHARE = 0.36
_NOT_ASCII = ["“so be it”", "a café", "mañana —", "über", "日本語 text", "naïve 🙂"]


@attrs.frozen
class Recipe:
    """How files are made.

    Attributes:
        seed: Another one gives other texts.
        shards: The files of a large split; one of less than 100,000 rows is one file, unless this is given.
        one_group: Whether a file is one row group, and not groups of 1,000 rows. A file's rows are then held in
            memory until it is written.
        pool_bytes: How much text the messages are taken from; with less, they repeat each other more.
    """

    seed: int = 0
    shards: int | None = None
    one_group: bool = False
    pool_bytes: int = 48 * 1024 * 1024


def rows_in_proportion(train_sft: int) -> dict[str, int]:
    """Give the rows of all four splits where ``train_sft`` has so many."""
    return {name: max(1, round(rows * train_sft / SPLITS["train_sft"])) for name, rows in SPLITS.items()}


def make(
    folder: Path, splits: Mapping[str, int] = SPLITS, recipe: Recipe | None = None
) -> dict[str, list[Path]]:
    """Write ``folder/data/<split>-0000i-of-0000n-<hash>.parquet``, and give each split's files in order.

    Args:
        folder: Where; made if it is not there.
        splits: The rows of each split. One whose name ends in ``_gen`` ends its rows on the user's turn.
        recipe: How; :class:`Recipe` as it is, unless given.
    """
    recipe = recipe or Recipe()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    pool = _Pool(np.random.default_rng(recipe.seed), recipe.pool_bytes)
    return {name: _make_split(folder / "data", name, rows, pool, recipe) for name, rows in splits.items()}


def _make_split(folder: Path, name: str, rows: int, pool: _Pool, recipe: Recipe) -> list[Path]:
    shards = recipe.shards or (3 if rows > 100_000 else 1)
    paths = []
    for index in range(shards):
        held = rows // shards + (1 if index < rows % shards else 0)
        key = f"{name}/{index}/{recipe.seed}".encode()
        digest = hashlib.sha256(key).hexdigest()
        path = folder / f"{name}-{index:05d}-of-{shards:05d}-{digest[:16]}.parquet"
        dice = np.random.default_rng([recipe.seed, int(digest[:8], 16)])
        _write(
            path, _batches(held, pool, dice, answered=not name.endswith("_gen")), one_group=recipe.one_group
        )
        paths.append(path)
    return paths


def _write(path: Path, batches: Iterator[pa.RecordBatch], *, one_group: bool) -> None:
    with pq.ParquetWriter(path, SCHEMA) as writer:
        if one_group:
            table = pa.Table.from_batches(batches, SCHEMA)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            return
        for batch in batches:
            writer.write_batch(batch, row_group_size=_BATCH_ROWS)


def _batches(
    rows: int, pool: _Pool, dice: np.random.Generator, *, answered: bool
) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, _BATCH_ROWS):
        yield _batch(min(_BATCH_ROWS, rows - start), pool, dice, answered=answered)


def _batch(rows: int, pool: _Pool, dice: np.random.Generator, *, answered: bool) -> pa.RecordBatch:
    """Make up to 1,000 rows: a run of the pool's sentences for each turn."""
    turns = 2 * dice.choice(_PAIRS, size=rows, p=_PAIRS_SHARE) - (0 if answered else 1)
    offsets = np.concatenate([[0], np.cumsum(turns)]).astype(np.int32)
    first = offsets[:-1]
    is_answer = (np.arange(offsets[-1]) - np.repeat(first, turns)) % 2 == 1
    contents = pool.texts(np.where(is_answer, _ANSWER_BYTES, _QUESTION_BYTES), dice)
    marked = np.flatnonzero(dice.random(rows) < _NOT_ASCII_SHARE)
    for row, word in zip(marked, dice.integers(len(_NOT_ASCII), size=len(marked)), strict=True):
        at = first[row] + turns[row] // 2
        contents[at] += b" " + _NOT_ASCII[word].encode()
    prompts = [contents[at] for at in first]
    roles = pa.DictionaryArray.from_arrays(
        pa.array(is_answer.astype(np.int8)), pa.array(["user", "assistant"])
    )
    messages = pa.StructArray.from_arrays(
        [pa.array(contents, pa.string()), roles.cast(pa.string())],
        fields=list(SCHEMA.field("messages").type.value_type),
    )
    return pa.record_batch(
        [
            pa.array(prompts, pa.string()),
            pa.array([hashlib.sha256(prompt).hexdigest() for prompt in prompts], pa.string()),
            pa.ListArray.from_arrays(pa.array(offsets), messages, type=SCHEMA.field("messages").type),
        ],
        schema=SCHEMA,
    )


class _Pool:
    """Sentences of made-up words, of which each text takes a run."""

    def __init__(self, dice: np.random.Generator, size_bytes: int) -> None:
        letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
        share = 1 / np.arange(1, 27)
        spelled = dice.choice(letters, size=(30_000, 10), p=share / share.sum())
        lengths = dice.integers(2, 11, size=30_000)
        words = np.array(["".join(each[:length]) for each, length in zip(spelled, lengths, strict=True)])
        # Flatter than English, so that the files are compressed to 53 % of the text, as the real ones are.
        commonness = 1 / np.arange(1, 30_001) ** 1.1
        commonness /= commonness.sum()
        sentences: list[bytes] = []
        for _ in range(max(1, size_bytes // _POOL_STEP_BYTES)):
            said = words[dice.choice(30_000, size=_POOL_STEP_BYTES // 7, p=commonness)].tolist()
            told = (" ".join(said[at : at + 12]).capitalize() for at in range(0, len(said), 12))
            sentences += [f"{each}.".encode("ascii") for each in told]
        self._text = b" ".join(sentences)
        self._starts = np.concatenate([[0], np.cumsum([len(each) + 1 for each in sentences])])

    def texts(self, sizes: np.ndarray, dice: np.random.Generator) -> list[bytes]:
        """Give texts that have about these sizes, and each begin and end with a sentence."""
        wanted = np.maximum(40, dice.gamma(2.0, sizes / 2.0)).astype(np.int64)
        last = len(self._starts) - 1
        begins = dice.integers(0, last // 2, size=len(sizes)) + last // 8
        starts = self._starts[begins]
        ends = self._starts[np.minimum(np.searchsorted(self._starts, starts + wanted), last)]
        text = self._text
        return [text[start : end - 1] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def main(arguments: list[str]) -> int:
    """Make the files that the command line asks for, and print one line each."""
    parser = argparse.ArgumentParser(description="Make parquet files shaped as those of ultrachat_200k.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=SPLITS["train_sft"], help="rows of train_sft")
    parser.add_argument(
        "--split", action="append", choices=list(SPLITS), help="only this one; may be repeated"
    )
    parser.add_argument("--shards", type=int, help="files a split")
    parser.add_argument("--one-group", action="store_true", help="one row group a file")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    splits = rows_in_proportion(asked.rows)
    wanted = {name: splits[name] for name in asked.split or splits}
    for name, paths in make(asked.folder, wanted, Recipe(asked.seed, asked.shards, asked.one_group)).items():
        for path in paths:
            print(f"{name}: {path} {path.stat().st_size / 1e6:,.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
