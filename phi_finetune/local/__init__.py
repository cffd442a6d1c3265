"""Workspaces on this machine: the same objects and the same client, jobs that really run, models really served.

``Workspace.local(folder)`` opens one. Nothing here loads torch, transformers, peft or MLflow until a function needs it;
they come with the extra ``local``. Importing this package imports none of its modules: a process that serves a model
would wait for the whole emulator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi_finetune.local.addresses import Address, address
    from phi_finetune.local.models import add_model, answer
    from phi_finetune.local.programs import Programs
    from phi_finetune.local.tiny import TINY_PARAMETERS, make_tiny_phi
    from phi_finetune.local.tiny_corpus import TinyFacts, tiny_facts

__all__ = [
    "TINY_PARAMETERS",
    "Address",
    "Programs",
    "TinyFacts",
    "add_model",
    "address",
    "answer",
    "make_tiny_phi",
    "tiny_facts",
]

_HOMES = {
    "addresses": ("Address", "address"),
    "models": ("add_model", "answer"),
    "programs": ("Programs",),
    "tiny": ("TINY_PARAMETERS", "make_tiny_phi"),
    "tiny_corpus": ("TinyFacts", "tiny_facts"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
