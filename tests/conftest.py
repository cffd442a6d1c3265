"""What every test has: an environment without the settings of the machine it runs on."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# A busy machine is no fault of the code, so hypothesis sets no time limit on an example.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

_TIDY = "test_bills.py"
_OURS_TO_CLEAR = ("AZURE", "HF_", "IDENTITY_", "MLFLOW_", "MSI_", "PHI_FINETUNE_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let this project's own tests leave things running, but those of the bill.

    Most look at one step of a fine-tune's life, and stop there; that ``with`` blocks and ``delete()`` clean
    up has tests of its own.
    """
    for item in items:
        if item.path.name != _TIDY:
            item.add_marker(pytest.mark.leaves_running)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the account, the hub and the tracking server that the machine's own variables name."""
    for name in [name for name in os.environ if name.startswith(_OURS_TO_CLEAR)]:
        monkeypatch.delenv(name)
