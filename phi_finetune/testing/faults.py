"""What can go wrong in a :class:`~phi_finetune.testing.FakeAzure`, to be queued with
``azure.faults.next(...)``."""

from __future__ import annotations

from phi_finetune.emulator.core.faults import (
    Answer,
    AnswerLost,
    DeploymentFails,
    Fault,
    Faults,
    JobFails,
    ProvisioningFails,
    RequestFault,
    Unreachable,
)

__all__ = [
    "Answer",
    "AnswerLost",
    "DeploymentFails",
    "Fault",
    "Faults",
    "JobFails",
    "ProvisioningFails",
    "RequestFault",
    "Unreachable",
]
