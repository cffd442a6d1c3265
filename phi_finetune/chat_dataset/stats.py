"""What a data set comes to: rows, turns, characters and tokens, and how long its rows are.

One pass over the rows counts rows, turns and characters exactly. Tokens, and how lengths are spread, come from all
rows of a small split and from a random sample of a large one, with 95 % intervals.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Protocol, cast, get_args

import attrs

from phi_finetune.catalog import chat_templates
from phi_finetune.catalog.chat_templates import ChatTemplate, Turn
from phi_finetune.chat_dataset.conversation import Conversation, Message, Role
from phi_finetune.chat_dataset.intervals import Figure, mean, percentile, ratio, share
from phi_finetune.chat_dataset.row_tokens import counter_of, cut_at
from phi_finetune.chat_dataset.stats_views import DatasetStats, RoleStats, SplitStats, Spread
from phi_finetune.chat_dataset.tokens import TOTAL_ERROR, Counter, Tokenizer, estimator
from phi_finetune.errors import InvalidParameter

__all__ = ["SAMPLE", "SAMPLE_WITH_TOKENIZER", "stats", "turns_of_blocks", "turns_of_rows"]

SAMPLE, SAMPLE_WITH_TOKENIZER = 5_000, 2_000
"""How many rows of a split are looked at, unless told: a tokenizer takes about a millisecond a row (data.md 5)."""

_ROLES: tuple[Role, ...] = get_args(Role)


def turns_of_rows(rows: Iterable[Conversation]) -> Iterator[Sequence[Turn]]:
    """Give the turns of each row, as :func:`stats` takes them."""
    return (row.messages for row in rows)


def turns_of_blocks(blocks: Iterable[bytes]) -> Iterator[Sequence[Turn]]:
    """Give the turns of each row, from blocks of whole canonical JSON lines, which were checked."""
    decode = _lines_decoder()
    for block in blocks:
        for row in decode(block):
            yield row.messages


def stats(
    splits: Mapping[str, Iterable[Sequence[Turn]]],
    *,
    model: str | ChatTemplate | None = None,
    tokenizer: Tokenizer | None = None,
    max_seq_length: int | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> DatasetStats:
    """Measure a data set in one pass, and in memory that does not grow with it.

    Args:
        splits: Each split's rows, each row as its turns.
        model: The model's name or chat template: a row's tokens are then those of the text that training makes
            of it. Without one, they are those of what is said.
        tokenizer: The model's tokenizer; without one, tokens are estimated.
        max_seq_length: Where training cuts a row, in tokens; None and -1 are the model's context length.
            Without a model and a length, nothing is told of cuts.
        sample: How many rows of a split are looked at for tokens and spreads; a split with no more rows is
            measured exactly. 5,000, or 2,000 with a tokenizer, unless given.
        seed: Another seed draws another sample; the same one always draws the same.

    Raises:
        InvalidData: A row breaks a rule.
        InvalidParameter: ``sample`` or ``max_seq_length`` is below 1, or the model or the tokenizer is not known.
        MissingDependency: A model or a tokenizer was given, and the extra ``tokens`` is not installed.
    """
    template = chat_templates.get(model) if isinstance(model, str) else model
    size = _size(sample, tokenizer)
    limit = cut_at(max_seq_length, template)
    vocabulary = template.vocabulary if template else "cl100k"
    count = estimator(vocabulary) if tokenizer is None else counter_of(tokenizer)
    error = TOTAL_ERROR if tokenizer is None else 0.0
    measured = [
        _Measure(count, template, size, seed).of(rows).result(name, limit, error)
        for name, rows in splits.items()
    ]
    return DatasetStats(
        splits=tuple(measured),
        model=template.model if template else None,
        max_seq_length=limit,
        token_error=error,
    )


class _Line(Protocol):
    messages: list[Message]


@cache
def _lines_decoder() -> Callable[[bytes], list[_Line]]:
    import msgspec

    turn = msgspec.defstruct("Turn", [("role", str), ("content", str)], gc=False)
    line = msgspec.defstruct("Line", [("messages", list[turn])], gc=False)  # type: ignore[valid-type]
    return cast(Callable[[bytes], list[_Line]], msgspec.json.Decoder(line).decode_lines)


def _size(sample: int | None, tokenizer: Tokenizer | None) -> int:
    if sample is None:
        return SAMPLE if tokenizer is None else SAMPLE_WITH_TOKENIZER
    if sample < 2:
        raise InvalidParameter(f"A sample of {sample} rows", name="sample", value=sample, allowed="2 or more")
    return sample


@attrs.frozen
class _Row:
    """What is kept of a sampled row."""

    turns: int
    characters: int
    tokens: float
    by_turn: tuple[tuple[str, int, float], ...]  # role, characters, tokens


class _Measure:
    """Counts one split, and keeps a random sample of its rows (Vitter's algorithm R)."""

    def __init__(self, count: Counter, template: ChatTemplate | None, size: int, seed: int) -> None:
        self._count = count
        self._template = template
        self._size = size
        self._random = random.Random(seed).random
        self._rows: list[_Row] = []
        self._turns = dict.fromkeys(_ROLES, 0)
        self._characters = dict.fromkeys(_ROLES, 0)
        self._seen = 0
        self._most_turns = 0
        self._longest: _Row | None = None

    def of(self, rows: Iterable[Sequence[Turn]]) -> _Measure:
        """Read all rows, once."""
        turns, characters = self._turns, self._characters
        longest = 0
        for row in rows:
            length = 0
            for turn in row:
                role, said = turn.role, len(turn.content)
                turns[role] += 1  # type: ignore[index]  # a role of a checked row is one of the three
                characters[role] += said  # type: ignore[index]
                length += said
            self._most_turns = max(self._most_turns, len(row))
            looked_at = self._draw(row)
            if length > longest:
                longest = length
                self._longest = looked_at or self._look_at(row)
        return self

    def _draw(self, row: Sequence[Turn]) -> _Row | None:
        self._seen += 1
        if len(self._rows) < self._size:
            self._rows.append(self._look_at(row))
            return self._rows[-1]
        place = int(self._random() * self._seen)
        if place >= self._size:
            return None
        self._rows[place] = self._look_at(row)
        return self._rows[place]

    def _look_at(self, row: Sequence[Turn]) -> _Row:
        by_turn = tuple((turn.role, len(turn.content), self._count(turn.content)) for turn in row)
        if self._template is None:
            tokens = sum(tokens for _, _, tokens in by_turn)
        else:
            tokens = self._count(self._template.render(row))
        return _Row(len(row), sum(said for _, said, _ in by_turn), tokens, by_turn)

    def result(self, name: str, limit: int | None, error: float) -> SplitStats:
        """Give what the split comes to."""
        rows, seen, longest = self._rows, self._seen, self._longest
        lengths = [row.tokens for row in rows]
        most_tokens = max([*lengths, longest.tokens if longest else 0.0], default=0.0)
        return SplitStats(
            split=name,
            rows=seen,
            turns=sum(self._turns.values()),
            characters=sum(self._characters.values()),
            looked_at=len(rows),
            tokens=_scaled(
                [row.characters for row in rows], lengths, sum(self._characters.values()), seen, error
            ),
            row_turns=_spread([row.turns for row in rows], seen, self._most_turns),
            row_characters=_spread(
                [row.characters for row in rows], seen, longest.characters if longest else 0
            ),
            row_tokens=_spread(lengths, seen, most_tokens, error),
            roles=tuple(self._role(role, error) for role in _ROLES if self._turns[role]),
            rows_too_long=None if limit is None else _too_long(lengths, limit, seen, error),
            tokens_lost=None if limit is None else _lost(lengths, limit, seen, error),
            lengths=tuple(sorted(lengths)),
        )

    def _role(self, role: Role, error: float) -> RoleStats:
        per_row = [[(said, tokens) for who, said, tokens in row.by_turn if who == role] for row in self._rows]
        turns = [tokens for row in per_row for _, tokens in row]
        said = [sum(each for each, _ in row) for row in per_row]
        tokens = [sum(each for _, each in row) for row in per_row]
        whole = self._turns[role] if self._seen > len(self._rows) else len(turns)
        return RoleStats(
            role=role,
            turns=self._turns[role],
            characters=self._characters[role],
            tokens=_scaled(said, tokens, self._characters[role], self._seen, error),
            turn_tokens=_spread(turns, whole, max(turns, default=0), error),
        )


def _scaled(
    said: Sequence[float], tokens: Sequence[float], characters: int, seen: int, error: float
) -> Figure:
    """All tokens: tokens a character in the sample, times all characters, which are known."""
    return ratio(tokens, said, seen).times(characters).widened(error)


def _spread(values: Sequence[float], whole: int, most: float, error: float = 0.0) -> Spread:
    ordered = sorted(values) or [0]
    return Spread(
        mean=mean(values, whole).widened(error),
        p50=percentile(ordered, 0.50),
        p90=percentile(ordered, 0.90),
        p99=percentile(ordered, 0.99),
        max=most,
    )


def _too_long(lengths: Sequence[float], limit: int, seen: int, error: float) -> Figure:
    """The share of rows that are cut; where lengths are estimates, the interval is of all that they may be."""
    middle, low, high = (
        share(sum(length * factor > limit for length in lengths), len(lengths), seen)
        for factor in (1, 1 - error, 1 + error)
    )
    return Figure(middle.value, low.low, high.high)


def _lost(lengths: Sequence[float], limit: int, seen: int, error: float) -> Figure:
    """The share of tokens past the cut."""
    middle, low, high = (
        ratio(
            [max(0.0, each * factor - limit) for each in lengths], [each * factor for each in lengths], seen
        )
        for factor in (1, 1 - error, 1 + error)
    )
    return Figure(middle.value, low.low, min(1.0, high.high))
