"""Training and serving on this machine: what a fine-tune's steps do where no cloud does them.

Nothing here loads torch, transformers, peft or MLflow until a function needs it; they come with the extra ``local``.
"""

from __future__ import annotations

from phi_finetune.local.tiny import TINY_PARAMETERS, make_tiny_phi
from phi_finetune.local.tiny_corpus import TinyFacts, tiny_facts

__all__ = ["TINY_PARAMETERS", "TinyFacts", "make_tiny_phi", "tiny_facts"]
