"""Some of a source's rows, in their order."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Hashable, Iterator
from itertools import count, islice
from typing import TypeAlias

import attrs

from phi_finetune.chat_dataset.canonical import line_of, read_line, spoken
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.derived import Derived
from phi_finetune.chat_dataset.found import Found, Mend, Ordinary, Source
from phi_finetune.chat_dataset.keys import key_of, keys_of
from phi_finetune.chat_dataset.rules import Fault

__all__ = ["Chooser", "Draw", "Filtered", "Leading", "Part", "Stratified", "Tail", "Unrepeated", "lines_of"]

Chooser: TypeAlias = Callable[[bytes], bool]
"""Whether a line is of the part; asked once for each line of the whole, in their order."""

_POSITION_BYTES = 6  # 48 bits: a float holds every such fraction exactly
_POSITIONS = 1 << 48


def lines_of(source: Source) -> Iterator[bytes]:
    """A source's canonical lines, one at a time."""
    for block in source.blocks():
        yield from block.splitlines(keepends=True)


@attrs.frozen
class Part(Derived):
    """Some of a source's rows. What is of the part, a subclass says by :meth:`chooser`.

    Attributes:
        name: The name of the split that the rows taken become; None where they stay in their own.
    """

    name: str | None = attrs.field(default=None, kw_only=True)

    @property
    def label(self) -> str:
        """The split, and from what; what is left goes by the name of the whole."""
        return self.whole.label if self.name is None else f"the {self.name} split of {self.whole.label}"

    def chooser(self) -> Chooser:
        """What says for one pass which lines are of the part."""
        raise NotImplementedError

    def blocks(self) -> Iterator[bytes]:
        """Read the whole from its start, and give the lines of this part."""
        chosen = self.chooser()
        for block in self.whole.blocks():
            kept = b"".join([line for line in block.splitlines(keepends=True) if chosen(line)])
            if kept:
                yield kept

    def rows(self) -> Iterator[Conversation]:
        """The same as conversations."""
        return map(read_line, lines_of(self))

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """The good rows of this part, and all broken ones of the whole: of which part they would be, nobody knows."""
        chosen = self.mended(_as_nothing).chooser()
        for label, number, found in self.whole.examine():
            if not isinstance(found, Conversation) or chosen(line_of(found)):
                yield label, number, found

    def mended(self, mend: Mend) -> Part:
        """The same part of the mended whole."""
        return attrs.evolve(self, whole=self.whole.mended(mend))


def _as_nothing(_row: object) -> None:
    """A mend that leaves out what is broken."""


@attrs.frozen
class Draw(Part):
    """The rows that a draw took, or those that it left.

    What a row says alone, with the seed and the draw's name, decides: not its position, nor the other rows. So rows
    appended later move none of the earlier ones, and rows that say the same always stay together.

    Attributes:
        split: The name of the split drawn; it goes into the draw, so that two with one seed are independent.
        seed: Any number; the same one draws the same rows.
        fraction: The expected share of the rows that is taken, from 0 to 1.
        takes: True for the rows taken, False for those left.
        by: Gives what decides in place of the row's messages; rows for which it gives the same stay together.
    """

    split: str
    seed: int
    fraction: float
    takes: bool
    by: Callable[[Conversation], str] | None = None

    def chooser(self) -> Chooser:
        """By what each row says, or what ``by`` gives for it."""
        salt = f"{self.seed} {self.split}\n".encode()
        by = self.by
        if by is None:
            return lambda line: (_position(salt + spoken(line)) < self.fraction) is self.takes
        return lambda line: (_position(salt + by(read_line(line)).encode()) < self.fraction) is self.takes


@attrs.frozen
class Stratified(Part):
    """Of each stratum of the rows the same share, to the nearest row, that a draw took, or what it left.

    Each pass reads the whole twice, and holds eight bytes a row. Rows that say the same need not stay together.

    Attributes:
        split: As for :class:`Draw`.
        seed: As for :class:`Draw`.
        fraction: The share of each stratum that is taken, from 0 to 1.
        takes: True for the rows taken, False for those left.
        stratum: Gives a row's stratum.
    """

    split: str
    seed: int
    fraction: float
    takes: bool
    stratum: Callable[[Conversation], Hashable]

    def chooser(self) -> Chooser:
        """By the row's place among those of its stratum, ordered by what they say."""
        salt = f"{self.seed} {self.split}\n".encode()
        found: dict[Hashable, array[float]] = {}
        for line in lines_of(self.whole):
            found.setdefault(self.stratum(read_line(line)), array("d")).append(_position(salt + spoken(line)))
        below = {stratum: _lowest(positions, self.fraction) for stratum, positions in found.items()}
        return lambda line: (
            (_position(salt + spoken(line)) < below[self.stratum(read_line(line))]) is self.takes
        )


