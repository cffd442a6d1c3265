"""The chaos of ``benchmarks/chaos.py`` over real connections: resets, cut bodies, silence and slow bytes (R25).

A fine-tune goes through TLS on this machine's loopback, and has the verdicts that it has in process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from random import Random

import pytest
from chaos import ROWS, SIZE, Outcome

import phi_finetune as pf
from phi_finetune._azure import slow_bodies, transport
from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.doors.environment import environment
from phi_finetune.errors import DeadlineExceeded, PhiFinetuneError, ServiceUnreachable
from phi_finetune.retries import NoRetries, PatientRetries
from phi_finetune.testing.faults import TWELVE_KINDS, ExpiredToken, Silence, Trickle
from phi_finetune.testing.proxy import ProxyDoor

P = 0.2
READ_TIMEOUT_S = 0.25
"""A silence of the fake's lasts as long as this, for real; on a busy machine an answer may take longer, and is lost."""
BODY_TIMEOUT_S = 0.1
PAUSE_S = 0.002
KINDS = (
    *(kind for kind in TWELVE_KINDS if not isinstance(kind, ExpiredToken)),
    # A sign-in sends no token; 401 means there that the secret is wrong.
    ExpiredToken("* management.azure.com/*"),
    Trickle("* *", PAUSE_S),
)


class FakesClock:
    """A clock on which sleeping passes the fake's time, and reading an answer takes what it takes."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._slept_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._slept_s

    def sleep(self, seconds: float) -> None:
        self._slept_s += seconds
        self._cloud.clock.advance(timedelta(seconds=seconds))


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library wait a fraction of a second where it waits for minutes."""
    monkeypatch.setattr(transport, "READ_TIMEOUT_S", READ_TIMEOUT_S)
    monkeypatch.setattr(slow_bodies, "BODY_TIMEOUT_S", BODY_TIMEOUT_S)


@pytest.fixture
def cloud() -> Cloud:
    """A cloud that nobody asked yet."""
    return Cloud(Settings(seed=1))


@pytest.fixture
def workspace(cloud: Cloud) -> Iterator[pf.Workspace]:
    """A workspace behind a proxy, whose requests are sent once."""
    with ProxyDoor(cloud) as door, environment(door.environment()):
        workspace = pf.Workspace.connect(clock=FakesClock(cloud), retries=NoRetries())
        workspace.jobs()
        yield workspace


def run(seed: int) -> tuple[Outcome, str]:
    """A whole fine-tune while requests fail, as in ``chaos.run``, over sockets: what came of it, and its error."""
    why = ""
    cloud, told = Cloud(Settings(seed=seed)), list[str]()
    cloud.faults.at_rate(P, seed=seed, kinds=KINDS)
    with ProxyDoor(cloud) as door, environment(door.environment()):
        ws = pf.Workspace.connect(clock=FakesClock(cloud), retries=PatientRetries(rng=Random(seed)))
        try:
            told.append(live(ws))
        except PhiFinetuneError as error:
            told.append("")
            why = f"{type(error).__name__}: {error}"
    cloud.faults.stop()
    requests = len(cloud.journal)
    cloud.clock.advance(timedelta(hours=1))
    left = bool(cloud.bill().leaks or cloud.endpoints.all())
    made = (
        len(cloud.jobs.all()),
        sum(len(versions) for versions in cloud.assets.models().values()),
        len(cloud.endpoints.made),
        len(cloud.computes.made),
    )
    assert not cloud.unrouted
    right = told == [ROWS.row(0).answer]
    return Outcome(seed, right, max(made) > 1, left, bool(told[0]) and not right, requests), why


def live(ws: pf.Workspace) -> str:
    """The benchmark's fine-tune."""
    base = ws.foundation_model("Phi-4")
    cluster = ws.gpu_compute("gpu-cluster", size=SIZE).ensure(base)
    job = base.finetune(ROWS).on(cluster).submit().wait()
    with job.register("tuned").deploy("chaos-endpoint", instance_type=SIZE) as endpoint:
        return endpoint.chat(ROWS.row(0), do_sample=False).text


@pytest.mark.parametrize(
    "seeds", [pytest.param(range(1), id="one"), pytest.param(range(50), id="fifty", marks=pytest.mark.long)]
)
def test_a_lifecycle_over_sockets_has_the_same_verdicts(seeds: range) -> None:
    """It completes, with one of each thing, nothing that bills is left, and no answer is wrong."""
    ran = [run(seed) for seed in seeds]
    found = [one for one, _ in ran]
    assert [(one.seed, why) for one, why in ran if not one.completed] == []
    assert [one.seed for one in found if one.doubled] == []
    assert [one.seed for one in found if one.left_billing] == []
    assert [one.seed for one in found if one.wrong] == []


def test_a_trickle_does_not_outlast_the_deadline(cloud: Cloud, workspace: pf.Workspace) -> None:
    """Bytes come all the time, and the call ends nevertheless."""
    cloud.faults.next(Trickle("GET */vmSizes", PAUSE_S))
    began = time.monotonic()
    with pytest.raises((DeadlineExceeded, ServiceUnreachable)):
        workspace.with_options(timeout=timedelta(seconds=0.05)).gpu_skus()
    assert time.monotonic() - began < READ_TIMEOUT_S + 2


def test_a_trickle_ends_without_a_deadline_too(cloud: Cloud, workspace: pf.Workspace) -> None:
    """After the limit for a body; the connection is not used again, and the next request is answered."""
    cloud.faults.next(Trickle("GET */vmSizes", PAUSE_S))
    with pytest.raises(ServiceUnreachable, match="ReadTimeout"):
        workspace.gpu_skus()
    assert workspace.gpu_skus()


@pytest.mark.parametrize("fault", [Silence("GET */vmSizes"), Trickle("GET */vmSizes", 10 * READ_TIMEOUT_S)])
def test_silence_ends(cloud: Cloud, workspace: pf.Workspace, fault: Silence | Trickle) -> None:
    """Before the answer's head, and in its body."""
    cloud.faults.next(fault)
    with pytest.raises(ServiceUnreachable, match="Timeout"):
        workspace.gpu_skus()


def test_the_answers_came_over_sockets(cloud: Cloud, workspace: pf.Workspace) -> None:
    """From a thread of the proxy, and not by a door in this process."""
    handle, threads = cloud.handle, set[str]()

    def kept(request: Request) -> Response:
        threads.add(threading.current_thread().name)
        return handle(request)

    cloud.handle = kept  # type: ignore[method-assign]
    workspace.gpu_skus()
    assert threads
    assert threading.current_thread().name not in threads
