"""What is looked for in some of the rows only, as it takes long: lengths in tokens, and hints of private data."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import attrs

from phi_finetune.chat_dataset.conversation import Conversation, Message
from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.hints import hints_in
from phi_finetune.chat_dataset.intervals import Figure, ratio, share
from phi_finetune.chat_dataset.report import Estimate
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.splits import SplitName

__all__ = ["HINTS", "Looking"]

HINTS = ("secret", "e-mail", "phone-number", "card-number", "bank-account")


@attrs.define
class Looking:
    """A pass over some of a split's rows.

    Attributes:
        max_seq_length: Longer rows are told; None tells none.
        count: Gives how many tokens a row has; None tells no lengths.
        hints: Whether to look for keys and personal data.
        sample: How many rows are looked at, about; None is all.
        estimates: What was seen, of all splits so far.
    """

    max_seq_length: int | None
    count: Callable[[Sequence[Message]], float] | None
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
        part = 1.0 if self.sample is None or rows <= self.sample else self.sample / rows
        drawn = random.Random(rows)
        found: Counter[str] = Counter()
        lengths: list[tuple[float, float]] = []
        looked_at = 0
        for label, number, row in source.examine():
            if not isinstance(row, Conversation) or (part < 1 and drawn.random() >= part):
                continue
            looked_at += 1
            faults = list(self._faults(row, lengths))
            found.update({fault.rule for fault in faults})
            for fault in faults:
                yield label, number, fault
        if looked_at:
            self.estimates += self._estimates(split, looked_at, found, lengths, rows)

    def _faults(self, row: Conversation, lengths: list[tuple[float, float]]) -> Iterator[Fault]:
        if self.max_seq_length is not None and self.count is not None:
            tokens = self.count(row.messages)
            lost = max(0.0, tokens - self.max_seq_length)
            lengths.append((tokens, lost))
            if lost:
                yield Fault("too-long")
        if self.hints:
            for index, turn in enumerate(row.messages):
                for rule in hints_in(turn.content):
                    yield Fault(rule, f"messages[{index}].content")

    def _estimates(
        self,
        split: SplitName,
        looked_at: int,
        found: Counter[str],
        lengths: list[tuple[float, float]],
        rows: int,
    ) -> Iterator[Estimate]:
        rules = [*(["too-long"] if lengths else []), *(HINTS if self.hints else ())]
        for rule in rules:
            if found[rule] or rule == "too-long":
                yield _estimate(split, rule, looked_at, share(found[rule], looked_at, rows))
        if lengths:
            lost, tokens = [lost for _, lost in lengths], [tokens for tokens, _ in lengths]
            yield _estimate(split, "tokens cut off", looked_at, ratio(lost, tokens, rows))


def _estimate(split: SplitName, what: str, looked_at: int, figure: Figure) -> Estimate:
    return Estimate(split, what, looked_at, figure.value, figure.low, min(1.0, figure.high))
