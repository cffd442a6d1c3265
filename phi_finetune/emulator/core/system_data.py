"""Who made a resource and who changed it last, and when."""

from __future__ import annotations

from datetime import datetime

from phi_finetune.emulator.core.clock import timestamp

__all__ = ["system_data"]


def system_data(created: datetime, modified: datetime) -> dict[str, str]:
    """The ``systemData`` of a resource: its one user made it."""
    by = {"By": "phi@example.com", "ByType": "User"}
    times = {"created": timestamp(created), "lastModified": timestamp(modified)}
    return {f"{verb}{what}": value for verb, at in times.items() for what, value in {"At": at, **by}.items()}
