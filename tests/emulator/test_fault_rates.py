from __future__ import annotations

from collections import Counter

import pytest
from asking import ask
from hypothesis import given
from hypothesis import strategies as st

from phi_finetune.emulator.cloud import Cloud
from phi_finetune.emulator.core.fault_queue import Faults
from phi_finetune.emulator.core.faults import AnswerNeverCame, NobodyListens
from phi_finetune.emulator.core.http import Request
from phi_finetune.testing.faults import TWELVE_KINDS, Answer, AnswerLost, HalfBody, RequestFault, Unreachable

JOBS = Request("GET", "https://management.azure.com/jobs", {})


def drawn(probability: float, seed: int, requests: int) -> list[RequestFault | None]:
    """What so many requests meet at a rate."""
    faults = Faults()
    faults.at_rate(probability, seed=seed)
    return [faults.find(JOBS) for _ in range(requests)]


def test_the_rate_is_the_rate() -> None:
    """Of 24,000 requests about a fifth meet a fault, and each of the twelve kinds is drawn as often."""
    met = Counter(map(repr, filter(None, drawn(0.2, 7, 24_000))))
    assert len(met) == len(TWELVE_KINDS) == 12
    assert 4_500 < met.total() < 5_100
    # 400 of each are expected; five standard deviations are 96.
    assert all(304 < count < 496 for count in met.values())


@given(st.integers(), st.floats(0, 1))
def test_a_seed_draws_the_same_again(seed: int, probability: float) -> None:
    """The same requests meet the same faults for one seed."""
    assert drawn(probability, seed, 40) == drawn(probability, seed, 40)


def test_seeds_differ() -> None:
    """Another seed draws other faults."""
    assert drawn(0.5, 1, 40) != drawn(0.5, 2, 40)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_is_from_0_to_1(probability: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="from 0 to 1"):
        Faults().at_rate(probability)


def test_only_the_given_kinds_are_drawn() -> None:
    """A kind that is for other requests is not drawn for this one."""
    cloud = Cloud()
    cloud.faults.at_rate(1, kinds=[Answer("GET */jobs", 503), Unreachable("PUT *")])
    assert {ask(cloud, "GET", "jobs").status for _ in range(20)} == {503}
    assert ask(cloud, "GET", "computes").status == 200
    with pytest.raises(NobodyListens):
        ask(cloud, "PUT", "computes/gpu", {})


def test_what_is_drawn_is_never_unmet() -> None:
    """Nothing is queued by a rate, also where a body could not be halved; and it ends when told to."""
    cloud = Cloud()
    cloud.faults.at_rate(1, kinds=[HalfBody("* *")])
    assert ask(cloud, "DELETE", "computes/none").status == 204
    assert cloud.faults.unmet == ()
    cloud.faults.stop()
    assert ask(cloud, "GET", "jobs").status == 200


def test_a_queued_fault_goes_first() -> None:
    """What a test queued is met before anything is drawn, and stopping the rate leaves it."""
    cloud = Cloud()
    cloud.faults.at_rate(1, kinds=[Answer("* *", 503)])
    cloud.faults.next(AnswerLost("* *"), times=2)
    with pytest.raises(AnswerNeverCame):
        ask(cloud, "GET", "jobs")
    cloud.faults.stop()
    assert cloud.faults.unmet == (AnswerLost("* *"),)
