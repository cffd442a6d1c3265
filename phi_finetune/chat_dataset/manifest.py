"""What was written, and where it came from, as a file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from phi_finetune.chat_dataset.split_info import Measuring
from phi_finetune.chat_dataset.splits import SplitName, Splits

__all__ = ["manifest"]

_FORMAT = 1


def manifest(
    data: Splits, files: Mapping[SplitName, Path], written: Mapping[SplitName, Measuring]
) -> Iterator[bytes]:
    """The content of ``manifest.json``; to be read once the splits were written."""
    content = {
        "format": _FORMAT,
        "name": data.name,
        "origin": None if data.origin is None else attrs.asdict(data.origin),
        "splits": {
            split: {"file": path.name, **attrs.asdict(written[split].info)} for split, path in files.items()
        },
    }
    yield json.dumps(content, indent=2).encode("ascii") + b"\n"
