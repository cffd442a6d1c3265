"""The contract of a fine-tune's life, unchanged, on real training and serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lifecycle_answers import Life, RealEngine
from lifecycle_rules import *  # noqa: F403 - the rules are what is tested here


@pytest.fixture(scope="module", params=[RealEngine], ids=["RealEngine"])
def life(tmp_path_factory: pytest.TempPathFactory, random_phi: Path) -> Iterator[Life]:
    """A life on the real engine, trained once."""
    life = Life(RealEngine(tmp_path_factory.mktemp("life"), random_phi))
    yield life
    life.close()
