"""What lets time pass in a FakeAzure: its three progressions, as its clients meet them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from itertools import pairwise
from urllib.parse import urlsplit

import pipelines
import pytest
from azure.ai.ml.entities import AmlCompute, ManagedOnlineEndpoint
from online import put_deployment, put_endpoint
from tuning import PROMPT, REPLY, SIZE, finetune, sent, trained

from phi_finetune import FinetuneJob
from phi_finetune.emulator.core.clock import Progression
from phi_finetune.testing import ClockStands, FakeAzure

CREATION = timedelta(seconds=90)
"""How long an endpoint takes to be made."""


@pytest.fixture
def realistic() -> Iterator[FakeAzure]:
    """An open fake in which only pauses and the test let time pass."""
    with FakeAzure(progression="realistic") as azure:
        yield azure


@pytest.fixture
def manual() -> Iterator[FakeAzure]:
    """An open fake in which only the test lets time pass."""
    with FakeAzure(progression="manual") as azure:
        yield azure


def submitted(azure: FakeAzure) -> FinetuneJob:
    """A job that has just been submitted."""
    pipelines.start(azure.cloud)
    return azure.workspace().job("tune")


# Realistic


def test_realistic_reads_take_no_time(realistic: FakeAzure) -> None:
    """A job that is looked at again and again gets on no faster."""
    job = submitted(realistic)
    before = realistic.clock.now()
    assert {job.refresh().status for _ in range(20)} == {"Preparing"}
    assert realistic.clock.now() == before


def test_realistic_waits_take_their_time(realistic: FakeAzure) -> None:
    """Our client waits for a whole lifecycle by its pauses, polls as often as they say, and gets its answer."""
    endpoint = trained(realistic, realistic.workspace()).deploy(instance_type=SIZE)
    assert endpoint.chat(PROMPT, do_sample=False).text == REPLY
    [job] = realistic.jobs.values()
    assert job.ended is not None
    polls = [entry for entry in realistic.journal if urlsplit(entry.url).path.endswith("/jobs/tune")]
    length_s = (job.ended - job.created).total_seconds()
    assert length_s / 60 < len(polls) < length_s / 10
    endpoint.delete()


def test_realistic_operations_ask_for_seconds(realistic: FakeAzure) -> None:
    """The real client polls an operation every 15 s, as the answers tell it to, until its time has come."""
    client, before = realistic.ml_client(), realistic.clock.now()
    made = client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="phi-test")).result()
    assert made.provisioning_state == "Succeeded"
    assert CREATION <= realistic.clock.now() - before < 2 * CREATION
    polls = sent(realistic, "GET", "*/mfeOperationsStatus/*")
    assert {later.when - poll.when for poll, later in pairwise(polls)} == {timedelta(seconds=15)}


def test_realistic_cancelling_takes_its_time(realistic: FakeAzure) -> None:
    """The real client waits until a job has stopped; its poller takes whole seconds only (wire.md 5)."""
    pipelines.start(realistic.cloud)
    realistic.clock.advance(timedelta(minutes=10))
    before = realistic.clock.now()
    realistic.ml_client().jobs.begin_cancel("tune").result()
    assert realistic.jobs["tune"].status == "Canceled"
    assert realistic.clock.now() - before >= timedelta(seconds=30)


def test_realistic_streaming_ends(realistic: FakeAzure, capsys: pytest.CaptureFixture[str]) -> None:
    """The real client's stream does not pause on the fake's clock, and gets on all the same."""
    pipelines.start(realistic.cloud)
    realistic.ml_client().jobs.stream("tune")
    assert realistic.jobs["tune"].status == "Completed"
    assert "Execution Summary" in capsys.readouterr().out


def test_realistic_clocks_can_be_advanced(realistic: FakeAzure) -> None:
    """The test may let time pass, too."""
    job = submitted(realistic)
    realistic.clock.advance(timedelta(minutes=10))
    assert job.refresh().status == "Running"
    realistic.clock.advance(timedelta(days=1))
    assert job.refresh().status == "Completed"


# Manual


def test_manual_time_is_the_tests(manual: FakeAzure) -> None:
    """A job gets on when the test says so, and at no other time."""
    job = submitted(manual)
    before = manual.clock.now()
    assert {job.refresh().status for _ in range(20)} == {"Preparing"}
    manual.clock.advance(timedelta(minutes=10))
    assert job.refresh().status == "Running"
    manual.clock.advance(timedelta(days=1))
    assert job.wait().status == "Completed"
    assert manual.clock.now() - before == timedelta(days=1, minutes=10)


def test_manual_answers_take_no_time(manual: FakeAzure) -> None:
    """Not even an endpoint's answer lets time pass, which takes some otherwise."""
    for ask in (put_endpoint, put_deployment, partial(put_endpoint, traffic={"blue": 100})):
        assert ask(manual.cloud).status in (200, 201)
        manual.clock.advance(timedelta(hours=1))
    before = manual.clock.now()
    assert manual.workspace().endpoint("phi-test").chat("Hello").text
    assert manual.clock.now() == before


def ensure_by_us(azure: FakeAzure) -> None:
    """Make a cluster with our client, and wait for it."""
    azure.workspace().gpu_compute("gpu", size=SIZE).ensure()


def ensure_by_the_real_client(azure: FakeAzure) -> None:
    """Make a cluster with azure-ai-ml, and wait for it."""
    cluster = AmlCompute(name="gpu", size=SIZE, max_instances=1)
    azure.ml_client().compute.begin_create_or_update(cluster).result()


@pytest.mark.parametrize("ensure", [ensure_by_us, ensure_by_the_real_client])
def test_manual_waits_in_vain_are_told(manual: FakeAzure, ensure: Callable[[FakeAzure], None]) -> None:
    """A client of either kind that waits for what never comes gets an error that names the way out."""
    with pytest.raises(ClockStands, match=r"clock\.advance\(timedelta"):
        ensure(manual)


def test_manual_streaming_in_vain_is_told(manual: FakeAzure) -> None:
    """Reads in vain count as well, since a stream has no pauses that the fake could see."""
    pipelines.start(manual.cloud)
    with pytest.raises(ClockStands):
        manual.ml_client().jobs.stream("tune")


def test_manual_waits_go_on_while_another_thread_advances(manual: FakeAzure) -> None:
    """A client may wait in a thread of its own."""
    job = submitted(manual)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(job.wait)
        while not waiting.done():
            manual.clock.advance(timedelta(seconds=1))
        assert waiting.result().status == "Completed"


# Instant


def test_instant_is_the_default() -> None:
    """Each look at a job shows its next state, and no answer asks for whole seconds."""
    with FakeAzure() as azure:
        job = submitted(azure)
        assert azure.clock.progression == "instant"
        assert job.refresh().status == "Running"


@pytest.mark.parametrize("progression", ["instant", "realistic"])
def test_a_submission_ends_alike(progression: Progression) -> None:
    """What comes of a job does not depend on how time passes."""
    with FakeAzure(progression=progression) as azure:
        job = finetune(azure.workspace()).submit().wait()
        assert job.status == "Completed"
        assert [child.status for child in job.children()] == ["Completed"] * 5
