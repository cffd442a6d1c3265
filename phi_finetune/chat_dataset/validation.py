"""Looking through a whole data set, whatever it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import attrs

from phi_finetune.catalog import chat_templates
from phi_finetune.catalog.chat_templates import ChatTemplate
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.found import Broken, Ordinary, Source
from phi_finetune.chat_dataset.likeness import same_rows
from phi_finetune.chat_dataset.readers.plain_lines import HUGE_CHARACTERS
from phi_finetune.chat_dataset.report import Estimate, Problem, ValidationReport
from phi_finetune.chat_dataset.row_tokens import cut_at, row_counter
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.samples import Looking
from phi_finetune.chat_dataset.splits import SplitName
from phi_finetune.chat_dataset.tokens import Tokenizer
from phi_finetune.errors import InvalidParameter

__all__ = ["LEAST_TRAINING_ROWS", "validate"]

LEAST_TRAINING_ROWS = 10  # azureml-acft-contrib-hf-nlp 0.0.91, read 2026-11


def validate(
    name: str,
    sources: Mapping[SplitName, Source],
    *,
    deep: bool,
    model: str | ChatTemplate | None,
    max_seq_length: int | None,
    tokenizer: Tokenizer | None,
    sample: int | None,
    limit: int,
) -> ValidationReport:
    """What :meth:`ChatDataset.validate` gives."""
    for parameter, value in (("max_seq_length", max_seq_length), ("sample", sample), ("limit", limit)):
        if value is not None and value < 1:
            raise InvalidParameter(
                f"{parameter} is {value}", name=parameter, value=value, allowed="1 or more"
            )
    template = chat_templates.get(model) if isinstance(model, str) else model
    longest = cut_at(max_seq_length, template)
    count = None if longest is None else row_counter(template, tokenizer)
    has_system = template is None or template.supports_system
    found = _Findings(limit)
    good: dict[SplitName, int] = {}
    for split, source in sources.items():
        good[split] = _look_through(found, split, source, has_system=has_system)
    estimates: list[Estimate] = []
    if deep:
        for split, file, row, rule in same_rows(sources):
            found.add(split, file, row, Fault(rule))
    if deep or count is not None:
        looking = Looking(longest, count, hints=deep, sample=sample)
        for split, source in sources.items():
            for file, row, fault in looking.told(split, source, good[split]):
                found.add(split, file, row, fault)
        estimates += looking.estimates
    return ValidationReport(name, found.first, dict(found.counts), found.rows, tuple(estimates))


@attrs.define
class _Findings:
    """What was found so far; what is only worth a look takes no place from the rest."""

    limit: int
    grave: list[Problem] = attrs.field(factory=list)
    slight: list[Problem] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)
    rows: dict[SplitName, int] = attrs.field(factory=dict)
    labels: set[str] = attrs.field(factory=set)

    @property
    def first(self) -> tuple[Problem, ...]:
        """The first problems, the graver ones before the others."""
        return tuple([*self.grave, *self.slight][: self.limit])

    def add(self, split: SplitName, file: str, row: int | None, fault: Fault) -> None:
        """One fault more."""
        self.counts[fault.rule] += 1
        kept = self.slight if fault.severity == "look" else self.grave
        if len(kept) < self.limit:
            kept.append(Problem(split, file, row, fault.path, fault.rule))


def _look_through(found: _Findings, split: SplitName, source: Source, *, has_system: bool) -> int:
    """Look through one split; gives the number of its good rows."""
    good = broken = 0
    readable = True
    # What was drawn from one whole reads all of it: its faults were told where that came first.
    told = frozenset(found.labels)
    for label, number, row in source.examine(texts=not has_system):
        if isinstance(row, Ordinary):
            good += row.rows
            continue
        if isinstance(row, Conversation):
            good += 1
            faults = tuple(_remarks(row, has_system=has_system))
        else:
            faults = row.faults() if isinstance(row, Broken) else (row,)
            readable = readable and (number is not None or faults[0].severity == "look")
            if label in told:
                continue
            found.labels.add(label)
            broken += number is not None and faults[0].severity != "look"
        for fault in faults:
            found.add(split, label, number, fault)
    found.rows[split] = good + broken
    if readable and good + broken == 0:
        found.add(split, source.label, None, Fault("empty-split"))
    elif readable and split == "train" and good < LEAST_TRAINING_ROWS:
        found.add(split, source.label, None, Fault("too-few-rows"))
    return good


def _remarks(row: Conversation, *, has_system: bool) -> Iterator[Fault]:
    """What may be said of a row that keeps the rules."""
    if len(row.messages) == 1:
        yield Fault("one-message", "messages")
    if sum(len(turn.content) for turn in row.messages) > HUGE_CHARACTERS:
        yield Fault("huge-row")
    if not has_system and row.messages[0].role == "system":
        yield Fault("system-unsupported", "messages[0].role")
