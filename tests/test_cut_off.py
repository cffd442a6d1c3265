"""Deploying, cut off at every request in turn: nothing that bills is left, and a second run finishes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pipelines
import pytest
from tuning import PROMPT, REPLY, SIZE

import phi_finetune as pf
from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.testing import FakeAzure

REQUESTS = 22
"""So many does a deployment with one question take, and its end: a test counts them."""


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, cloud: Cloud, at: int) -> Iterator[None]:
    """A Ctrl-C after the request of this number was carried out."""
    handle, seen = Cloud.handle, 0

    def stop(self: Cloud, request: Request) -> Response:
        nonlocal seen
        answer = handle(self, request)
        seen += 1
        if seen == at:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Cloud, "handle", stop)
        yield


def model(azure: FakeAzure) -> pf.RegisteredModel:
    """A model that can be deployed."""
    pipelines.start(azure.cloud, "tune")
    return azure.workspace().job("tune").wait().register("facts")


def serve(tuned: pf.RegisteredModel) -> str:
    """What a script does with a model."""
    with tuned.deploy(instance_type=SIZE) as endpoint:
        return endpoint.chat(PROMPT, do_sample=False).text


def test_a_deployment_takes_so_many_requests(fake_azure: FakeAzure) -> None:
    """The sweep below covers them all."""
    tuned = model(fake_azure)
    before = len(fake_azure.journal)
    serve(tuned)
    assert len(fake_azure.journal) - before == REQUESTS


@pytest.mark.parametrize("at", range(1, REQUESTS + 1))
def test_a_ctrl_c_leaves_nothing(fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whichever request it strikes, no endpoint stays, and the same script run again finishes and leaves none."""
    tuned = model(fake_azure)
    with interrupted(monkeypatch, fake_azure.cloud, at), suppress(KeyboardInterrupt):
        serve(tuned)
    fake_azure.clock.sleep(3600)  # a deletion that was accepted goes on without us
    assert fake_azure.workspace().endpoints() == ()
    assert serve(tuned) == REPLY
    assert fake_azure.workspace().endpoints() == ()
