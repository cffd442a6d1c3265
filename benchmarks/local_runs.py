"""Runs as processes of their own, and what is measured of them (see ``local.py``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["SETTINGS", "Clock", "call", "peak_of"]

SETTINGS: Final = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""The environment of every run: one thread, and nothing fetched."""


def call(file: str, name: str, given: Mapping[str, Any]) -> Any:
    """What a function of a file returns for keywords, called in a process of its own; both are what JSON can say."""
    command = [sys.executable, file, name, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **SETTINGS})
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_of(command: list[str]) -> int:
    """Run a command to its end; the most bytes that its process had resident."""
    process = subprocess.Popen(command, env={**os.environ, **SETTINGS})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Clock:
    """Takes the seconds on the wall, and those of the processor, between laps."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._then = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = time.perf_counter(), time.process_time()
        self.laps |= {name: now[0] - self._then[0], f"{name}_cpu": now[1] - self._then[1]}
        self._then = now
