"""Which programs do the work of a local workspace."""

from __future__ import annotations

import sys
from datetime import timedelta

import attrs

__all__ = ["Programs"]


@attrs.frozen
class Programs:
    """Which programs run the steps of jobs, and serve models.

    Attributes:
        step: The words before a step's name and its job's folder (:mod:`phi_finetune.local.run_folder` says what is in
            it). It ends with 0 where the step is done.
        server: The words before a server's folder (:mod:`phi_finetune.local.server_folder` says what is in it). It
            goes on until it is told to end.
        idle: After how long without a request a server ends; the next request starts it again.
    """

    step: tuple[str, ...] = (sys.executable, "-m", "phi_finetune.local.step")
    server: tuple[str, ...] = (sys.executable, "-m", "phi_finetune.local.serve")

    idle: timedelta = timedelta(hours=1)

    @property
    def python(self) -> tuple[str, ...]:
        """The words before one of this library's own programs."""
        return (sys.executable, "-m")
