"""The last rows of a source, or all but those."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import attrs

from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.draw import Part

__all__ = ["Tail"]


@attrs.frozen
class Tail(Part):
    """A source's rows from the row ``start`` on, or those before it.

    Attributes:
        whole: The rows taken from.
        name: The name of the split that the last rows become.
        start: The first of the last rows, counted from 0.
        takes: True for the last rows, False for those before them.
    """

    start: int

    def rows(self) -> Iterator[Conversation]:
        """Read the whole from its start, and give the rows of this part in their order."""
        if self.takes:
            return islice(self.whole.rows(), self.start, None)
        return islice(self.whole.rows(), self.start)
