"""Files opened for reading, and the faults of those that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phi_finetune.chat_dataset.rules import Fault

__all__ = ["reading", "stamp_of"]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says of a file into errors that name the file.

    Raises:
        InvalidData: There is no such file, it is a folder, or it cannot be read.
    """
    try:
        if path.is_dir():
            raise Fault("not-a-file").error(str(path))
        yield
    except FileNotFoundError as error:
        raise Fault("missing-file").error(str(path)) from error
    except PermissionError as error:
        raise Fault("no-permission").error(str(path)) from error
    except OSError as error:
        raise Fault("unreadable").error(str(path)) from error


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Give what differs as soon as the file was written again: its identity, size and time of change.

    Raises:
        InvalidData: There is no such file.
    """
    with reading(path):
        status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
