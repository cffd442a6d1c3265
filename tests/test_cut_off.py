"""A script that is cut off at every request in turn: nothing that bills is left, and a second run finishes."""

from __future__ import annotations

from contextlib import suppress

import pipelines
import pytest
from cutting import When, interrupted
from tuning import PROMPT, REPLY, SIZE, finetune

import phi_finetune as pf
from phi_finetune.testing import FakeAzure

REQUESTS = 22
"""So many does a deployment with one question take, and its end: a test counts them."""
DELETION = 4
"""So many of them are the end: from the deletion to the look that sees it gone."""
SUBMISSION = 19
"""So many does a submission take, with a cluster that is made for it."""


def model(azure: FakeAzure) -> pf.RegisteredModel:
    """A model that can be deployed."""
    pipelines.start(azure.cloud, "tune")
    return azure.workspace().job("tune").wait().register("facts")


def serve(tuned: pf.RegisteredModel) -> str:
    """What a script does with a model."""
    with tuned.deploy(instance_type=SIZE) as endpoint:
        return endpoint.chat(PROMPT, do_sample=False).text


def train(workspace: pf.Workspace) -> pf.FinetuneJob:
    """What a script does to have one."""
    return finetune(workspace, on=workspace.gpu_compute("gpu", size=SIZE)).submit()


def bills(azure: FakeAzure) -> list[str]:
    """What goes on billing an hour later; a deletion that was accepted goes on without us."""
    azure.clock.sleep(3600)
    return [item.resource for item in azure.billing().leaks]


def test_a_deployment_takes_so_many_requests(fake_azure: FakeAzure) -> None:
    """The sweeps below cover them all."""
    tuned = model(fake_azure)
    before = len(fake_azure.journal)
    serve(tuned)
    asked = fake_azure.journal[before:]
    assert len(asked) == REQUESTS
    assert [entry.method for entry in asked].index("DELETE") == REQUESTS - DELETION


def test_a_submission_takes_so_many_requests(fake_azure: FakeAzure) -> None:
    """So does the sweep over these."""
    train(fake_azure.workspace())
    assert len(fake_azure.journal) == SUBMISSION


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, REQUESTS + 1))
def test_a_ctrl_c_leaves_nothing(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, at: int, when: When
) -> None:
    """Whichever request it strikes, no endpoint stays, and the same script run again finishes and leaves none."""
    tuned = model(fake_azure)
    with interrupted(monkeypatch, fake_azure.cloud, at, when=when), suppress(KeyboardInterrupt):
        serve(tuned)
    assert bills(fake_azure) == []
    assert dict(fake_azure.endpoints) == {}
    assert serve(tuned) == REPLY
    assert dict(fake_azure.endpoints) == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("second", range(1, DELETION + 1))
@pytest.mark.parametrize("first", range(1, DELETION + 1))
def test_two_of_them_say_what_is_left(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, first: int, second: int, when: When
) -> None:
    """The first begins the deletion anew; what the second leaves is named, with the call that deletes it."""
    tuned = model(fake_azure)
    at = REQUESTS - DELETION + first
    cut = interrupted(monkeypatch, fake_azure.cloud, at, at + second, when=when)
    with cut, pytest.raises(KeyboardInterrupt) as caught:
        serve(tuned)
    left = bills(fake_azure)
    told = [note for note in caught.value.__notes__ if "delete()" in note and "may still be there" in note]
    assert told or left == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(1, SUBMISSION + 1))
def test_a_ctrl_c_submits_no_second_job(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, at: int, when: When
) -> None:
    """Whichever request it strikes, the same script run again has one job and one cluster, without an idle node."""
    workspace = fake_azure.workspace()
    with interrupted(monkeypatch, fake_azure.cloud, at, when=when), suppress(KeyboardInterrupt):
        train(workspace)
    job = train(fake_azure.workspace())
    assert list(fake_azure.jobs) == [job.name]
    assert list(fake_azure.computes) == ["gpu"]
    assert job.wait().status == "Completed"
    assert bills(fake_azure) == []
