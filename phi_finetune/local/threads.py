"""How many threads torch uses on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["TINY", "threads_for", "use_threads"]

TINY: Final = 5_000_000
"""Parameters below which a second thread costs more than it brings, unless the machine is idle (local.md 2b)."""


def threads_for(parameters: int) -> int | None:
    """Threads for a model of so many parameters; None for torch's own choice."""
    return 1 if parameters < TINY else None


@contextmanager
def use_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads inside the block, and as many as before after it; None changes nothing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
