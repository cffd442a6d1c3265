"""Loads, as it is imported, what processes begin with that are forked for steps."""

from __future__ import annotations

from phi_finetune.local.libraries import PACKAGING, TRACKING, TRAINING, load

__all__: list[str] = []

load((*TRAINING, *TRACKING, *PACKAGING, "phi_finetune.local.step"))
