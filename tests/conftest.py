"""What every test has: an environment without the settings of the machine it runs on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from canaries import Canaries, all_records, told_by
from hypothesis import settings
from local_workspaces import programs

from phi_finetune.errors import PhiFinetuneError
from phi_finetune.local.programs import Programs
from phi_finetune.testing import FakeAzure

# A busy machine is no fault of the code, so hypothesis sets no time limit on an example.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

pytest.register_assert_rewrite("lifecycle_rules")

_TIDY = "test_bills.py"
_MAY_SLEEP_S = 0.5
"""The most that all tests together may sleep for real, in seconds (reliability.md R22)."""
_OURS_TO_CLEAR = ("AZURE", "HF_", "IDENTITY_", "MLFLOW_", "MSI_", "PHI_FINETUNE_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let this project's own tests leave things running, but those of the bill.

    Most look at one step of a fine-tune's life, and stop there; that ``with`` blocks and ``delete()`` clean
    up has tests of its own.
    """
    for item in items:
        if item.path.name != _TIDY:
            item.add_marker(pytest.mark.leaves_running)


@pytest.fixture(autouse=True, scope="session")
def nobody_sleeps() -> Iterator[None]:
    """Fail where tests wait for real: waits are on the fake's clock, which costs no time."""
    sleep, slept = time.sleep, dict[str, float]()

    def counted(seconds: float) -> None:
        # Python waits in this way for another process to end, which takes as long as that takes.
        if sys._getframe(1).f_globals.get("__name__") != subprocess.__name__:
            test = os.environ.get("PYTEST_CURRENT_TEST", "")
            slept[test] = slept.get(test, 0.0) + seconds
        sleep(seconds)

    time.sleep = counted
    try:
        yield
    finally:
        time.sleep = sleep
    assert sum(slept.values()) <= _MAY_SLEEP_S, f"tests slept: {slept}"


@pytest.fixture(autouse=True)
def nothing_secret_is_told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where a test with a fake Azure lets a token, key or signature be logged, or told by an error of ours."""
    if "fake_azure" not in request.fixturenames:
        yield
        return
    azure: FakeAzure = request.getfixturevalue("fake_azure")
    canaries, errors = Canaries(azure), list[PhiFinetuneError]()
    monkeypatch.setattr(azure.cloud, "handle", canaries.listening(azure.cloud.handle))
    made = PhiFinetuneError.__init__

    def kept(self: PhiFinetuneError, *args: Any, **named: Any) -> None:
        made(self, *args, **named)
        errors.append(self)

    monkeypatch.setattr(PhiFinetuneError, "__init__", kept)
    with all_records() as records:
        yield
    assert canaries.seen_in(records.texts, and_texts=False) == []
    assert canaries.seen_in((text for error in errors for text in told_by(error)), and_texts=False) == []


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the account, the hub and the tracking server that the machine's own variables name."""
    for name in [name for name in os.environ if name.startswith(_OURS_TO_CLEAR)]:
        monkeypatch.delenv(name)


@pytest.fixture
def small_programs(tmp_path: Path) -> Programs:
    """Programs that do the work of a local workspace in a moment, and learn nothing."""
    return programs(tmp_path / "programs")
