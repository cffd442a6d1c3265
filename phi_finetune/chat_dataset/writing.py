"""Files written whole or not at all, and how far that has come."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from phi_finetune.chat_dataset.split_info import Measuring
from phi_finetune.errors import InvalidParameter
from phi_finetune.events import WriteProgress

if TYPE_CHECKING:
    from phi_finetune.protocols import Listener

__all__ = ["check_not_read", "progress", "write_whole"]

_TOLD_EVERY_BYTES = 64 * 1024 * 1024


def write_whole(contents: Mapping[Path, Iterable[bytes]]) -> None:
    """Write several files: under other names first, and under their own once all of them are complete.

    Raises:
        Exception: Whatever reading the contents raises. No file was replaced then, and nothing is left
            behind.
        OSError: A file cannot be written.
    """
    drafts = {path: path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp") for path in contents}
    try:
        for path, lines in contents.items():
            with drafts[path].open("xb") as file:
                file.writelines(lines)
        for path, draft in drafts.items():
            os.replace(draft, path)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)


def progress(written: Measuring, path: Path, on_event: Listener | None) -> Iterator[bytes]:
    """The same blocks; a listener hears at times, and at the end, how much has passed."""
    if on_event is None:
        yield from written
        return
    told = 0
    for block in written:
        yield block
        if written.size_bytes - told >= _TOLD_EVERY_BYTES:
            told = written.size_bytes
            on_event(WriteProgress(resource=str(path), rows=written.rows, size_bytes=told))
    if told != written.size_bytes or not told:
        on_event(WriteProgress(resource=str(path), rows=written.rows, size_bytes=written.size_bytes))


def check_not_read(targets: Iterable[Path], read: Iterable[Path]) -> None:
    """Refuse to write over a file that is read from: rows drawn from it would be lost.

    Raises:
        InvalidParameter: One of the targets is one of the files read.
    """
    present = [path for path in read if path.exists()]
    for target in targets:
        if target.exists() and any(target.samefile(path) for path in present):
            raise InvalidParameter(
                f"Writing {target} would replace a file that this data set is read from",
                name="folder",
                value=str(target.parent),
                allowed="another folder",
                next_call="write to another folder",
            )
