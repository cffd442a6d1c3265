"""The pytest plugin: fixtures for tests that need an Azure.

It loads neither azure nor pandas; the fixtures do, once a test asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from phi_finetune.testing.fake_azure import FakeAzure

if TYPE_CHECKING:
    from phi_finetune.workspace import Workspace

__all__ = ["fake_azure", "workspace"]


@pytest.fixture
def fake_azure() -> Iterator[FakeAzure]:
    """A :class:`~phi_finetune.testing.FakeAzure` that is open for the length of the test."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def workspace(fake_azure: FakeAzure) -> Workspace:
    """A :class:`phi_finetune.Workspace` that is connected to the test's ``fake_azure``."""
    return fake_azure.workspace()
