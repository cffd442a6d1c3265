"""What ends a group of processes once this process has ended, also where it was killed and can do nothing any more."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["leashed"]

_WATCHER: Final = ("/bin/sh", "-c", 'read -r line; kill -s KILL -- "-$0"')
"""Its standard input ends with this process: the kernel closes what a process held that is gone."""


@contextmanager
def leashed(group: int) -> Iterator[None]:
    """End a group of processes if this one ends inside the block.

    Args:
        group: The number of the group, which is that of the process that leads it.
    """
    watcher = subprocess.Popen(
        [*_WATCHER, str(group)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    with watcher:
        try:
            yield
        finally:
            watcher.kill()
