"""Ways to make one data set of another."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Self

import attrs

from phi_finetune.chat_dataset.changed import Changed
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.making import Making
from phi_finetune.chat_dataset.parts import Draw, Filtered, Part, Stratified, Tail, Unrepeated
from phi_finetune.chat_dataset.rules import Fault
from phi_finetune.chat_dataset.shuffled import Shuffled
from phi_finetune.chat_dataset.sources import Joined
from phi_finetune.chat_dataset.splits import SplitName, Splits
from phi_finetune.errors import InvalidParameter

__all__ = ["Shaping"]


@attrs.frozen
class Shaping(Making):
    """The methods that draw, order, choose, change and join rows; each is carried out as the rows are read."""

    def split(
        self,
        *,
        validation: float = 0.0,
        test: float = 0.0,
        seed: int = 0,
        by: Callable[[Conversation], str] | None = None,
        stratify: Callable[[Conversation], Hashable] | None = None,
    ) -> Self:
        """Draw a validation and a test split out of the train split.

        What a row says and the seed alone decide where it goes. So the same call gives the same rows in the
        same order on every machine, rows appended later move none of the earlier ones, and rows that say the same
        stay in one split. The sizes come near the fractions and rarely meet them exactly.

        Args:
            validation: The share of the rows to measure the loss on, from 0 to below 1; 0 draws none.
            test: The share of the rows to keep for trying the result, from 0 to below 1; 0 draws none.
            seed: Another seed gives another draw.
            by: Gives a text for each row; rows with the same text go to the same split, such as all those of one
                customer. None takes what the row says.
            stratify: Gives each row's stratum, such as its language; of each one the same share is drawn, exact to
                the nearest row. Rows appended later may then move a few of the earlier ones, and of rows that say
                the same some may go elsewhere.

        Raises:
            InvalidData: A split came out with no row.
            InvalidParameter: A fraction is out of range, the two leave nothing to train on, there is such a split,
                or both ``by`` and ``stratify`` are given.
        """
        for split, fraction in (("validation", validation), ("test", test)):
            self._check_fraction(split, fraction)
        if validation + test >= 1:
            raise InvalidParameter(
                f"The fractions {validation} and {test} leave nothing to train on",
                name="validation",
                value=validation,
                allowed="less than 1 together with test",
            )
        if by is not None and stratify is not None:
            raise InvalidParameter("A split by two rules", name="by", value="given", allowed="by or stratify")
        draw = _Drawing(seed, by, stratify)
        left, test_rows = draw.take(self._train, "test", test)
        # The second draw is from what the first one left, so its fraction is of fewer rows.
        left, validation_rows = draw.take(left, "validation", validation / (1 - test))
        return attrs.evolve(
            self,
            train=left,
            validation=validation_rows or self._validation,
            test=test_rows or self._test,
        )

    def hold_out(self, rows: int) -> Self:
        """Make the last rows of the train split the validation split.

        Unlike :meth:`split` it takes exactly so many, and rows appended later change which. For a set whose rows
        are in an order that matters, :meth:`split` is the better way.

        Args:
            rows: How many, at least 1.

        Raises:
            InvalidParameter: It leaves nothing to train on, or there is a validation split already.
            InvalidData: A row breaks a rule.
        """
        if self._validation is not None:
            raise InvalidParameter(
                "There is a validation split already", name="rows", value=rows, allowed="a set without one"
            )
        start = self.describe("train").rows - rows
        if rows < 1 or start < 1:
            allowed = f"1 to {start + rows - 1}"
            raise InvalidParameter(f"Cannot hold out {rows} rows", name="rows", value=rows, allowed=allowed)
        return attrs.evolve(
            self,
            train=Tail(self._train, start, takes=False),
            validation=Tail(self._train, start, takes=True, name="validation"),
        )

    def shuffle(self, seed: int = 0) -> Self:
        """Put the rows of the train split in another order, which they and the seed alone decide.

        Reading them then takes a copy in a temporary file.

        Args:
            seed: Another seed gives another order.
        """
        return attrs.evolve(self, train=Shuffled(self._train, seed))

    def filter(self, keep: Callable[[Conversation], bool]) -> Self:
        """Keep the rows, of all splits, for which a function says so.

        Args:
            keep: Whether a row stays. Its errors go through to whoever reads the rows.
        """
        return self._with({split: Filtered(source, keep) for split, source in self._sources().items()})

    def map(self, change: Callable[[Conversation], Conversation]) -> Self:
        """Put another row in place of each, in all splits; what it is is checked like any row.

        Args:
            change: Makes the other row. It is called once for each row and pass, so it should give the same each
                time. Its errors go through to whoever reads the rows.
        """
        return self._with(
            {
                split: Changed(source, change, must_end_answered=split != "test")
                for split, source in self._sources().items()
            }
        )

    def concat(self, *others: Splits) -> Self:
        """Append the rows of other data sets, split by split; it keeps this one's name.

        Args:
            others: The data sets. A split that only some of them have is made of theirs.
        """
        joined: dict[SplitName, Source] = {}
        for split in ("train", "validation", "test"):
            parts = [
                sources[split] for sources in (self._sources(), *_all_sources(others)) if split in sources
            ]
            if parts:
                joined[split] = (
                    parts[0] if len(parts) == 1 else Joined(f"{self.name} ({split})", tuple(parts))
                )
        return self._with(joined)

    def deduplicate(self, *, normalised: bool = False) -> Self:
        """Leave the first of all rows that say the same, and no row to train on that is held out too.

        Rows count as the same whatever their ``prompt_id``. Each pass reads the data twice and holds eight bytes a
        row.

        Args:
            normalised: Whether rows that differ in upper and lower case, or in white space, are the same.
        """
        sources, left = self._sources(), {}
        for split, source in sources.items():
            held_out = [sources[other] for other in _HELD_OUT[split] if other in sources]
            left[split] = Unrepeated(source, tuple(held_out), normalised)
        return self._with(left)

    def _check_fraction(self, split: str, fraction: float) -> None:
        if not 0 <= fraction < 1:
            raise InvalidParameter(
                f"The fraction {split} is {fraction}",
                name=split,
                value=fraction,
                allowed="from 0 to below 1",
            )
        if fraction and split in self.splits:
            raise InvalidParameter(
                f"The data set {self.name} has a {split} split already",
                name=split,
                value=fraction,
                allowed="0",
            )


_HELD_OUT: dict[SplitName, tuple[SplitName, ...]] = {
    "train": ("validation", "test"),
    "validation": ("test",),
    "test": (),
}
"""Whose rows must not be in a split."""


def _all_sources(others: tuple[Splits, ...]) -> list[dict[SplitName, Source]]:
    return [other._sources() for other in others]


@attrs.frozen
class _Drawing:
    """What decides where a row goes."""

    seed: int
    by: Callable[[Conversation], str] | None
    stratify: Callable[[Conversation], Hashable] | None

    def take(self, whole: Source, split: SplitName, fraction: float) -> tuple[Source, Source | None]:
        """Give what a draw leaves, and what it takes."""
        if not fraction:
            return whole, None
        left = self._part(whole, split, fraction, takes=False)
        taken = self._part(whole, split, fraction, takes=True)
        for part in (left, taken):
            if next(part.blocks(), None) is None:
                raise Fault("empty-draw").error(part.label)
        return left, taken

    def _part(self, whole: Source, split: SplitName, fraction: float, *, takes: bool) -> Part:
        name = split if takes else None
        if self.stratify is None:
            return Draw(whole, split, self.seed, fraction, takes, self.by, name=name)
        return Stratified(whole, split, self.seed, fraction, takes, self.stratify, name=name)
