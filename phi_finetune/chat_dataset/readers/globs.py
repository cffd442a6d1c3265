"""The files that paths, patterns and folders stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from phi_finetune.chat_dataset.readers.compressed import uncompressed_name
from phi_finetune.chat_dataset.readers.opening import reading
from phi_finetune.chat_dataset.rules import Fault

__all__ = ["DATA_ENDINGS", "found_files"]

DATA_ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
"""How names of data files end, before an ending for their compression."""


def found_files(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    endings: Collection[str] = DATA_ENDINGS,
) -> tuple[Path, ...]:
    """Give the files that paths stand for: one at least, and each once.

    Args:
        paths: A path, or several. One with ``*``, ``?`` or ``[`` in it that no file has as its name is a
            pattern; ``**`` stands for any folders. A folder stands for the data files in it, not in folders
            below it, without those whose names begin with a dot or an underscore. What a pattern or a folder
            gives is sorted by name, as text: ``part-10`` comes before ``part-2``.
        endings: Which files of a folder are taken.

    Raises:
        InvalidData: A path does not exist, a pattern matches nothing, a folder holds no data file, or a file
            is there twice, under another name perhaps.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = tuple(file for path in given for file in _files_of(Path(path), endings))
    if not files:
        raise Fault("no-match").error("The list of files")
    seen: set[tuple[int, int]] = set()
    for file in files:
        with reading(file):
            status = file.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            raise Fault("duplicate-file").error(str(file))
        seen.add(identity)
    return files


def _files_of(path: Path, endings: Collection[str]) -> list[Path]:
    if path.is_dir():
        return _files_in(path, endings)
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    files = [file for file in found if not file.is_dir()]
    if not files:
        raise Fault("no-match").error(str(path))
    return files


def _files_in(folder: Path, endings: Collection[str]) -> list[Path]:
    with os.scandir(folder) as entries:
        files = sorted(Path(entry.path) for entry in entries if not entry.is_dir())
    taken = [
        file
        for file in files
        if not file.name.startswith((".", "_")) and Path(uncompressed_name(file)).suffix.lower() in endings
    ]
    if not taken:
        raise Fault("empty-folder").error(str(folder))
    return taken
