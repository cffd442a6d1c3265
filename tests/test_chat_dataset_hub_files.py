"""Which of a repository's files are which split, by their names and the card."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.chat_dataset.hub_files import choose, find_splits, rows_by_card
from phi_finetune.chat_dataset.rules import RULES
from phi_finetune.errors import InvalidData, InvalidParameter


def found(*files: str, card: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """The files of each split, by its name in the repository."""
    return {name: list(split.files) for name, split in find_splits(files, card or {}).items()}


def chosen(*files: str, card: dict[str, Any] | None = None, wanted: Any = None) -> dict[str, str]:
    """What each of our splits is called in the repository."""
    return {ours: split.name for ours, split in choose("a/b", files, card or {}, wanted).items()}


def refusal(*files: str, card: dict[str, Any] | None = None, wanted: Any = None) -> InvalidData:
    """The error for a repository, which names it and a rule of ours."""
    with pytest.raises(InvalidData) as caught:
        choose("a/b", files, card or {}, wanted)
    assert caught.value.rule in RULES
    assert "a/b" in str(caught.value)
    assert caught.value.next_call
    return caught.value


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train_sft-00000-of-00001-a3ecf92756993583.parquet", "train_sft"),
        ("data/train-00000-of-00001.parquet", "train"),
        ("train-00000-of-00001.jsonl", "train"),
        ("data/train_sft.parquet", "train_sft"),
        ("train.jsonl.gz", "train"),
        ("train/0000.parquet", "train"),
        ("data/train/part-7.csv", "train"),
        ("default/train/0000.parquet", "default/train"),
        ("en/train-00000-of-00001.parquet", "en/train"),
    ],
)
def test_a_path_names_its_split(path: str, split: str) -> None:
    """By the shard's name, or the folder's, or its own."""
    assert found(path) == {split: [path]}


def test_what_is_no_data_is_left_out() -> None:
    """What ``datasets`` and git keep beside the data, and what is hidden."""
    assert (
        found(
            ".gitattributes",
            ".cache/huggingface/x.json",
            "README.md",
            "_old/train.parquet",
            "dataset_infos.json",
            "data/state.json",
            "images/cat.png",
        )
        == {}
    )


def test_splits_are_never_put_together() -> None:
    """``datasets`` 5.2.0 takes these two as one split named train (data.md 7)."""
    files = ("data/train_sft.parquet", "data/train_gen.parquet", "data/test_sft.parquet")
    assert found(*files).keys() == {"train_sft", "train_gen", "test_sft"}
    assert chosen(*files) == {"train": "train_sft", "test": "test_sft"}


def test_shards_stand_in_their_order() -> None:
    """Whatever order they are listed in."""
    files = [f"data/train-{index:05d}-of-00012.parquet" for index in range(12)]
    assert found(*reversed(files)) == {"train": files}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "train_sft", "test"], {"train": "train", "test": "test"}),
        (["train_sft", "train_gen"], {"train": "train_sft"}),
        (["train", "valid"], {"train": "train", "validation": "valid"}),
        (["train", "dev", "test_sft"], {"train": "train", "validation": "dev", "test": "test_sft"}),
        (["train", "validation_sft", "test_gen"], {"train": "train", "validation": "validation_sft"}),
        (["default/train", "default/test"], {"train": "default/train", "test": "default/test"}),
        (["train", "en/train"], {"train": "train"}),
    ],
)
def test_splits_are_chosen_by_habit(names: list[str], expected: dict[str, str]) -> None:
    """The exact name goes first, then the one for supervised training; nothing else is guessed."""
    assert chosen(*(f"{name}-00000-of-00001.parquet" for name in names)) == expected


@pytest.mark.parametrize(
    "names", [["train", "validation", "dev"], ["en/train", "de/train"], ["train", "valid_sft", "dev_sft"]]
)
def test_what_may_be_meant_twice_is_asked_back(names: list[str]) -> None:
    """With the names there are, and how to say one."""
    error = refusal(*(f"{name}-00000-of-00001.parquet" for name in names))
    assert error.rule == "unclear-split"
    assert str(names[-1]) in str(error)
    assert "splits=" in str(error)


def test_a_repository_without_train_lists_what_it_has() -> None:
    """So that the mapping can be written down."""
    error = refusal("data/prefs.parquet", "data/train_prefs.parquet")
    assert error.rule == "no-such-split"
    assert "prefs, train_prefs" in str(error)
    assert 'splits={"train": "train_prefs"}' in str(error)


def test_a_repository_without_data_is_refused() -> None:
    """It may be one of images."""
    assert refusal("README.md", "cat.png").rule == "no-data-files"


def test_a_mapping_names_splits_or_patterns() -> None:
    """A pattern's ``*`` stays in its folder."""
    files = ("x/a.jsonl", "x/b.jsonl", "x/y/c.jsonl", "z.jsonl")
    assert chosen(*files, wanted={"train": "x", "test": "z"}) == {"train": "x", "test": "z"}
    by_pattern = choose("a/b", files, {}, {"train": "x/*.jsonl", "test": "**/c.jsonl"})
    assert {ours: split.files for ours, split in by_pattern.items()} == {
        "train": files[:2],
        "test": files[2:3],
    }


@pytest.mark.parametrize(
    "wanted", [{"train": "trainn"}, {"train": "no/*.parquet"}, {"train": "train", "test": "q"}]
)
def test_a_mapping_to_nothing_lists_what_there_is(wanted: dict[str, str]) -> None:
    """A slip of the pen, or another data set's names."""
    error = refusal("train.parquet", "eval.parquet", wanted=wanted)
    assert error.rule == "no-such-split"
    assert "eval, train" in str(error)


