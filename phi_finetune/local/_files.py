"""Small files that another process reads while this one writes them, and large ones that need no second copy."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["LINKED", "Lines", "read_json", "read_lines", "take_in", "write_json", "write_text"]

LINKED: Final = 64 * 1024**2
"""What is as large, in bytes, is linked where the disk allows it: weights, and no tokenizer."""


def write_text(path: Path, text: str) -> None:
    """Write a file whole: a reader sees the old one or the new one, and a crash leaves one of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object whole, as :func:`write_text` does."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=True) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: It is none.
        OSError: It cannot be read.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is not a JSON object")
    return value


def take_in(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Put a file somewhere else too, without reading it into memory; what is there is replaced.

    Weights are linked where the disk allows it, so they take no time and no room: nobody may write into either file
    then, only replace it. Small files are copied, since libraries write settings over those that are there.

    Raises:
        OSError: It cannot be read, or there is no room.
    """
    Path(target).unlink(missing_ok=True)
    real = Path(source).resolve()
    if real.stat().st_size >= LINKED:
        with suppress(OSError):  # another disk, one that has no links, or somebody else's file
            os.link(real, target)
            return
    shutil.copyfile(real, target)


class Lines:
    """A file of JSON lines that is added to, each line in one write, so that no reader sees half of one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, values: Mapping[str, Any]) -> None:
        """Add a line."""
        data = (json.dumps(values, ensure_ascii=False) + "\n").encode()
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line of a file of JSON lines; nothing where there is no such file."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        value = json.loads(line)
        if isinstance(value, dict):
            yield value
