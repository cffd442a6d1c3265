"""Where data came from."""

from __future__ import annotations

import attrs

__all__ = ["Origin"]


@attrs.frozen
class Origin:
    """Where data came from, as far as it is known.

    Attributes:
        source: The repository, the files, or what else it was read from.
        revision: The repository's commit.
        licence: The licence, as the repository's card names it.
    """

    source: str
    revision: str | None = None
    licence: str | None = None
