"""Files written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from phi_finetune.errors import InvalidParameter

__all__ = ["check_not_read", "write_whole"]


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
