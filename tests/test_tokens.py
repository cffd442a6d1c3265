"""Counting tokens: by every kind of tokenizer that people have, and by the estimate, whose error is measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizer import tiny
from tokenizers import Tokenizer

from phi_finetune.chat_dataset import sample_conversations
from phi_finetune.chat_dataset.tokens import (
    TEXT_ERROR,
    TOTAL_ERROR,
    Encoded,
    TokenCount,
    count_tokens,
    estimator,
    reader,
)
from phi_finetune.errors import InvalidParameter, MissingDependency

TEXT = "<|user|>Hello there<|end|>"


def plain_ids(text: str) -> list[int]:
    """What the tiny tokenizer makes of a text, and nothing added."""
    return list(tiny().encode(text, add_special_tokens=False).ids)


class LikeTransformers:
    """A fast tokenizer of transformers: it holds another, and adds tokens unless told not to."""

    backend_tokenizer = tiny()

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return list(tiny().encode(text, add_special_tokens=add_special_tokens).ids)


class LikeSlowTransformers:
    """One written in Python, which tells no places."""

    def encode(self, text: str, text_pair: str | None = None, add_special_tokens: bool = True) -> list[int]:
        return list(tiny().encode(text, add_special_tokens=add_special_tokens).ids)


class LikeTiktoken:
    """One that adds nothing, and has no such option."""

    def encode(self, text: str) -> list[int]:
        return plain_ids(text)


def with_places(text: str) -> Sequence[tuple[int, int, int]]:
    """A function of the user's own."""
    found = tiny().encode(text, add_special_tokens=False)
    return [(token, *place) for token, place in zip(found.ids, found.offsets, strict=True)]


@pytest.mark.parametrize(
    ("tokenizer", "tells_places"),
    [
        (tiny(), True),
        (LikeTransformers(), True),
        (LikeSlowTransformers(), False),
        (LikeTiktoken(), False),
        (with_places, True),
        (plain_ids, False),
        (lambda text: tiny().encode(text, add_special_tokens=False), True),
    ],
)
def test_every_kind_of_tokenizer_counts_alike(tokenizer: Tokenizer, tells_places: bool) -> None:
    """Objects of three packages, and functions that give ids, places or encodings; the text's own tokens only."""
    expected = tiny().encode(TEXT, add_special_tokens=False)
    starts = tuple(start for start, _ in expected.offsets)
    assert reader(tokenizer)(TEXT) == Encoded(len(expected.ids), starts if tells_places else None)
    assert count_tokens(TEXT, tokenizer) == TokenCount(len(expected.ids), exact=True)
    assert count_tokens("", tokenizer) == TokenCount(0, exact=True)


def test_a_models_folder_is_a_tokenizer(tmp_path: Path) -> None:
    """As a downloaded model has it, or the file itself; a cut and a filling written in it are not obeyed."""
    cutting = Tokenizer.from_str(tiny().to_str())
    cutting.enable_truncation(3)
    cutting.enable_padding(length=50)
    cutting.save(str(tmp_path / "tokenizer.json"))
    for tokenizer in (tmp_path, str(tmp_path), tmp_path / "tokenizer.json", cutting):
        assert count_tokens(TEXT, tokenizer).value == len(plain_ids(TEXT)) > 3
    assert cutting.truncation is not None  # the user's own is left as it was


@pytest.mark.parametrize("content", ["", "[]", '{"model": 1}', "\x00\xff"])
def test_a_file_that_is_no_tokenizer(tmp_path: Path, content: str) -> None:
    """The error names the file."""
    file = tmp_path / "tokenizer.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidParameter, match="describes no tokenizer"):
        count_tokens(TEXT, tmp_path)


@pytest.mark.parametrize("tokenizer", [3, object(), lambda text: text, lambda text: 5])
def test_what_is_no_tokenizer(tokenizer: object) -> None:
    """What cannot be asked, and what answers with no tokens."""
    with pytest.raises(InvalidParameter, match="This is no tokenizer"):
        count_tokens(TEXT, tokenizer)  # type: ignore[arg-type]


def test_a_folder_without_one(tmp_path: Path) -> None:
    """It says which file it looks for."""
    with pytest.raises(InvalidParameter, match=r"no tokenizer at .*") as caught:
        count_tokens(TEXT, tmp_path)
    assert "tokenizer.json" in str(caught.value.allowed)


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder needs it; the estimate and the user's own function do not."""
    tiny().save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependency, match=r"phi-finetune\[tokens\]"):
        count_tokens(TEXT, tmp_path)
    assert count_tokens(TEXT).value > 0
    assert count_tokens(TEXT, lambda text: [1, 2]).value == 2


# The estimate. The counts are those of cl100k, o200k and Llama 2's tokenizer, made with js-tiktoken 1.0.21 and
# llama-tokenizer-js 1.2.2, which give the ids that microsoft/onnxruntime-extensions keeps for Phi-4, Phi-4-mini
# and Phi-3.
KNOWN = json.loads((Path(__file__).parent / "token_counts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vocabulary", ["llama", "cl100k", "o200k"])
def test_the_estimate_is_within_its_error(vocabulary: str) -> None:
    """Of the sample's texts of 20 tokens and more, nine in ten are nearer than is said, and all together far more."""
    count = estimator(vocabulary)  # type: ignore[arg-type]
    texts = [turn.content for row in sample_conversations() for turn in row.messages]
    pairs = list(zip(map(count, texts), KNOWN[vocabulary], strict=True))
    near = [abs(guess / known - 1) <= TEXT_ERROR for guess, known in pairs if known >= 20]
    assert len(near) > 300
    assert sum(near) / len(near) >= 0.9
    assert abs(sum(guess for guess, _ in pairs) / sum(KNOWN[vocabulary]) - 1) < TOTAL_ERROR / 2


@pytest.mark.parametrize(
    ("text", "known"),
    [  # llama, cl100k, o200k
        ("Съешь ещё этих мягких французских булок, да выпей же чаю.", (22, 36, 19)),
        ("いろはにほへと散りぬるを我が世誰ぞ常ならむ", (30, 29, 21)),
        ("The quick brown fox jumps over the lazy dog, and then it sleeps all afternoon.", (20, 17, 17)),
    ],
)
def test_other_scripts_are_not_taken_for_english(text: str, known: tuple[int, int, int]) -> None:
    """A quarter of the characters would be a third to twice of what it is."""
    for vocabulary, tokens in zip(("llama", "cl100k", "o200k"), known, strict=True):
        guess = count_tokens(text, vocabulary=vocabulary)  # type: ignore[arg-type]
        assert not guess.exact
        assert abs(guess.value - tokens) <= 0.4 * tokens


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_estimate_grows_with_the_text(text: str, more: str) -> None:
    """It is no number below 0, 0 for nothing only, and a special token is one token."""
    count = estimator("cl100k")
    assert (count(text) > 0) == bool(text)
    if "<" not in text + more and "|" not in text + more:
        assert count(text + "<|end|>" + more) == pytest.approx(count(text + more) + 1)


def test_a_count_shows_its_error() -> None:
    """About, where it is an estimate."""
    assert str(TokenCount(12345, exact=True)) == "12,345"
    assert str(count_tokens("a" * 1000)) == "about 151 (± 35)"
    assert count_tokens("") == TokenCount(0, exact=False, error=0)