@pytest.mark.parametrize("wanted", [{}, {"test": "test"}, {"train": "train", "valid": "dev"}])
def test_a_mapping_without_train_or_of_other_names_is_refused(wanted: Any) -> None:
    """The left side is this library's names."""
    with pytest.raises(InvalidParameter, match="splits"):
        choose("a/b", ["train.parquet", "dev.parquet", "test.parquet"], {}, wanted)


def test_two_formats_of_a_split_are_not_mixed() -> None:
    """Their rows may be the same ones twice."""
    error = refusal("train/a.jsonl", "train/a.parquet")
    assert error.rule == "mixed-formats"
    assert chosen("train/a.jsonl", "train/a.parquet", wanted={"train": "**/*.parquet"}) == {
        "train": "**/*.parquet"
    }


@given(count=st.integers(1, 40), data=st.data())
def test_each_missing_shard_is_named(count: int, data: st.DataObject) -> None:
    """And of a whole set none is."""
    files = [f"data/train-{index:05d}-of-{count:05d}-0123abcd.parquet" for index in range(count)]
    kept = data.draw(st.lists(st.sampled_from(files), min_size=1, unique=True))
    missing = [file.rpartition("-")[0] for file in files if file not in kept]
    if not missing:
        assert chosen(*kept) == {"train": "train"}
        return
    error = refusal(*kept)
    assert error.rule == "missing-shards"
    assert error.file == missing[0]
    assert all(name in str(error) for name in missing[:10])


def test_a_shard_that_is_there_twice_is_refused() -> None:
    """Two uploads were mixed: which is the right one, only its owner knows."""
    twice = ("data/train-00000-of-00001-aaaa.parquet", "data/train-00000-of-00001-bbbb.parquet")
    two_sets = ("data/train-00000-of-00001.parquet", "data/train-00001-of-00002.parquet")
    for files in (twice, two_sets):
        assert refusal(*files).rule == "unclear-split"


def test_of_a_cache_the_last_shards_may_be_absent() -> None:
    """But not one between."""
    files = [f"data/train-{index:05d}-of-00004.parquet" for index in range(4)]
    split = choose("a/b", files[:2], {}, None, partial=True)["train"]
    assert split.files == tuple(files[:2])
    assert split.absent == ("data/train-00002-of-00004", "data/train-00003-of-00004")
    with pytest.raises(InvalidData, match="missing-shards"):
        choose("a/b", [files[0], files[2]], {}, None, partial=True)


SHARDS = ("data/train_sft-00000-of-00001.parquet", "data/train_gen-00000-of-00001.parquet")


@pytest.mark.parametrize(
    "data_files",
    [
        [{"split": "train", "path": "data/train_sft-*"}],
        [{"split": "train", "path": ["data/train_sft-*", "none/*"]}],
        {"train": "data/train_sft-*"},
        "data/train_sft-*",
        ["data/train_sft-*.parquet"],
        "**/train_sft-*",
        "./data/train_sft-*",
    ],
)
def test_the_card_says_which_files_a_split_has(data_files: object) -> None:
    """In any of the forms that the hub takes."""
    card = {"configs": [{"config_name": "sft", "data_files": data_files}]}
    assert found(*SHARDS, card=card) == {"train": [SHARDS[0]]}


def test_a_configuration_that_is_not_the_default_is_named_with_its_split() -> None:
    """The default one is chosen from; another by a mapping."""
    card = {
        "configs": [
            {"config_name": "gen", "data_files": {"train": "data/train_gen-*"}},
            {
                "config_name": "sft",
                "default": True,
                "data_dir": "data",
                "data_files": {"train": "train_sft-*"},
            },
        ]
    }
    assert found(*SHARDS, card=card) == {"gen/train": [SHARDS[1]], "train": [SHARDS[0]]}
    assert chosen(*SHARDS, card=card) == {"train": "train"}
    assert chosen(*SHARDS, card=card, wanted={"train": "gen/train"}) == {"train": "gen/train"}


def test_a_card_whose_patterns_find_nothing_is_passed_over() -> None:
    """A folder may hold only a part of what its README tells of."""
    card = {"configs": [{"config_name": "default", "data_files": "old/*"}]}
    assert found(*SHARDS, card=card).keys() == {"train_gen", "train_sft"}


@given(
    card=st.dictionaries(
        st.sampled_from(["configs", "dataset_info"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["config_name", "data_files", "split", "path", "data_dir", "splits", "name"]
                    ),
                    inner,
                )
            ),
        ),
    )
)
def test_a_card_of_any_form_is_read(card: dict[str, Any]) -> None:
    """People write them by hand."""
    assert {path for paths in found(*SHARDS, card=card).values() for path in paths} <= set(SHARDS)
    rows_by_card(card, "train_sft")


def test_the_rows_stand_in_the_card() -> None:
    """By split, and by configuration where there are more."""
    splits = [{"name": "train", "num_examples": 7}]
    assert rows_by_card({"dataset_info": {"splits": splits}}, "train") == 7
    card = {"dataset_info": [{"config_name": "en", "splits": splits}]}
    assert (rows_by_card(card, "en/train"), rows_by_card(card, "de/train")) == (7, None)
    assert rows_by_card({}, "train") is None
