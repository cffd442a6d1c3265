"""What a contract test gets: a client through each door, watched, and names of its own.

A test says by ``@pytest.mark.operation("models.get", "models.list")`` which operations of azure-ai-ml it shows, and
fails if it does not call them; ``partial="..."`` says what the fake lacks, and ``local=True`` that no request is
sent. ``@pytest.mark.refused("schedules.get")`` says which operation it shows to be answered with 501. The page about
the operations is made from these markers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from service_doors import DOORS, Door, NoAccount
from watched_client import WatchedClient, not_called

_REAL = "real_service"
_MACHINE = dict(os.environ)
"""The environment before a test hides it: signing in to the real service may need any of it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests that cost money run against the real service only where somebody says so."""
    parser.addoption(
        "--costs",
        action="store_true",
        help="with -m real_service: also run jobs and deployments, which cost money",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the real service out, unless ``-m`` names it."""
    if _REAL in config.option.markexpr:
        return
    real = [item for item in items if item.get_closest_marker(_REAL) is not None]
    if real:
        config.hook.pytest_deselected(items=real)
        items[:] = [item for item in items if item not in set(real)]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what costs money, and was not asked for."""
    costs = item.get_closest_marker(_REAL) is not None and item.get_closest_marker("costs") is not None
    if costs and not item.config.getoption("--costs"):
        pytest.skip("costs money on the real service; --costs lets it run")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Hold a test that passed to what its markers say."""
    yield
    for mark in item.iter_markers("operation"):
        watch = getattr(item, "funcargs", {})["watch"]
        watch.require(mark.args, local=mark.kwargs.get("local", False))


@dataclass
class Watch:
    """What a test has called, and what was asked of the fake meanwhile."""

    door: Door
    called: set[str] = field(default_factory=set)
    before: int = 0

    def __post_init__(self) -> None:
        self.before = self.sent

    @property
    def sent(self) -> int:
        """How many requests the fake has had; 0 for the real service."""
        return len(self.door.cloud.journal) if self.door.cloud else 0

    def require(self, declared: tuple[str, ...], *, local: bool) -> None:
        """Fail unless the declared operations were called, and answered by the fake as far as it was asked."""
        missing = not_called(declared, self.called)
        assert not missing, f"the test says it shows {', '.join(missing)}, and did not call it"
        if self.door.cloud is None:
            return
        asked = list(self.door.cloud.journal)[self.before :]
        assert not (local and asked), f"the test says nothing is sent, and the fake was asked: {asked}"
        assert not self.door.cloud.unrouted, f"not answered: {self.door.cloud.unrouted}"


@pytest.fixture(
    scope="module", params=["inprocess", "proxy", pytest.param("real", marks=pytest.mark.real_service)]
)
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """An open way to the service, which all tests of a file share, as people share a workspace.

    When the last test of a file is done, nothing that it made may go on billing.
    """
    try:
        with DOORS[request.param]() as door:
            yield door
            if door.cloud:
                assert not door.cloud.bill().leaks, f"left running:\n{door.cloud.bill()}"
    except NoAccount as why:
        pytest.skip(str(why))


@pytest.fixture(autouse=True)
def machine_environment(clean_environment: None, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own variables again, where the real service is asked."""
    for name, value in _MACHINE.items() if door.cloud is None else ():
        monkeypatch.setenv(name, value)


@pytest.fixture
def watch(door: Door) -> Watch:
    """What the test calls."""
    return Watch(door)


@pytest.fixture
def ml(watch: Watch) -> WatchedClient:
    """A client of the workspace, whose calls are noted."""
    return WatchedClient(watch.door.workspace, watch.called)


@pytest.fixture
def registry(watch: Watch) -> WatchedClient:
    """A client of the registry ``azureml``, whose calls are noted."""
    return WatchedClient(watch.door.registry, watch.called, "registry.")


@pytest.fixture(scope="session")
def unique() -> Callable[[str], str]:
    """A name that nobody else has: ``unique("model")``; letters, digits and dashes, 32 characters at most."""
    return lambda what: f"pf-{what}-{uuid4().hex[:8]}"


@pytest.fixture
def afterwards() -> Iterator[ExitStack]:
    """What is done when the test is over, the last thing first: ``afterwards.callback(...)``."""
    with ExitStack() as stack:
        yield stack
