"""Fine-tune a Phi model on chat data, deploy it, and talk to it, on Azure Machine Learning.

Importing this package imports none of its modules: each public name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi_finetune import local
    from phi_finetune.chat_dataset import ChatDataset, Conversation, Message
    from phi_finetune.compute import GpuCompute, GpuSku
    from phi_finetune.data_assets import DataAsset
    from phi_finetune.deployments import Deployment, Probe
    from phi_finetune.endpoints import Endpoint, write_request
    from phi_finetune.errors import PhiFinetuneError
    from phi_finetune.finetune import Finetune, FinetuneSettings
    from phi_finetune.jobs import FinetuneJob
    from phi_finetune.metrics import TrainingMetrics
    from phi_finetune.models import FoundationModel
    from phi_finetune.parameters import FinetuneParameters, ParameterValues
    from phi_finetune.plans import FinetunePlan
    from phi_finetune.protocols import CredentialPolicy, RetryPolicy
    from phi_finetune.registered_models import RegisteredModel
    from phi_finetune.scoring import ChatReply, Sampling
    from phi_finetune.workspace import Workspace

    __version__: str

__all__ = [
    "ChatDataset",
    "ChatReply",
    "Conversation",
    "CredentialPolicy",
    "DataAsset",
    "Deployment",
    "Endpoint",
    "Finetune",
    "FinetuneJob",
    "FinetuneParameters",
    "FinetunePlan",
    "FinetuneSettings",
    "FoundationModel",
    "GpuCompute",
    "GpuSku",
    "Message",
    "ParameterValues",
    "PhiFinetuneError",
    "Probe",
    "RegisteredModel",
    "RetryPolicy",
    "Sampling",
    "TrainingMetrics",
    "Workspace",
    "__version__",
    "local",
    "write_request",
]

_HOMES = {
    "chat_dataset": ("ChatDataset", "Conversation", "Message"),
    "compute": ("GpuCompute", "GpuSku"),
    "data_assets": ("DataAsset",),
    "deployments": ("Deployment", "Probe"),
    "endpoints": ("Endpoint", "write_request"),
    "errors": ("PhiFinetuneError",),
    "finetune": ("Finetune", "FinetuneSettings"),
    "jobs": ("FinetuneJob",),
    "metrics": ("TrainingMetrics",),
    "models": ("FoundationModel",),
    "parameters": ("FinetuneParameters", "ParameterValues"),
    "plans": ("FinetunePlan",),
    "protocols": ("CredentialPolicy", "RetryPolicy"),
    "registered_models": ("RegisteredModel",),
    "scoring": ("ChatReply", "Sampling"),
    "workspace": ("Workspace",),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("phi-finetune")
    if name == "local":
        return import_module(f"{__name__}.local")
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
