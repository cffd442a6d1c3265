"""Durations as the services write them: ISO 8601, such as ``PT2M``."""

from __future__ import annotations

import re
from datetime import timedelta

from phi_finetune.emulator.core.errors import ServiceError

__all__ = ["format_duration", "parse_duration"]

_DURATION = re.compile(
    r"P(?!$)(?:(?P<days>\d+)D)?(?:T(?!$)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def parse_duration(text: str) -> timedelta:
    """The duration that ``text`` says.

    Raises:
        ServiceError: 400, where it is none of days, hours, minutes and seconds.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ServiceError(400, "InvalidPropertyValue", f"The specified value {text} is not a duration.")
    return timedelta(**{unit: float(number) for unit, number in found.groupdict().items() if number})


def format_duration(duration: timedelta) -> str:
    """The shortest text of a duration of whole seconds: two minutes are ``PT2M``."""
    seconds = int(duration.total_seconds())
    units = (("H", seconds // 3600), ("M", seconds % 3600 // 60), ("S", seconds % 60))
    return "PT" + ("".join(f"{number}{unit}" for unit, number in units if number) or "0S")
