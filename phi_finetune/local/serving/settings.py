"""What a server is told, from the ``server.json`` of its folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import attrs

from phi_finetune.local._files import read_json

__all__ = ["Settings"]

_DURATION: Final = re.compile(r"PT(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?")
_TIMEOUT_S: Final = 5.0
"""Azure's default for a request (pain.md, "Request and probe settings")."""


@attrs.frozen
class Settings:
    """What a server is told.

    Attributes:
        key: What a caller must carry.
        model: Where the model's files are.
        name: What the model is called in answers of OpenAI's form.
        in_flight: The most requests that may be in hand at a time.
        timeout_s: How long an answer may take, in seconds.
    """

    key: str = attrs.field(repr=False)
    model: Path
    name: str
    in_flight: int
    timeout_s: float

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """Read what the server of a folder is told.

        Azure takes twice as many requests as its machines work on at a time; how long they may queue is a setting
        that it no longer heeds (pain.md, Q6).

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not what it should be.
            KeyError: It lacks something.
        """
        told = read_json(folder / "server.json")
        requests: dict[str, Any] = told.get("settings") or {}
        at_a_time = int(requests.get("maxConcurrentRequestsPerInstance") or 1)
        return cls(
            key=str(told["key"]),
            model=folder / "model",
            name=str(told.get("deployment") or "model"),
            in_flight=2 * at_a_time * int(told.get("instances") or 1),
            timeout_s=_seconds(requests.get("requestTimeout")),
        )


def _seconds(duration: object) -> float:
    found = _DURATION.fullmatch(str(duration or ""))
    if found is None:
        return _TIMEOUT_S
    hours, minutes, seconds = (float(found[unit] or 0) for unit in "hms")
    return 3600 * hours + 60 * minutes + seconds or _TIMEOUT_S
