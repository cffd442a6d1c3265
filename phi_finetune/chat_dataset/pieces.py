"""Where the tokens of a prompt begin: by the model's own tokenizer, or by words that stand for tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import attrs

from phi_finetune.catalog.chat_templates import Vocabulary
from phi_finetune.chat_dataset.tokens import SPECIAL_TOKEN, Counter, Encoded, Tokenizer, estimator, reader
from phi_finetune.chat_dataset.written import Part

__all__ = ["Piece", "exact_pieces", "rough_pieces"]

_WORDS = re.compile(r"<\|[^|<>]{1,40}\|>|\s*(?:[^\s<]|<(?!\|))+|\s+|<")


@attrs.frozen
class Piece:
    """A token, or a word that comes to some.

    Attributes:
        start: Where it begins in the prompt, in characters.
        tokens: How many tokens it comes to; 1 for a token.
    """

    start: int
    tokens: float


def exact_pieces(parts: Sequence[Part], tokenizer: Tokenizer) -> list[Piece]:
    """Give a prompt's tokens.

    A tokenizer that does not tell places counts each part on its own, and words share its tokens.
    """
    encode = reader(tokenizer)
    whole = encode("".join(part.text for part in parts))
    if whole.starts is not None:
        return [Piece(start, 1) for start in whole.starts]
    return list(_spread(parts, _counter(encode)))


def rough_pieces(parts: Sequence[Part], vocabulary: Vocabulary) -> list[Piece]:
    """Give a prompt's words, each with the tokens that it is estimated to come to."""
    return list(_spread(parts, estimator(vocabulary)))


def _counter(encode: Callable[[str], Encoded]) -> Counter:
    return lambda text: encode(text).count


def _spread(parts: Sequence[Part], count: Counter) -> Iterator[Piece]:
    """Spread each part's tokens over its words: one to each special token, the others by length."""
    begin = 0
    for part in parts:
        words = list(_WORDS.finditer(part.text))
        special = [word for word in words if SPECIAL_TOKEN.fullmatch(word.group())]
        characters = len(part.text) - sum(len(word.group()) for word in special)
        rate = max(0.0, count(part.text) - len(special)) / max(1, characters)
        for word in words:
            is_special = SPECIAL_TOKEN.fullmatch(word.group()) is not None
            yield Piece(begin + word.start(), 1 if is_special else rate * len(word.group()))
        begin += len(part.text)
