"""What readers of one file have in common."""

from __future__ import annotations

from pathlib import Path

import attrs

from phi_finetune.chat_dataset.readers.opening import stamp_of

__all__ = ["OneFile"]


@attrs.frozen
class OneFile:
    """A file, and what it goes by.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def label(self) -> str:
        """The path, as it was given."""
        return str(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def stamp(self) -> tuple[int, int, int]:
        """Give what differs as soon as the file was written again: its identity, size and time of change.

        Raises:
            InvalidData: There is no such file.
        """
        return stamp_of(self.path)
