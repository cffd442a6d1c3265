"""The header of a safetensors file, read with bounds and checked against the file (the format's own rules)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs

__all__ = ["BrokenHeader", "Tensor", "read_header"]

MOST_HEADER_BYTES = 16 * 1024 * 1024
"""The format allows 100 MB, which takes gigabytes to read; the header of Phi-4 has 30 kB a file."""
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}
_MOST_DIMENSIONS = 64


class BrokenHeader(ValueError):
    """It is no header of a safetensors file, or does not fit the file."""


@attrs.frozen
class Tensor:
    """A tensor of the file.

    Attributes:
        dtype: The kind of its numbers, such as ``"BF16"``.
        shape: Its size in each dimension.
        start: Where its bytes begin, counted from the end of the header.
        end: Where they end.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors file, by name. Their bytes are not read.

    Raises:
        BrokenHeader: The header is too long, is not the JSON that it must be, or names bytes that the file has not,
            has twice, or has for nothing.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise BrokenHeader("its header is longer than the file")
        if length > MOST_HEADER_BYTES:
            raise BrokenHeader(f"its header has {length:,} bytes, and {MOST_HEADER_BYTES:,} at most are read")
        header = _parse(file.read(length))
    tensors = {name: _tensor(name, value) for name, value in header.items() if name != "__metadata__"}
    _check_metadata(header.get("__metadata__", {}))
    _check_bytes(tensors.values(), size - 8 - length)
    return tensors


def _parse(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_once) if text.startswith(b"{") else None
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise BrokenHeader("its header is no JSON object, or has a name twice")
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _check_metadata(value: object) -> None:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BrokenHeader("its metadata are not texts")


def _tensor(name: str, value: object) -> Tensor:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise BrokenHeader(f"it does not describe {ascii(name)[:80]} as a tensor")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    fits = (
        isinstance(dtype, str)
        and dtype in _BITS
        and _are_counts(shape)
        and len(shape) <= _MOST_DIMENSIONS
        and _are_counts(offsets)
        and len(offsets) == 2
    )
    if not fits or math.prod(shape) * _BITS[dtype] != (offsets[1] - offsets[0]) * 8:
        raise BrokenHeader(f"it gives {ascii(name)[:80]} bytes that do not fit its shape")
    return Tensor(dtype, tuple(shape), *offsets)


def _are_counts(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_bytes(tensors: Iterable[Tensor], size: int) -> None:
    """Refuse tensors that do not share the bytes of the file out among them, each once."""
    spans = sorted((tensor.start, tensor.end) for tensor in tensors)
    edges = [(0, 0), *spans, (size, size)]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        raise BrokenHeader("its tensors overlap, leave bytes between them, or lie outside the file")
