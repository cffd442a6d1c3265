"""The tags that lead from a thing back to what it was made from, and say that this library made it."""

from __future__ import annotations

from typing import Final

__all__ = [
    "DATA",
    "DATA_DIGEST",
    "INTENT",
    "JOB",
    "LEASE",
    "MADE_BY",
    "MANIFEST",
    "MODEL",
    "RESOLVED",
    "SERVES",
]

MADE_BY: Final = {"made-by": "phi-finetune"}
"""On everything that this library creates and that can cost money."""

INTENT: Final = "phi-finetune.intent"
"""On a job: the digest of what the user asked for; a property of the same name holds that itself."""

RESOLVED: Final = "phi-finetune.resolved"
"""On a job: what was looked up rather than asked for, as JSON."""

JOB: Final = "phi-finetune.job"
"""On a model: the job that made it."""

MODEL: Final = "phi-finetune.model"
"""The asset id of the base model."""

DATA: Final = "phi-finetune.data"
"""The name of the data set."""

DATA_DIGEST: Final = "phi-finetune.data-digest"
"""The digest of its conversations."""

LEASE: Final = "phi-finetune.lease-until"
"""On what costs money: when it may be deleted, as a time in UTC."""

SERVES: Final = "phi-finetune.serves"
"""On an endpoint: the model it was made for."""

MANIFEST: Final = "phi-finetune.manifest"
"""Of a data asset: a property, which stays as it was made, with what it holds and where that came from, as JSON."""
