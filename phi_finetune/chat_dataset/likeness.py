"""Rows that say the same, in one split and across splits."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from typing import TypeAlias

import attrs

from phi_finetune.chat_dataset.canonical import line_of
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.keys import Keys, key_of, sorted_keys
from phi_finetune.chat_dataset.splits import SplitName

__all__ = ["same_rows"]

_BEFORE: dict[SplitName, tuple[SplitName, ...]] = {
    "train": (),
    "validation": ("train",),
    "test": ("train", "validation"),
}
"""The splits whose rows must not be in a split."""

_Told: TypeAlias = tuple[SplitName, str, int | None, str]


@attrs.frozen
class _SplitKeys:
    """The keys of a split's rows, 16 bytes a row at most.

    Attributes:
        exact: Of what each row says.
        normalised: The same whatever the case and the white space; empty where no other split is compared with it.
        repeated: Those of ``exact`` that are there more than once.
        asked_again: Those of all but the answer that are there more than once.
    """

    exact: Keys
    normalised: Keys
    repeated: Keys
    asked_again: Keys


def same_rows(sources: Mapping[SplitName, Source]) -> Iterator[_Told]:
    """The split, the label and number of each row that says what another says, and the rule.

    It passes over broken rows. It reads a split twice, and once more where another is compared with it, and holds
    less than 24 bytes a row.
    """
    compared = {other for split in sources for other in _BEFORE[split]}
    keys = {split: _keys(source, compared=split in compared) for split, source in sources.items()}
    for split, source in sources.items():
        before = [keys[other] for other in _BEFORE[split] if other in keys]
        for label, number, rule in _told(source, keys[split], before):
            yield split, label, number, rule


def _good(source: Source) -> Iterator[tuple[str, int | None, Conversation]]:
    for label, number, row in source.examine():
        if isinstance(row, Conversation):
            yield label, number, row


def _keys(source: Source, *, compared: bool) -> _SplitKeys:
    said, asked = array("Q"), array("Q")
    for _label, _number, row in _good(source):
        said.append(key_of(line_of(row)))
        if row.answer is not None:
            asked.append(_prompt_key(row))
    asked_again = sorted_keys(asked).repeated()
    del asked  # before the next ones are gathered
    exact, normalised = sorted_keys(said), array("Q")
    if compared:
        normalised.extend(key_of(line_of(row), normalised=True) for _, _, row in _good(source))
    return _SplitKeys(exact, sorted_keys(normalised), exact.repeated(), asked_again)


def _prompt_key(row: Conversation) -> int:
    return key_of(line_of(Conversation(row.prompt)))


def _told(source: Source, own: _SplitKeys, before: list[_SplitKeys]) -> Iterator[tuple[str, int | None, str]]:
    repeated, prompts = own.repeated, own.asked_again
    seen = bytearray(len(repeated))
    first_of_prompt = array("Q", bytes(8 * len(prompts)))
    for label, number, row in _good(source):
        line = line_of(row)
        key = key_of(line)
        place = repeated.find(key)
        if place is not None:
            if seen[place]:
                yield label, number, "duplicate-row"
            seen[place] = 1
        asked = prompts.find(_prompt_key(row)) if row.answer is not None else None
        if asked is not None:
            first_of_prompt[asked] = first_of_prompt[asked] or key
            if first_of_prompt[asked] != key:
                yield label, number, "other-answer"
        if any(other.exact.find(key) is not None for other in before):
            yield label, number, "leaked-row"
        elif before and _is_near(key_of(line, normalised=True), before):
            yield label, number, "nearly-leaked-row"


def _is_near(key: int, before: list[_SplitKeys]) -> bool:
    return any(other.normalised.find(key) is not None for other in before)
