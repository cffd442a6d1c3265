"""Compressed files, read as what they hold and never unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from phi_finetune.chat_dataset.readers.opening import reading
from phi_finetune.chat_dataset.rules import Fault

__all__ = ["COMPRESSED_ENDINGS", "LARGEST_RATIO", "opened", "uncompressed_name"]

COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".zst")
"""How names of compressed files end; only for names, as what a file is, its first bytes tell."""

LARGEST_RATIO = 250
"""How many times its size a file may expand to. Conversations come to 3 to 10 times; a file of zeros to 1,000."""

_UNCHECKED_BYTES = 64 * 1024 * 1024  # a small file may expand to this, whatever the ratio
_BLOCK_BYTES = 1024 * 1024
_BUFFER_BYTES = 1024 * 1024
"""Lines longer than the usual buffer are read several times as fast out of this one."""
_GZIP, _BZIP2, _XZ, _ZSTANDARD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"
_NO_TEXT = (b"PK\x03\x04", b"PK\x05\x06", b"PAR1", b"ARROW1", b"7z\xbc\xaf\x27\x1c", b"Rar!")
"""How zip (and Excel's files), an empty zip, parquet, arrow, 7z and rar files begin. None can begin a text."""

_LONGEST_MAGIC = 6


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading; one of gzip, bzip2 or xz gives what it holds, whatever it is called.

    Nothing is unpacked to disk or held: what is read is what is unpacked. Zstandard needs Python 3.14.

    Raises:
        InvalidData: The file cannot be read; it is an archive, a table or compressed twice; or, while it is
            read, the compressed data is damaged, breaks off, or goes beyond 64 MiB and :data:`LARGEST_RATIO`
            times what was read of the file.
    """
    label = str(path)
    with reading(path), io.BufferedReader(path.open("rb", buffering=0), _BUFFER_BYTES) as file:
        beginning = file.read(_LONGEST_MAGIC)  # peek() would copy all of the buffer
        file.seek(0)
        unpacked = _unpacked(file, beginning, label)
        if unpacked is None:
            _refuse_binary(beginning, label)
            yield file
            return
        with unpacked, io.BufferedReader(_Watched(unpacked, file, label), _BLOCK_BYTES) as whole:
            inside = whole.peek(_LONGEST_MAGIC)[:_LONGEST_MAGIC]
            _refuse_binary(inside, label)
            if inside.startswith((_GZIP, _BZIP2, _XZ, _ZSTANDARD)):
                raise Fault("compressed").error(label)
            yield whole


def uncompressed_name(path: Path) -> str:
    """Give a file's name without the ending for its compression: ``data.csv`` for ``data.csv.gz``."""
    return path.stem if path.suffix.lower() in COMPRESSED_ENDINGS else path.name


def _unpacked(file: BinaryIO, beginning: bytes, label: str) -> io.BufferedIOBase | None:
    if beginning.startswith(_GZIP):
        return gzip.GzipFile(fileobj=file)
    if beginning.startswith(_BZIP2):
        return bz2.BZ2File(file)
    if beginning.startswith(_XZ):
        return lzma.LZMAFile(file)
    if beginning.startswith(_ZSTANDARD):
        return _unpacked_zstandard(file, label)
    return None


def _unpacked_zstandard(file: BinaryIO, label: str) -> io.BufferedIOBase:
    try:
        zstd = import_module("compression.zstd")
    except ModuleNotFoundError:
        raise Fault("zstandard").error(label) from None
    unpacked: io.BufferedIOBase = zstd.ZstdFile(file)
    return unpacked


def _damages() -> tuple[type[Exception], ...]:
    """Give what the decompressors raise for data that is damaged; zstandard's only if it is in use."""
    zstd = sys.modules.get("compression.zstd")
    own = () if zstd is None else (zstd.ZstdError,)
    return (OSError, zlib.error, lzma.LZMAError, ValueError, *own)


def _refuse_binary(beginning: bytes, label: str) -> None:
    if beginning.startswith(_NO_TEXT):
        raise Fault("compressed").error(label)


class _Watched(io.RawIOBase):
    """What a compressed file holds, with its faults named, and no further than its size explains."""

    def __init__(self, unpacked: io.BufferedIOBase, file: BinaryIO, label: str) -> None:
        self._unpacked = unpacked
        self._file = file
        self._label = label
        self._given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview | bytearray) -> int:  # type: ignore[override]
        try:
            count = self._unpacked.readinto(target)
        except EOFError:
            rule = "truncated-archive"
        except _damages():
            rule = "broken-archive"
        else:
            self._given += count
            if self._given <= max(_UNCHECKED_BYTES, LARGEST_RATIO * self._file.tell()):
                return count
            rule = "expands-too-far"
        raise Fault(rule).error(self._label)
