"""Which programs do the work of a local workspace."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Final

import attrs

__all__ = ["PYTHON", "Programs"]

PYTHON: Final = (sys.executable, "-P", "-m")
"""The words before a module that runs as a program. What lies in the current folder is not taken for it, nor for
anything that it imports."""


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

    step: tuple[str, ...] = (*PYTHON, "phi_finetune.local.step")
    server: tuple[str, ...] = (*PYTHON, "phi_finetune.local.serve")

    idle: timedelta = timedelta(hours=1)
