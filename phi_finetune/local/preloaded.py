"""Loads what steps begin with, where it is imported by the process that they are forked from; elsewhere nothing."""

from __future__ import annotations

import sys

from phi_finetune.local.libraries import PACKAGING, TRACKING, TRAINING, load

__all__: list[str] = []

# How multiprocessing starts that process, which imports modules and takes no functions (its forkserver.py, 2026-11).
if any("multiprocessing.forkserver" in word for word in sys.orig_argv):
    ours = (f"phi_finetune.local.{name}" for name in ("step", "train", "evaluate"))
    load((*TRAINING, *TRACKING, *PACKAGING, *ours))
