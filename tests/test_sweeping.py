"""A sweep that is interrupted: nothing is left half-way and unsaid."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cutting import When, interrupted
from tuning import SIZE, trained

from phi_finetune.events import Event, Waiting
from phi_finetune.retries import NoRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer

LEASE = timedelta(minutes=2)
LOOKS = 3
"""So many requests does a sweep begin with: the time, the endpoints, the clusters."""


def expired(azure: FakeAzure) -> None:
    """An endpoint and a cluster whose leases have ended."""
    ws = azure.workspace()
    trained(azure, ws).deploy("answers", instance_type=SIZE, lease=LEASE)
    ws.gpu_compute("gpu", size="Standard_NC4as_T4_v3").ensure(lease=LEASE)
    azure.clock.advance(timedelta(hours=1))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", range(LOOKS + 1, LOOKS + 5))
def test_an_interrupt_leaves_nothing_half_deleted(
    fake_azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, at: int, when: When
) -> None:
    """What was being deleted is gone all the same; what was not reached is named, and the next sweep deletes it."""
    expired(fake_azure)
    cut = interrupted(monkeypatch, fake_azure.cloud, at, when=when)
    with cut, pytest.raises(KeyboardInterrupt) as caught:
        fake_azure.workspace().sweep()
    assert fake_azure.endpoints == {}
    assert "endpoint answers was deleted all the same" in caught.value.__notes__
    rest = "The sweep was cut short at endpoint answers, cluster gpu. Next: ws.sweep() again"
    assert rest in caught.value.__notes__
    assert [str(one.resource) for one in fake_azure.workspace().sweep()] == ["cluster gpu"]


def test_an_error_of_a_listener_says_what_it_stopped(fake_azure: FakeAzure) -> None:
    """It comes out, once what was being deleted is gone."""
    expired(fake_azure)

    def listen(event: Event) -> None:
        if isinstance(event, Waiting):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError) as caught:
        fake_azure.workspace(on_event=listen).sweep()
    assert fake_azure.endpoints == {}
    assert any("cut short at" in note and "cluster gpu" in note for note in caught.value.__notes__)


def test_a_sweep_is_patient_within_its_limit(fake_azure: FakeAzure) -> None:
    """More than the workspace's policy, and no longer than its options say; what is left says why."""
    expired(fake_azure)
    ws = fake_azure.workspace(retries=NoRetries())
    fake_azure.faults.next(Answer("DELETE */computes/*", 503), times=3)
    assert [one.outcome for one in ws.sweep()] == ["deleted", "deleted"]
    expired(fake_azure)
    fake_azure.faults.at_rate(1, kinds=[Answer("DELETE *", 503)])
    started = fake_azure.clock.monotonic()
    swept = ws.with_options(timeout=timedelta(minutes=1)).sweep()
    fake_azure.faults.stop()
    assert [one.outcome for one in swept] == ["left", "left"]
    assert fake_azure.clock.monotonic() - started <= 61
