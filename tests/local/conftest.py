"""What the tests of the local engine have: a tiny model with random weights, and one that was really tuned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from local_jobs import job_of

from phi_finetune.local import make_tiny_phi
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.processes import alone
from phi_finetune.local.step import run
from phi_finetune.local.steps import STEPS

HERE = Path(__file__).parent
NEEDS_NOTHING = ("test_local_parameters.py",)

collect_ignore = (
    []
    if find_spec("torch")
    else [path.name for path in HERE.glob("test_*.py") if path.name not in NEEDS_NOTHING]
)

# What libraries say of each other, or of themselves.
FOREIGN = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::PendingDeprecationWarning",
    "ignore:.*(type hint|input example):UserWarning",
    "ignore:.*pin_memory.*:UserWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, and pass over what other libraries warn of."""
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.local)
        for filtered in FOREIGN:
            item.add_marker(pytest.mark.filterwarnings(filtered))


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Torch on one thread, as the engine itself uses it for a tiny model."""
    from phi_finetune.local.threads import use_threads

    with use_threads(1):
        yield


@pytest.fixture(scope="session")
def random_phi(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A tiny model that learned nothing."""
    return make_tiny_phi(tmp_path_factory.mktemp("random") / "model", steps=0)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is the same for all processes that run tests beside each other."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def learned_phi(shared: Path, one_thread: None) -> Path:
    """A tiny model that has learned, as its maker leaves it."""
    with alone(shared / "learned.lock"):
        made = shared / "learned"
        return made if made.exists() else make_tiny_phi(made)


@pytest.fixture(scope="session")
def tuned(shared: Path, learned_phi: Path) -> JobFolder:
    """A job whose steps have all run, on a base that had learned."""
    with alone(shared / "tuned.lock"):
        if (shared / "tuned").exists():
            return JobFolder(shared / "tuned")
        folder = job_of(shared / "tuned", learned_phi)
        for name in STEPS:
            status = run(name, folder)
            assert status.state == "Completed", folder.step(name).log.read_text(encoding="utf-8")
        return folder
