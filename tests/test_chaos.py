"""Whole fine-tunes while every request fails with a probability: nothing doubled, left or wrong, and few more requests.

``benchmarks/chaos.py`` does the same with a thousand seeds, beside other clients.
"""

from __future__ import annotations

import pytest
from chaos import Outcome, Weather, run

SEEDS = range(25)

RARE, OFTEN = Weather(0.05), Weather(0.2)
LATE, VERY_LATE = Weather(0.2, late=2), Weather(0.2, late=5)
"""New things are absent from the first reads, deleted ones are shown by as many, and traffic lags."""


def outcomes(weather: Weather) -> list[Outcome]:
    """What came of a fine-tune for each seed."""
    return [run("ours", weather, seed) for seed in SEEDS]


@pytest.mark.parametrize("late", [0, 2, 5])
def test_without_faults_it_completes(late: int) -> None:
    """So that what the other test sees is due to the faults."""
    found = run("ours", Weather(0, late), 1)
    assert found.completed
    assert [found.doubled, found.left_billing, found.wrong] == [False, False, False]


@pytest.mark.parametrize(("weather", "least"), [(RARE, 25), (OFTEN, 25), (LATE, 25), (VERY_LATE, 25)])
def test_a_lifecycle_under_faults_leaves_nothing_behind(weather: Weather, least: int) -> None:
    """There is one of each thing at most (R2), nothing that bills is left (R3), and no answer is wrong (R1).

    ``least`` is how many complete at the very least, so that these runs are about more than giving up early. They take
    at most twice the requests of a run without faults in the mean, three times at the 99th percentile (R4).
    """
    found = outcomes(weather)
    assert [one.seed for one in found if one.doubled] == []
    assert [one.seed for one in found if one.left_billing] == []
    assert [one.seed for one in found if one.wrong] == []
    failing = [one.seed for one in found if not one.completed]
    assert len(found) - len(failing) >= least, f"failing seeds: {failing}"
    calm = run("ours", Weather(0, weather.late), 0).requests
    ratios = sorted(one.requests / calm for one in found)
    assert sum(ratios) / len(ratios) <= 2
    assert ratios[-1] <= 3
