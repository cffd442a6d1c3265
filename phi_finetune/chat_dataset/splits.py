"""The splits of a data set, and how what they come to is remembered."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Literal, Self, TypeAlias

import attrs

from phi_finetune.chat_dataset.found import Source
from phi_finetune.chat_dataset.origin import Origin
from phi_finetune.chat_dataset.split_info import Measuring, SplitInfo
from phi_finetune.errors import InvalidParameter

__all__ = ["SplitName", "Splits"]

SplitName: TypeAlias = Literal["train", "validation", "test"]


def _check_name(_instance: object, _attribute: object, name: str) -> None:
    if not name.strip():
        raise InvalidParameter("A data set's name is blank", name="name", value=name, allowed="any text")


@attrs.frozen
class _Measured:
    """What a split came to when its source had this stamp, and its lines if they are few."""

    stamp: Hashable
    info: SplitInfo
    content: bytes | None


class _Cache(dict[SplitName, _Measured]):
    """What was measured, by split; a pickle leaves it out, as it may hold rows."""

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        return _Cache, ()


@attrs.frozen
class Splits:
    """A name, and up to three splits.

    Attributes:
        name: What it is called in names of jobs and models.
        origin: Where it came from; None for records of the caller's own.
    """

    name: str = attrs.field(validator=_check_name)
    _train: Source = attrs.field(alias="train")
    _validation: Source | None = attrs.field(alias="validation", default=None)
    _test: Source | None = attrs.field(alias="test", default=None)
    origin: Origin | None = attrs.field(default=None, kw_only=True, eq=False)
    _measured: _Cache = attrs.field(factory=_Cache, init=False, repr=False, eq=False)

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that there are, in the order train, validation, test."""
        return tuple(self._sources())

    def describe(self, split: SplitName = "train") -> SplitInfo:
        """Count and hash a split's lines; it is read the first time, and again only if its file changed.

        Raises:
            InvalidData: A row breaks a rule.
            InvalidParameter: There is no such split.
        """
        source = self._source(split)
        stamp = source.stamp()
        known = self._known(split, stamp)
        if known is not None:
            return known
        measured = Measuring(source.blocks())
        for _block in measured:
            pass
        return self._remember(split, stamp, measured)

    def _sources(self) -> dict[SplitName, Source]:
        every: dict[SplitName, Source | None] = {
            "train": self._train,
            "validation": self._validation,
            "test": self._test,
        }
        return {split: source for split, source in every.items() if source is not None}

    def _source(self, split: SplitName) -> Source:
        source = self._sources().get(split)
        if source is None:
            raise InvalidParameter(
                f"The data set {self.name} has no such split",
                name="split",
                value=split,
                allowed=", ".join(self.splits),
            )
        return source

    def _with(self, sources: Mapping[SplitName, Source]) -> Self:
        """The same with other rows."""
        return attrs.evolve(
            self, train=sources["train"], validation=sources.get("validation"), test=sources.get("test")
        )

    def _known(self, split: SplitName, stamp: Hashable) -> SplitInfo | None:
        """What a split came to, if it was measured while its source had this stamp."""
        before = self._measured.get(split)
        return before.info if before is not None and before.stamp == stamp else None

    def _remember(self, split: SplitName, stamp: Hashable, measured: Measuring) -> SplitInfo:
        """Keep what a split came to while its source had this stamp."""
        self._measured[split] = _Measured(stamp, measured.info, measured.content)
        return measured.info
