"""What the tests of the local engine have: a tiny model with random weights, and one that was really tuned."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from phi_finetune.local import make_tiny_phi
from phi_finetune.local.job_folder import JobFolder
from phi_finetune.local.libraries import PACKAGING, TRACKING, TRAINING, load
from phi_finetune.local.processes import alone

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "quickstart_local.py"
NEEDS_NOTHING = ("test_local_parameters.py",)
SLOWEST = (
    *("contract", "answers", "training", "ranks", "steps", "resuming", "serving", "tracking", "models"),
    "lengths",
)
"""These begin first, so that no process is left alone with one of them in the end."""

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
    """Mark the tests of this folder, pass over what other libraries warn of, and let the slowest begin."""
    items.sort(key=_place)
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker(pytest.mark.local)
        for filtered in FOREIGN:
            item.add_marker(pytest.mark.filterwarnings(filtered))


def _place(item: pytest.Item) -> int:
    name = item.path.stem.removeprefix("test_local_")
    return SLOWEST.index(name) if name in SLOWEST and item.path.is_relative_to(HERE) else len(SLOWEST)


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """Torch on one thread, as the engine itself uses it for a tiny model."""
    from phi_finetune.local.threads import use_threads

    load((*TRAINING, *TRACKING, *PACKAGING))
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
def example(shared: Path, learned_phi: Path) -> Path:
    """The folder in which the example has run that trains for real, with what it printed."""
    folder = shared / "example"
    with alone(shared / "example.lock"):
        if not folder.exists():
            folder.mkdir()
            (folder / "tiny-phi").symlink_to(learned_phi)
            with (folder / "printed.txt").open("wb") as out, (folder / "errors.txt").open("wb") as errors:
                command = [sys.executable, str(EXAMPLE), str(folder)]
                done = subprocess.run(command, stdout=out, stderr=errors, check=False, timeout=600)
            (folder / "code.txt").write_text(str(done.returncode))
    assert (folder / "code.txt").read_text() == "0", (folder / "errors.txt").read_text(encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tuned(example: Path) -> JobFolder:
    """The example's job, whose steps have all run on a base that had learned."""
    [folder] = (example / "workspace" / "jobs").iterdir()
    return JobFolder(folder)
