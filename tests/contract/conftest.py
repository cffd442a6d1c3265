"""What a contract test gets: a client through each door, watched, and names of its own.

A test says by ``@pytest.mark.operation("models.get", "models.list")`` which operations of azure-ai-ml it shows, and
fails if it does not call them; ``partial="..."`` says what the fake lacks, and ``local=True`` that no request is
sent. ``@pytest.mark.refused("schedules.get", what="schedules")`` says which operation it shows to be answered with
501, and what is not emulated. The page about the operations is made from these markers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
from service_doors import DOORS, OWN_REGISTRY, Door, NoAccount
from watched_client import Watch, WatchedClient

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
    """Leave the real service out, unless ``-m`` names it; it has everything that the fake refuses."""
    asked_for = _REAL in config.option.markexpr
    real = [item for item in items if item.get_closest_marker(_REAL) is not None]
    left_out = {item for item in real if not asked_for or item.get_closest_marker("refused") is not None}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what costs money, and was not asked for."""
    costs = item.get_closest_marker(_REAL) is not None and item.get_closest_marker("costs") is not None
    if costs and not item.config.getoption("--costs"):
        pytest.skip("costs money on the real service; --costs lets it run")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Hold a test that passed to what its markers say."""
    yield
    watch = getattr(item, "funcargs", {}).get("watch")
    for mark in [*item.iter_markers("operation"), *item.iter_markers("refused")]:
        assert watch is not None, "the test says what it shows, and has no client to show it with"
        watch.require(mark.args, local=mark.kwargs.get("local", False))


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
    return Watch(door.cloud)


@pytest.fixture
def ml(door: Door, watch: Watch) -> WatchedClient:
    """A client of the workspace, whose calls are noted."""
    return WatchedClient(door.workspace, watch)


@pytest.fixture
def registry(door: Door, watch: Watch) -> WatchedClient:
    """A client of the registry ``azureml``, whose calls are noted."""
    return WatchedClient(door.registry, watch, "registry.")


@pytest.fixture
def own_registry(door: Door, watch: Watch) -> WatchedClient:
    """A client of a registry that can be written to, whose calls are noted."""
    if door.own_registry is None:
        pytest.skip(f"the environment names no registry to write to: {OWN_REGISTRY}")
    return WatchedClient(door.own_registry, watch, "registry.")


@pytest.fixture(scope="session")
def unique() -> Callable[[str], str]:
    """A name that nobody else has: ``unique("model")``; letters, digits and dashes, 32 characters at most."""
    return lambda what: f"pf-{what}-{uuid4().hex[:8]}"


@pytest.fixture
def afterwards() -> Iterator[ExitStack]:
    """What is done when the test is over, the last thing first: ``afterwards.callback(...)``."""
    with ExitStack() as stack:
        yield stack
