"""Streaming of jobs that does not sleep."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from phi_finetune.emulator.doors.environment import environment
from phi_finetune.emulator.doors.shared import SharedContext

__all__ = ["STREAMING_AT_ONCE"]

# wire.md 5, streaming: jobs.stream waits by time.sleep; the pauses come from the environment at import of
# azure-ai-ml, and from these constants after it. Without either they are 2 s and 60 s.
_MODULE = "azure.ai.ml.operations._run_history_constants"
_INTERVALS = (
    ("AZUREML_RUN_POLLING_INTERVAL_MIN", "_WAIT_COMPLETION_POLLING_INTERVAL_MIN", 2),
    ("AZUREML_RUN_POLLING_INTERVAL_MAX", "_WAIT_COMPLETION_POLLING_INTERVAL_MAX", 60),
)


@contextmanager
def _at_once() -> Iterator[None]:
    constants = _constants()
    before = {name: getattr(constants, name) for _, name, _ in _INTERVALS} if constants else {}
    for _, name, _ in _INTERVALS:
        if constants:
            setattr(constants, name, 0)
    try:
        with environment({variable: "0" for variable, _, _ in _INTERVALS}):
            yield
    finally:
        _restore(before)


def _restore(before: dict[str, object]) -> None:
    constants = _constants()
    if constants is None:
        return
    for variable, name, default in _INTERVALS:
        # Imported in between, it read our zero; it gets what it would have read without us.
        setattr(constants, name, before.get(name, os.environ.get(variable, default)))


def _constants() -> type | None:
    module = sys.modules.get(_MODULE)
    return getattr(module, "RunHistoryConstants", None)


STREAMING_AT_ONCE = SharedContext(_at_once)
"""While somebody is in it, azure-ai-ml's ``jobs.stream`` polls without pause."""
