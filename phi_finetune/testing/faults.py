"""What can go wrong in a :class:`~phi_finetune.testing.FakeAzure`, to be queued with
``azure.faults.next(...)`` or drawn with ``azure.faults.at_rate(...)``."""

from __future__ import annotations

from phi_finetune.emulator.core.fault_queue import Faults
from phi_finetune.emulator.core.faults import (
    TWELVE_KINDS,
    Answer,
    AnswerLost,
    DeploymentFails,
    EndlessOperation,
    ExpiredToken,
    Fault,
    HalfBody,
    JobFails,
    OperationFails,
    OperationFault,
    Preempted,
    ProvisioningFails,
    RequestFault,
    Silence,
    Trickle,
    Unreachable,
    Wrong,
)

__all__ = [
    "TWELVE_KINDS",
    "Answer",
    "AnswerLost",
    "DeploymentFails",
    "EndlessOperation",
    "ExpiredToken",
    "Fault",
    "Faults",
    "HalfBody",
    "JobFails",
    "OperationFails",
    "OperationFault",
    "Preempted",
    "ProvisioningFails",
    "RequestFault",
    "Silence",
    "Trickle",
    "Unreachable",
    "Wrong",
]
