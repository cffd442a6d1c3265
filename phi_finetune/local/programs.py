"""Which programs do the work of a local workspace."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import attrs

__all__ = ["EVALUATION", "Programs"]

EVALUATION: Final = "chat_completion_model_evaluation"
"""The step that measures what the training changed."""
_TRAINING: Final = "chat_completion_finetune"


@attrs.frozen
class Programs:
    """Which programs run the steps of jobs, and serve models.

    Attributes:
        step: The words before a step's name and its job's folder (:mod:`phi_finetune.local.run_folder` says what is in
            it). It ends with 0 where the step is done.
        server: The words before a server's folder (:mod:`phi_finetune.local.server_folder` says what is in it). It
            goes on until it is told to end.
        idle: After how long without a request a server ends; the next request starts it again.
        evaluates: Whether a step after the training measures what it changed. The registry's pipeline has none since
            its version 0.0.82 (Azure/azureml-assets, 2026-07-23).
    """

    step: tuple[str, ...] = (sys.executable, "-m", "phi_finetune.local.step")
    server: tuple[str, ...] = (sys.executable, "-m", "phi_finetune.local.serve")

    idle: timedelta = timedelta(hours=1)
    evaluates: bool = True

    def steps(self, pipeline: Sequence[str]) -> list[str]:
        """The steps that a job has here.

        Args:
            pipeline: The names of the registry's pipeline's steps, in order.
        """
        added = {_TRAINING: [EVALUATION]} if self.evaluates else {}
        return [name for step in pipeline for name in (step, *added.get(step, ()))]

    @property
    def python(self) -> tuple[str, ...]:
        """The words before one of this library's own programs."""
        return (sys.executable, "-m")
