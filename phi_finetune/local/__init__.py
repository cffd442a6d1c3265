"""Workspaces on this machine: the same objects and the same client, jobs that really run, models really served.

``Workspace.local(folder)`` opens one. Nothing here loads torch, transformers, peft or MLflow until a function needs it;
they come with the extra ``local``.
"""

from __future__ import annotations

from phi_finetune.local.models import add_model
from phi_finetune.local.programs import Programs
from phi_finetune.local.tiny import TINY_PARAMETERS, make_tiny_phi
from phi_finetune.local.tiny_corpus import TinyFacts, tiny_facts

__all__ = ["TINY_PARAMETERS", "Programs", "TinyFacts", "add_model", "make_tiny_phi", "tiny_facts"]
