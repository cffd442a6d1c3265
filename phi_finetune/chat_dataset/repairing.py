"""A data set mended, and what was done to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.found import Broken, Ordinary, Source
from phi_finetune.chat_dataset.mending import DROPPED, MENDS, mend, with_joining, without_joining
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.splits import SplitName

if TYPE_CHECKING:
    from pandas import DataFrame

    from phi_finetune.chat_dataset.dataset import ChatDataset

__all__ = ["MENDS", "Mended", "Repaired", "repair"]

_SHOWN = 10


@attrs.frozen
class Mended:
    """What was done to one row.

    Attributes:
        split: The split.
        file: The file, or the name of what else the rows are from.
        row: The row, counted from 1; None for the file as a whole.
        mend: What was done, a key of :data:`MENDS`.
    """

    split: SplitName
    file: str
    row: int | None
    mend: str

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        return f"{self.file}{row}: {MENDS[self.mend]} ({self.mend})"


@attrs.frozen
class Repaired:
    """A mended data set, and what was done.

    Attributes:
        data: The data set; the very one that was given where nothing was to do. Each reading mends anew.
        done: What was done to the first rows mended, no more than the limit given.
        counts: How often each mend was made, complete.
    """

    data: ChatDataset
    done: tuple[Mended, ...]
    counts: Mapping[str, int]

    def to_frame(self) -> DataFrame:
        """What was done as a frame, one mend a row."""
        import pandas

        frame = pandas.DataFrame(
            [attrs.astuple(each) for each in self.done], columns=["split", "file", "row", "mend"]
        )
        return frame.astype({"row": "Int64"})

    def __str__(self) -> str:
        if not self.counts:
            return f"{self.data.name}: nothing was to be mended"
        wide = max(len(f"{count:,}") for count in self.counts.values())
        by_mend = [f"{count:>{wide},}  {mend}: {MENDS[mend]}" for mend, count in self.counts.items()]
        more = sum(self.counts.values()) - len(self.done[:_SHOWN])
        first = [f"  {each.split}: {each}" for each in self.done[:_SHOWN]]
        return "\n".join(
            [f"{self.data.name}:", *by_mend, *first, *([f"  and {more:,} more"] if more else [])]
        )


def repair(data: ChatDataset, *, join_turns: bool, deep: bool, limit: int) -> Repaired:
    """What :meth:`ChatDataset.repair` gives."""
    log = _Log(limit)
    for split, source in data._sources().items():
        _list_mends(log, split, source, join_turns=join_turns)
    mending = with_joining if join_turns else without_joining
    mended = data
    if log.counts:
        mended = data._with({split: source.mended(mending) for split, source in data._sources().items()})
    if deep:
        mended = _deduplicated(mended, log)
    return Repaired(mended, tuple(log.first), dict(log.counts))


@attrs.define
class _Log:
    """What was done so far."""

    limit: int
    first: list[Mended] = attrs.field(factory=list)
    counts: Counter[str] = attrs.field(factory=Counter)
    labels: set[str] = attrs.field(factory=set)

    def add(self, split: SplitName, file: str, row: int | None, mend: str) -> None:
        """One mend more."""
        self.counts[mend] += 1
        if len(self.first) < self.limit:
            self.first.append(Mended(split, file, row, mend))


def _list_mends(log: _Log, split: SplitName, source: Source, *, join_turns: bool) -> None:
    # What was drawn from one whole reads all of it: its mends are listed where that comes first.
    told = frozenset(log.labels)
    for label, number, row in source.examine(texts=False):
        if isinstance(row, (Ordinary, Conversation)) or label in told:
            continue
        log.labels.add(label)
        for done in _mends(label, number, row, join_turns=join_turns):
            log.add(split, label, number, done)


def _mends(label: str, number: int | None, row: Broken | Fault, *, join_turns: bool) -> tuple[str, ...]:
    """The names of what is done to a row.

    Raises:
        InvalidData: It stands for a file that cannot be read.
    """
    if isinstance(row, Broken):
        return mend(row, join_turns=join_turns)[1]
    if number is not None:
        return (DROPPED,) if row.severity != "look" else ()
    if row.severity == "stops":
        raise row.error(label)
    return ("mark-dropped",)


def _deduplicated(data: ChatDataset, log: _Log) -> ChatDataset:
    """The same without rows that say the same; each one left out is listed."""
    unrepeated = data.deduplicate()
    kept_sources = unrepeated._sources()
    before = sum(log.counts.values())
    for split, source in data._sources().items():
        kept = _numbers(kept_sources[split])
        following = next(kept, None)
        for each in _numbers(source):
            if each == following:
                following = next(kept, None)
            else:
                log.add(split, *each, "repeated-row-dropped")
    return unrepeated if sum(log.counts.values()) > before else data


def _numbers(source: Source) -> Iterator[tuple[str, int | None]]:
    return ((label, number) for label, number, row in source.examine() if isinstance(row, Conversation))
