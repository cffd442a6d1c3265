from __future__ import annotations

from collections.abc import Iterator

import pytest
from azure.ai.ml.entities import Model
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from watched_client import Watch, WatchedClient

from phi_finetune.testing import FakeAzure


@pytest.fixture
def azure() -> Iterator[FakeAzure]:
    """An open fake."""
    with FakeAzure() as azure:
        yield azure


@pytest.fixture
def watch(azure: FakeAzure) -> Watch:
    """What a test calls."""
    return Watch(azure.cloud)


@pytest.fixture
def ml(azure: FakeAzure, watch: Watch) -> WatchedClient:
    """A client of the workspace, whose calls are noted."""
    return WatchedClient(azure.ml_client(), watch)


def test_a_call_is_noted(ml: WatchedClient, watch: Watch) -> None:
    """By its name, and with the class of its first argument; a look at the method is no call."""
    assert callable(ml.models.list)
    assert watch.called == set()
    assert list(ml.models.list()) == []
    with pytest.raises(ResourceNotFoundError):
        ml.models.get("m", version="1")
    assert watch.called == {"models.list", "models.get", "models.get:str"}
    watch.require(["models.list", "models.get"])


def test_the_clients_own_calls_are_noted(azure: FakeAzure, ml: WatchedClient, watch: Watch) -> None:
    """They have a group of their own, and what the client holds is handed out as it is."""
    assert ml.workspace_name == azure.workspace_name
    path = "azureml://datastores/workspaceblobstore/paths/model"
    ml.create_or_update(Model(name="m", version="1", path=path))
    assert watch.called == {"MLClient.create_or_update", "MLClient.create_or_update:Model"}


def test_a_registrys_calls_are_told_apart(azure: FakeAzure, watch: Watch) -> None:
    """They begin with another word."""
    WatchedClient(azure.ml_client(registry_name="azureml"), watch, "registry.").models.list()
    assert watch.called == {"registry.models.list"}


def test_what_was_not_called_is_missed(ml: WatchedClient, watch: Watch) -> None:
    """A test that declares more than it calls fails, and so does one that called it with another class."""
    ml.models.list()
    with pytest.raises(AssertionError, match=r"shows jobs\.get, models\.list:Model, and did not call it"):
        watch.require(["models.list:Model", "models.list", "jobs.get"])


def test_what_is_local_sends_nothing(ml: WatchedClient, watch: Watch) -> None:
    """A test that says so fails where a request was sent."""
    assert ml.models.list()
    watch.require(["models.list"], local=True)
    ml.workspaces.get()
    with pytest.raises(AssertionError, match=r"nothing is sent, and this was: \['GET https://"):
        watch.require(["workspaces.get"], local=True)


def test_what_is_not_answered_is_not_shown(azure: FakeAzure, ml: WatchedClient, watch: Watch) -> None:
    """A call that met 501 shows nothing, even if the test expected an error."""
    with pytest.raises(HttpResponseError):
        ml.schedules.get("s")
    with pytest.raises(AssertionError, match="the fake does not know"):
        watch.require(["schedules.get"])
    azure.cloud.unrouted.clear()


def test_the_real_service_is_not_looked_into(azure: FakeAzure) -> None:
    """Without a fake, what was called is all that is checked."""
    watch = Watch(None)
    WatchedClient(azure.ml_client(), watch).models.list()
    watch.require(["models.list"], local=True)
