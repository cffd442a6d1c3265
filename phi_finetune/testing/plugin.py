"""The pytest plugin: fixtures for tests that need an Azure.

It loads neither azure nor pandas; the fixtures do, once a test asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from phi_finetune.emulator.billing.bill import Bill
from phi_finetune.testing.fake_azure import FakeAzure, StillBilling

if TYPE_CHECKING:
    from phi_finetune.workspace import Workspace

__all__ = ["fake_azure", "pytest_configure", "workspace"]

_MARKER = "leaves_running"


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, for projects with ``--strict-markers``."""
    config.addinivalue_line("markers", f"{_MARKER}: the test may leave something of fake_azure billing.")


@pytest.fixture
def fake_azure(request: pytest.FixtureRequest) -> Iterator[FakeAzure]:
    """A :class:`~phi_finetune.testing.FakeAzure` that is open for the length of the test.

    A test that leaves something billing ends with an error
    (:class:`~phi_finetune.testing.StillBilling`), unless it is marked ``@pytest.mark.leaves_running``.
    """
    with FakeAzure() as azure:
        yield azure
        if request.node.get_closest_marker(_MARKER) is None:
            _check(azure)


def _check(azure: FakeAzure) -> None:
    leaks = Bill(azure.billing().leaks)
    if leaks.rows:
        raise StillBilling(f"the test left this running:\n{leaks}")


@pytest.fixture
def workspace(fake_azure: FakeAzure) -> Workspace:
    """A :class:`phi_finetune.Workspace` that is connected to the test's ``fake_azure``."""
    return fake_azure.workspace()
