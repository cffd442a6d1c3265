"""The libraries that the programs of a local workspace load, which takes longer than most of what they then do."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from typing import Final

__all__ = ["ANSWERING", "PACKAGING", "TRACKING", "TRAINING", "load"]

ANSWERING: Final = (
    "torch",
    "transformers.generation",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.phi3.modeling_phi3",
)
"""What a server answers with."""

TRAINING: Final = (
    *ANSWERING,
    "transformers.trainer",
    "peft",
)
"""What a training needs."""

TRACKING: Final = ("mlflow", "mlflow.store.tracking.sqlalchemy_store")
"""What writes runs into MLflow's store."""

PACKAGING: Final = ("mlflow.pyfunc",)
"""What writes a model in MLflow's form."""


def load(modules: Iterable[str]) -> None:
    """Import modules, in a program of this library's own; those that are not installed are passed over.

    The garbage collector, which would go through what was loaded again and again, rests meanwhile, and leaves all that
    there is by then alone afterwards. That takes less time, and processes that are forked later share more of the
    memory (Python's documentation of ``gc.freeze``, 2026-11). Where all are loaded, nothing happens.

    Args:
        modules: Their names.
    """
    missing = [name for name in modules if name not in sys.modules]
    if not missing:
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        for name in missing:
            with suppress(ImportError):  # who needs it says which extra is missing
                import_module(name)
        gc.freeze()
    finally:
        if collects:
            gc.enable()
