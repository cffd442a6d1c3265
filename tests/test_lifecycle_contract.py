"""The contract of a fine-tune's life, on every answer that needs no torch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lifecycle_answers import WITHOUT_TORCH, Answer, Life
from lifecycle_rules import *  # noqa: F403 - the rules are what is tested here


@pytest.fixture(scope="module", params=WITHOUT_TORCH, ids=lambda kind: kind.__name__)
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """A life on each answer."""
    kind: type[Answer] = request.param
    with kind(tmp_path_factory.mktemp("life")).opened() as answer:
        life = Life(answer)
        yield life
        life.close()
