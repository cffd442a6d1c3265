"""The last rows of a source, or all but those."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import islice
from pathlib import Path

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.draw import Source

__all__ = ["Tail"]


@attrs.frozen
class Tail:
    """A source's rows from the row ``start`` on, or those before it.

    Attributes:
        whole: The rows taken from.
        name: The name of the split that the last rows become.
        start: The first of the last rows, counted from 0.
        takes: True for the last rows, False for those before them.
    """

    whole: Source
    name: str
    start: int
    takes: bool

    @property
    def label(self) -> str:
        """The split, and from what; the rows before it go by the name of the whole."""
        return f"the {self.name} split of {self.whole.label}" if self.takes else self.whole.label

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the whole."""
        return self.whole.files

    def stamp(self) -> Hashable:
        """Give the stamp of the whole."""
        return self.whole.stamp()

    def rows(self) -> Iterator[Conversation]:
        """Read the whole from its start, and give the rows of this part in their order."""
        if self.takes:
            return islice(self.whole.rows(), self.start, None)
        return islice(self.whole.rows(), self.start)