def _lowest(positions: array[float], fraction: float) -> float:
    """Below which position this share of them lies."""
    ordered = sorted(positions)
    taken = round(fraction * len(ordered))
    return ordered[taken] if taken < len(ordered) else 1.0


def _position(key: bytes) -> float:
    digest = hashlib.sha256(key).digest()
    return int.from_bytes(digest[:_POSITION_BYTES], "big") / _POSITIONS


@attrs.frozen
class Tail(Part):
    """A source's rows from the row ``start`` on, or those before it.

    Attributes:
        start: The first of the last rows, counted from 0.
        takes: True for the last rows, False for those before them.
    """

    start: int
    takes: bool

    def chooser(self) -> Chooser:
        """By the row's place."""
        places = count()
        return lambda _line: (next(places) >= self.start) is self.takes


@attrs.frozen
class Filtered(Part):
    """The rows that a function of the user's keeps.

    Attributes:
        keep: Whether a row stays.
    """

    keep: Callable[[Conversation], bool]

    def chooser(self) -> Chooser:
        """By what the function says of the row."""
        return lambda line: bool(self.keep(read_line(line)))


@attrs.frozen
class Unrepeated(Part):
    """The first of all rows that say the same.

    Each pass reads the whole twice, and holds eight bytes a row.

    Attributes:
        held_out: Sources whose rows are left out too.
        normalised: Whether upper and lower case, and any white space, are the same.
    """

    held_out: tuple[Source, ...]
    normalised: bool

    def stamp(self) -> Hashable:
        """Those of all that it reads."""
        return (self.whole.stamp(), *(source.stamp() for source in self.held_out))

    def mended(self, mend: Mend) -> Unrepeated:
        """The same of mended rows, all of them."""
        held_out = tuple(source.mended(mend) for source in self.held_out)
        return attrs.evolve(self, whole=self.whole.mended(mend), held_out=held_out)

    def chooser(self) -> Chooser:
        """By the rows before, and those that are held out."""
        repeated = keys_of(lines_of(self.whole), normalised=self.normalised).repeated()
        elsewhere = keys_of(
            (line for source in self.held_out for line in lines_of(source)), normalised=self.normalised
        )
        seen = bytearray(len(repeated))

        def chosen(line: bytes) -> bool:
            key = key_of(line, normalised=self.normalised)
            if elsewhere.find(key) is not None:
                return False
            place = repeated.find(key)
            if place is None:
                return True
            before, seen[place] = seen[place], 1
            return not before

        return chosen


@attrs.frozen
class Leading(Derived):
    """The first rows.

    Attributes:
        first: How many; all where there are fewer.
    """

    first: int

    def rows(self) -> Iterator[Conversation]:
        """Read no further than they go."""
        return islice(self.whole.rows(), self.first)

    def blocks(self) -> Iterator[bytes]:
        """The same as lines."""
        left = self.first
        for block in self.whole.blocks():
            lines = block.splitlines(keepends=True)[:left]
            left -= len(lines)
            if lines:
                yield b"".join(lines)
            if not left:
                return

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """The same, good or not, with what is remarked of them."""
        left = self.first
        for label, number, found in self.whole.examine(texts=texts):
            is_remark = isinstance(found, Fault) and found.severity == "look"
            if number is not None and not is_remark:
                if not left:
                    return
                if isinstance(found, Ordinary) and found.rows >= left:
                    yield label, number, Ordinary(left)
                    return  # nothing is remarked of them
                left -= found.rows if isinstance(found, Ordinary) else 1
            yield label, number, found

    def mended(self, mend: Mend) -> Leading:
        """As many of the mended whole."""
        return attrs.evolve(self, whole=self.whole.mended(mend))
