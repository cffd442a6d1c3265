"""Testing code that uses Azure Machine Learning, with no account and no network.

::

    from phi_finetune.testing import FakeAzure

    def test_nightly():
        with FakeAzure() as azure:
            run_nightly(azure.ml_client())
            assert azure.endpoints == {}

:class:`FakeAzure` is a subscription with a workspace in it. The fixtures ``fake_azure`` and ``workspace``
of the pytest plugin open one for a test; :mod:`phi_finetune.testing.faults` has what can go wrong in it.

:class:`Recording` writes down what the real service answers, and :class:`Replay` answers the same.

Where no client of Azure's is part of the test, :func:`fake_job`, :func:`fake_model`, :func:`fake_endpoint` and
:func:`fake_workspace` give this library's own objects, and load nothing of Azure's.

:func:`check_retry_policy` puts a retry policy of one's own through everything that a request may meet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi_finetune.emulator.billing.bill import Bill, Charge
    from phi_finetune.emulator.core.clock import ClockStands
    from phi_finetune.emulator.runners.commands import CommandInputs, CommandResult, Commands
    from phi_finetune.testing.credential import FakeCredential
    from phi_finetune.testing.fake_azure import FakeAzure, StillBilling, UnknownRoute, UnmetFault
    from phi_finetune.testing.light import JobStatus, fake_endpoint, fake_job, fake_model, fake_workspace
    from phi_finetune.testing.policies import check_retry_policy
    from phi_finetune.testing.recording import NotRecorded, Recording, Replay, ScrubbingFailed

__all__ = [
    "Bill",
    "Charge",
    "ClockStands",
    "CommandInputs",
    "CommandResult",
    "Commands",
    "FakeAzure",
    "FakeCredential",
    "JobStatus",
    "NotRecorded",
    "Recording",
    "Replay",
    "ScrubbingFailed",
    "StillBilling",
    "UnknownRoute",
    "UnmetFault",
    "check_retry_policy",
    "fake_endpoint",
    "fake_job",
    "fake_model",
    "fake_workspace",
]

_HOMES = {
    "phi_finetune.emulator.billing.bill": ("Bill", "Charge"),
    "phi_finetune.emulator.core.clock": ("ClockStands",),
    "phi_finetune.emulator.runners.commands": ("CommandInputs", "CommandResult", "Commands"),
    "phi_finetune.testing.credential": ("FakeCredential",),
    "phi_finetune.testing.fake_azure": ("FakeAzure", "StillBilling", "UnknownRoute", "UnmetFault"),
    "phi_finetune.testing.policies": ("check_retry_policy",),
    "phi_finetune.testing.recording": ("NotRecorded", "Recording", "Replay", "ScrubbingFailed"),
    "phi_finetune.testing.light": ("JobStatus", "fake_endpoint", "fake_job", "fake_model", "fake_workspace"),
}


def __getattr__(name: str) -> object:
    # The light fakes need nothing of what FakeAzure loads.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
