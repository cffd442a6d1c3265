"""Sources whose rows come from another one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from pathlib import Path

import attrs

from phi_finetune.chat_dataset.canonical import blocks_of
from phi_finetune.chat_dataset.conversation import Conversation
from phi_finetune.chat_dataset.found import Broken, Found, Mend, Source
from phi_finetune.chat_dataset.rules import Fault

__all__ = ["Derived", "Mended"]


@attrs.frozen
class Derived:
    """What one source is made of, and goes by: its label, its files and its stamp.

    Attributes:
        whole: The rows.
    """

    whole: Source

    @property
    def label(self) -> str:
        """The whole's, so that errors lead there."""
        return self.whole.label

    @property
    def files(self) -> tuple[Path, ...]:
        """The whole's."""
        return self.whole.files

    def stamp(self) -> Hashable:
        """The whole's: the same is made of the same rows."""
        return self.whole.stamp()


@attrs.frozen
class Mended(Derived):
    """A source's rows, each broken one mended or left out.

    Attributes:
        mend: Makes a good row of a broken one, or nothing.
    """

    mend: Mend

    def rows(self) -> Iterator[Conversation]:
        """Read the whole.

        Raises:
            InvalidData: It cannot be read.
        """
        for label, number, found in self.examine():
            if isinstance(found, Fault):
                raise found.error(label, number)
            if isinstance(found, Conversation):
                yield found

    def blocks(self) -> Iterator[bytes]:
        """The same as lines."""
        return blocks_of(self.rows())

    def examine(self, *, texts: bool = True) -> Iterator[Found]:
        """Read the whole, without what was mended away; that it cannot be read stays."""
        for label, number, found in self.whole.examine(texts=texts):
            if isinstance(found, Fault):
                if number is None and found.severity == "stops":
                    yield label, number, found
            elif isinstance(found, Broken):
                row = self.mend(found)
                if row is not None:
                    yield label, number, row
            else:
                yield label, number, found

    def mended(self, mend: Mend) -> Source:
        """Itself."""
        return self
