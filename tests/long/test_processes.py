"""Programs that submit the same fine-tune at the same moment: one job comes of it (reliability.md R11)."""

from __future__ import annotations

import pytest
from nursery import Nursery

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.testing.proxy import ProxyDoor

COUNTS = (2, 4, 8)


def race(nursery: Nursery, rounds: range, late: int) -> None:
    """In each round so many processes wait for each other, and submit a fine-tune of that round."""
    cloud = Cloud(Settings(visible_after_reads=late))
    with ProxyDoor(cloud) as door:
        for number in rounds:
            count = COUNTS[number % len(COUNTS)]
            ended = nursery.run("submit", door.environment(), count=count, number=number)
            assert [one.error for one in ended] == [None] * count
            names = {one.value for one in ended}
            assert len(names) == 1, f"round {number}: {names}"
            assert names <= {job.name for job in cloud.jobs.all()}
            assert len(cloud.jobs.all()) == number + 1
    made = [entry for entry in cloud.journal if entry.status == 201 and "/jobs/" in entry.url]
    assert len(made) == len(rounds)


def test_processes_that_submit_at_once_share_a_job(nursery: Nursery) -> None:
    """Two, four and eight; each gets the same name."""
    race(nursery, range(3), late=0)


@pytest.mark.long
@pytest.mark.parametrize("late", [0, 2])
def test_processes_share_a_job_in_a_hundred_rounds(nursery: Nursery, late: int) -> None:
    """Whoever comes first, and whether the others see it at once."""
    race(nursery, range(100), late)
