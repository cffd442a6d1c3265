"""How the machine of a local workspace is called."""

from __future__ import annotations

from typing import Final

__all__ = ["FAMILY", "NAME"]

NAME: Final = "this-machine"
"""The only size that a local workspace has of its own."""

FAMILY: Final = "local"
"""Its family, which no size of Azure's has."""
