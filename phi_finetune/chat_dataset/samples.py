"""What is looked for in some of the rows only, as it takes long: lengths in tokens, and hints of private data."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.hints import hints_in
from phi_finetune.chat_dataset.report import Estimate
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.sources import Source
from phi_finetune.chat_dataset.splits import SplitName

__all__ = ["HINTS", "Looking"]

HINTS = ("secret", "e-mail", "phone-number", "card-number", "bank-account")
_CHARACTERS_A_TOKEN = 4.0  # English; assumed
_TOKENS_A_TURN = 4  # the template's marks around a turn; assumed
_WIDE = 1.96
"""So many standard deviations to each side hold 95 %."""


@attrs.define
class Looking:
    """A pass over some of a split's rows.

    Attributes:
        max_seq_length: Longer rows are told; None tells none.
        tokenizer: Gives how many tokens a text has; None estimates.
        hints: Whether to look for keys and personal data.
        sample: How many rows are looked at, about; None is all.
        estimates: What was seen, of all splits so far.
    """

    max_seq_length: int | None
    tokenizer: Callable[[str], int] | None
    hints: bool
    sample: int | None
    estimates: list[Estimate] = attrs.field(factory=list)

    def told(self, split: SplitName, source: Source, rows: int) -> Iterator[tuple[str, int | None, Fault]]:
        """What breaks a rule, by label and number.

        Args:
            split: The split.
            source: Its rows; broken ones are passed over.
            rows: How many of them are good.
        """
        share = 1.0 if self.sample is None or rows <= self.sample else self.sample / rows
        drawn = random.Random(rows)
        found: Counter[str] = Counter()
        lengths: list[tuple[int, int]] = []
        looked_at = 0
        for label, number, row in source.examine():
            if not isinstance(row, Conversation) or (share < 1 and drawn.random() >= share):
                continue
            looked_at += 1
            faults = list(self._faults(row, lengths))
            found.update({fault.rule for fault in faults})
            for fault in faults:
                yield label, number, fault
        if looked_at:
            self.estimates += self._estimates(split, looked_at, found, lengths, whole=share == 1)

    def _faults(self, row: Conversation, lengths: list[tuple[int, int]]) -> Iterator[Fault]:
        if self.max_seq_length is not None:
            tokens = sum(self._tokens(turn.content) + _TOKENS_A_TURN for turn in row.messages)
            lost = max(0, tokens - self.max_seq_length)
            lengths.append((tokens, lost))
            if lost:
                yield Fault("too-long")
        if self.hints:
            for index, turn in enumerate(row.messages):
                for rule in hints_in(turn.content):
                    yield Fault(rule, f"messages[{index}].content")

    def _tokens(self, text: str) -> int:
        return math.ceil(len(text) / _CHARACTERS_A_TOKEN) if self.tokenizer is None else self.tokenizer(text)

    def _estimates(
        self,
        split: SplitName,
        looked_at: int,
        found: Counter[str],
        lengths: list[tuple[int, int]],
        *,
        whole: bool,
    ) -> Iterator[Estimate]:
        rules = [*(["too-long"] if lengths else []), *(HINTS if self.hints else ())]
        for rule in rules:
            share = found[rule] / looked_at
            low, high = (share, share) if whole else _interval(share, looked_at)
            if found[rule] or rule == "too-long":
                yield Estimate(split, rule, looked_at, share, low, high)
        if lengths:
            share, wide = _ratio(lengths)
            low, high = (share, share) if whole else (max(0.0, share - wide), min(1.0, share + wide))
            yield Estimate(split, "tokens cut off", looked_at, share, low, high)


def _interval(share: float, looked_at: int) -> tuple[float, float]:
    """Where the share of all rows lies (Wilson's interval)."""
    square = _WIDE * _WIDE
    middle = (share + square / (2 * looked_at)) / (1 + square / looked_at)
    wide = (
        _WIDE
        * math.sqrt(share * (1 - share) / looked_at + square / (4 * looked_at**2))
        / (1 + square / looked_at)
    )
    return max(0.0, middle - wide), min(1.0, middle + wide)


def _ratio(lengths: list[tuple[int, int]]) -> tuple[float, float]:
    """The share of all tokens that is lost, and how far off it may be (a ratio's linearised variance)."""
    total = sum(tokens for tokens, _ in lengths)
    share = sum(lost for _, lost in lengths) / total
    squares = sum((lost - share * tokens) ** 2 for tokens, lost in lengths)
    count = len(lengths)
    return share, _WIDE * math.sqrt(squares / max(1, count - 1) * count) / total
