from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from tuning import SIZE

import phi_finetune as pf
from phi_finetune.errors import JobFailed
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import AnswerLost, JobFails

THREADS = 8
PATIENCE_S = 60
QUESTION = "Where do you live?"


class Life(NamedTuple):
    """What came of one fine-tune.

    Attributes:
        azure: The fake that it was on.
        answer: What its model said.
        requests: Its requests: route and status of each, in order.
    """

    azure: FakeAzure
    answer: str
    requests: list[tuple[str | None, int | None]]


def home(number: int) -> str:
    """What the model of one thread is taught to answer, and no other's."""
    return f"I live in house {number} of street {number * 7}."


def homes(number: int) -> pf.ChatDataset:
    """The data that teach it."""
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": home(number)}]
    return pf.ChatDataset.from_records([{"messages": turns}] * 12, name="homes")


def live(number: int, together: Barrier) -> Life:
    """A whole fine-tune on a fake of its own. Whatever can be given a name has the same one in each."""
    with FakeAzure() as azure:
        together.wait(PATIENCE_S)
        ws = azure.workspace()
        base = ws.foundation_model("Phi-4")
        cluster = ws.gpu_compute("gpu", size=SIZE).ensure(base)
        job = base.finetune(homes(number)).on(cluster).named("tune").submit().wait()
        assert job.metrics().loss is not None
        with job.register("homes").deploy("homes", instance_type=SIZE) as endpoint:
            answer = endpoint.chat(QUESTION, do_sample=False).text
        together.wait(PATIENCE_S)
    return Life(azure, answer, [(entry.route, entry.status) for entry in azure.journal])


@pytest.fixture(scope="module")
def lives() -> list[Life]:
    """Eight at once, all of whose fakes are open from the first one's beginning to the last one's end."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(live, range(THREADS), [Barrier(THREADS)] * THREADS))


def test_each_life_is_as_it_would_be_alone(lives: list[Life]) -> None:
    """Its answer is its own data's, and it sent the same requests, in the same order, with the same answers."""
    assert [life.answer for life in lives] == [home(number) for number in range(THREADS)]
    alone = live(0, Barrier(1))
    assert [life.requests == alone.requests for life in lives] == [True] * THREADS


def test_each_fake_has_its_own_things_only(lives: list[Life]) -> None:
    """One job, one cluster, one model, and no endpoint left: things of one name are not taken for each other."""
    for azure, _, _ in lives:
        assert [(name, job.status) for name, job in azure.jobs.items()] == [("tune", "Completed")]
        assert (list(azure.computes), list(azure.endpoints)) == (["gpu"], [])
        assert {name: len(versions) for name, versions in azure.models.items()} == {"homes": 1}


def test_nobody_is_asked_for_what_is_anothers(lives: list[Life]) -> None:
    """No request to one fake names another's subscription, or another's store of blobs."""
    subscriptions = {life.azure.subscription_id for life in lives}
    stores = set()
    for azure, _, _ in lives:
        urls = [entry.url for entry in azure.journal]
        others = subscriptions - {azure.subscription_id}
        assert [url for url in urls if any(other in url for other in others)] == []
        hosts = {urlsplit(url).netloc for url in urls}
        stores.add(tuple(host for host in hosts if host.endswith(".blob.core.windows.net")))
    assert len(subscriptions) == len(stores) == THREADS


def test_a_fault_is_met_by_its_own_fake_only() -> None:
    """What goes wrong in every other thread goes right in the rest."""

    def train(number: int) -> str:
        with FakeAzure() as azure:
            if number % 2:
                azure.faults.next(AnswerLost("PUT */jobs/*"))
                azure.faults.next(JobFails(message=f"Out of memory {number}."))
            together.wait(PATIENCE_S)
            tune = azure.workspace().foundation_model("Phi-4").finetune(homes(number))
            job = tune.on(pf.GpuCompute.serverless(SIZE)).submit()
            try:
                return job.wait().status
            except JobFailed as failed:
                return str(failed)

    together = Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(train, range(THREADS)))
    assert [said == "Completed" for said in found] == [number % 2 == 0 for number in range(THREADS)]
    assert all(f"Out of memory {number}." in said for number, said in enumerate(found) if number % 2)
