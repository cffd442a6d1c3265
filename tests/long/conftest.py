"""What the long proofs share: a process that others are forked from, and a fake behind a proxy for them to ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """A process that has imported all that users' programs need."""
    with Nursery.opened() as found:
        yield found
