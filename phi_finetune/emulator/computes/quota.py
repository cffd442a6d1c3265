"""How many cores a subscription may have."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["DEFAULTS", "Quota", "family_label"]

DEFAULTS: Mapping[str, int] = {
    "standardDv2Family": 100,
    "standardDSv2Family": 100,
    "standardFSv2Family": 100,
    "Standard NCASv3_T4 Family": 64,
    "standardNCADSA100v4Family": 96,
    "standardNCadsH100v5Family": 80,
}
"""Cores by family as an emulated subscription has them from the start; a family that is not here has none.

A real new subscription has none of a GPU family until it asks for them, and 24 to 300 dedicated cores of
others (Azure's page "Manage and increase quotas"). Here some are granted, so that a first cluster and a first
deployment fit; ``Settings(quota={"standardNCADSA100v4Family": 0})`` is how a subscription really starts.
"""

_FAMILY = re.compile(r"standard\s*(.+?)\s*family", re.IGNORECASE)


class Quota:
    """The limits of one subscription.

    Args:
        over: Cores by family, over the defaults; names compare without case.
        low_priority: Cores of low priority, one pool for all families (pain.md I1).
    """

    def __init__(self, over: Mapping[str, int], low_priority: int) -> None:
        self._cores = {
            family.lower(): cores for limits in (DEFAULTS, over) for family, cores in limits.items()
        }
        self.low_priority = low_priority

    def of(self, family: str) -> int:
        """Dedicated cores of a family."""
        return self._cores.get(family.lower(), 0)


def family_label(family: str) -> str:
    """A family as messages name it: ``standardNCADSA100v4Family`` is ``Standard NCADSA100v4``."""
    found = _FAMILY.fullmatch(family)
    return f"Standard {found.group(1)}" if found else family
