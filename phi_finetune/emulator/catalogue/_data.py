"""Reads the JSON files of this package."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["load"]


@cache
def load(file_name: str) -> dict[str, Any]:
    """A file's content. It is shared between callers, who copy what they hand on."""
    folder = resources.files("phi_finetune.emulator.catalogue")
    loaded: dict[str, Any] = json.loads(folder.joinpath(file_name).read_bytes())
    return loaded
