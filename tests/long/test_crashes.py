"""Programs that are killed (kill -9) at each request in turn, and run again (reliability.md R10)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import attrs
import finetunes
import pytest
from asking import ask
from nursery import Ended, Nursery
from programs import LEASE
from tuning import REPLY

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.core.faults import AnswerNeverCame
from phi_finetune.emulator.core.hosts import LOGIN
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.testing.proxy import ProxyDoor

When = Literal["before", "after"]
MOST_REQUESTS = 200
A_WHILE = timedelta(seconds=20)
"""So much time passes with each request: what it takes, and the pause before it."""
TURNS = [(when, late) for when in ("before", "after") for late in (0, 2)]
"""The request that a program dies of is not carried out, or is; new things are shown at once, or late."""


@attrs.define
class Reaper:
    """Kills a program at one of its requests, counted from 1, before or after it is carried out.

    Signing in is not counted: it changes nothing, so to die of it is to die after the request before it.
    """

    cloud: Cloud
    at: int
    when: When
    pid: int = 0
    seen: list[str] = attrs.field(factory=list)
    most_endpoints: int = 0

    @contextmanager
    def watching(self) -> Iterator[Reaper]:
        """All requests to the cloud pass here."""
        handle, lock = self.cloud.handle, threading.Lock()

        def watched(request: Request) -> Response:
            with lock:
                # Nobody's pauses pass on the cloud's clock here.
                self.cloud.clock.advance(A_WHILE)
                if request.host != LOGIN:
                    self.seen.append(f"{request.method} {request.path}")
                strikes = request.host != LOGIN and len(self.seen) == self.at
            if strikes and self.when == "before":
                os.kill(self.pid, signal.SIGKILL)
                raise AnswerNeverCame
            answer = handle(request)
            self.most_endpoints = max(self.most_endpoints, len(self.cloud.endpoints.all()))
            if strikes:
                os.kill(self.pid, signal.SIGKILL)
            return answer

        self.cloud.handle = watched  # type: ignore[method-assign]
        try:
            yield self
        finally:
            self.cloud.handle = handle  # type: ignore[method-assign]

    def spare(self) -> None:
        """Kill nobody any more."""
        self.at = 0

    def meet(self, pids: list[int]) -> None:
        """Learn whom to kill."""
        (self.pid,) = pids


def crashed(
    nursery: Nursery, script: str, at: int, when: When, late: int
) -> tuple[Cloud, Reaper, list[Ended]]:
    """A program that dies, the same again, and what sweeps up after the lease: the cloud, and how each ended."""
    cloud = Cloud(Settings(visible_after_reads=late))
    with ProxyDoor(cloud) as door, Reaper(cloud, at, when).watching() as reaper:
        ended = nursery.run(script, door.environment(), ready=reaper.meet)
        reaper.spare()
        ended += nursery.run(script, door.environment())
        cloud.clock.advance(LEASE)
        ended += nursery.run("sweep", door.environment())
    return cloud, reaper, ended


def wrong(nursery: Nursery, at: int, when: When, late: int) -> tuple[bool, list[object]]:
    """Whether a whole life was killed at a request, and what is not as it should be then."""
    cloud, reaper, (first, again, swept) = crashed(nursery, "life", at, when, late)
    written = [
        f"{entry.method} {urlsplit(entry.url).path}"
        for entry in cloud.journal
        if entry.status == 201 and ".blob." in urlsplit(entry.url).netloc
    ]
    versions = {name: len(models) for name, models in cloud.assets.models().items()}
    told: dict[str, bool] = {
        f"the second run did not finish: {again.value} {again.error}": (again.status, again.value)
        != (0, REPLY),
        f"nobody could sweep: {swept}": swept.status != 0,
        f"jobs: {[job.name for job in cloud.jobs.all()]}": len(cloud.jobs.all()) != 1,
        f"models: {versions}": versions != {"facts": 1},
        f"endpoints at once: {reaper.most_endpoints}": reaper.most_endpoints != 1,
        f"uploaded twice: {written}": len(set(written)) != len(written),
        f"bills on: {cloud.bill().leaks}": bool(cloud.bill().leaks),
        f"left: {cloud.endpoints.all()}": bool(cloud.endpoints.all() or cloud.computes.all()),
        f"not routed: {cloud.unrouted}": bool(cloud.unrouted),
        f"the first run: {first}": first.status not in (-signal.SIGKILL, 0),
    }
    return first.status != 0, [(late, when, at, what) for what, is_so in told.items() if is_so]


def requests_of(nursery: Nursery, late: int) -> list[str]:
    """Those of a life that nobody kills."""
    cloud = Cloud(Settings(visible_after_reads=late))
    with ProxyDoor(cloud) as door, Reaper(cloud, 0, "before").watching() as reaper:
        (ended,) = nursery.run("life", door.environment())
    assert ended.value == REPLY
    return reaper.seen


@pytest.mark.parametrize("method", ["PUT */jobs", "DELETE */onlineEndpoints"], ids=["submission", "deletion"])
def test_a_program_that_was_killed_is_run_again(nursery: Nursery, method: str) -> None:
    """It finishes with one of each thing, and nothing bills once the lease has ended."""
    verb, _, family = method.partition(" */")
    places = [
        number
        for number, asked in enumerate(requests_of(nursery, 0), 1)
        if asked.startswith(verb) and f"/{family}/" in asked
    ]
    assert wrong(nursery, places[0], "after", 0) == (True, [])


@pytest.mark.long
@pytest.mark.parametrize(("when", "late"), TURNS)
def test_a_program_may_be_killed_at_every_request(nursery: Nursery, when: When, late: int) -> None:
    """Whichever it was."""
    found: list[object] = []
    for at in range(1, MOST_REQUESTS):
        died, faults = wrong(nursery, at, when, late)
        found += faults
        if not died:
            break
    assert found == []
    assert 40 < at < MOST_REQUESTS


@pytest.mark.long
@pytest.mark.parametrize(("when", "late"), TURNS)
def test_no_block_of_an_upload_is_sent_twice(nursery: Nursery, when: When, late: int) -> None:
    """What the store holds is used by the second run, be it a whole file or a part of one; there is one job."""
    for at in range(1, MOST_REQUESTS):
        cloud, _, (first, again, _) = crashed(nursery, "upload", at, when, late)
        written = [entry.url for entry in cloud.journal if entry.status == 201 and ".blob." in entry.url]
        blocks = [url.partition("&s")[0] for url in written]
        assert (again.status, len(cloud.jobs.all())) == (0, 1), (at, again)
        assert len(set(blocks)) == len(blocks), (at, blocks)
        if first.status == 0:
            break
    assert 20 < at < MOST_REQUESTS


# Files


@pytest.fixture
def served() -> Iterator[ProxyDoor]:
    """A model of some files, behind a proxy."""
    cloud = Cloud(runner=finetunes.Trainer())
    finetunes.submit(cloud, "tune")
    cloud.clock.advance(LEASE)
    uri = "azureml://jobs/tune/outputs/trained_model"
    body = {"properties": {"modelType": "mlflow_model", "modelUri": uri}}
    assert ask(cloud, "PUT", "models/facts/versions/1", body).status == 201
    with ProxyDoor(cloud) as door:
        yield door


def shown(folder: Path) -> dict[str, bytes]:
    """The files below a folder, by their path there; what a dot hides is not taken for anything."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    kept = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    return {str(path): (folder / path).read_bytes() for path in kept}


def survives(
    nursery: Nursery, script: str, environment: Mapping[str, str], folder: Path, die_at: int
) -> bool:
    """Whether a program that writes files died at a step on the disk; whatever is there then is whole.

    Afterwards the same program succeeds, and its files are what they are where nobody dies.
    """
    there, elsewhere = folder / "there", folder / "elsewhere"
    for each in (there, elsewhere):
        each.mkdir(parents=True)
    (right,) = nursery.run(script, environment, folder=str(elsewhere))
    (killed,) = nursery.run(script, environment, folder=str(there), die_at=die_at)
    found, wanted = shown(there), shown(elsewhere)
    assert wanted, right
    assert killed.status in (0, -signal.SIGKILL), killed
    if script == "download":
        assert found in ({}, wanted)
        assert (there / "facts-1").exists() == bool(found)
    assert all(wanted[name] == data for name, data in found.items())
    if killed.status != 0:
        (again,) = nursery.run(script, environment, folder=str(there))
        # What was there already is not written over, and is as it should be.
        assert again.status == 0 or "there already" in (again.error or "")
    assert shown(there) == wanted
    return killed.status != 0


@pytest.mark.parametrize(("script", "at"), [("download", 7), ("write", 4)])
def test_a_program_that_was_killed_leaves_no_half_of_a_file(
    nursery: Nursery, served: ProxyDoor, tmp_path: Path, script: str, at: int
) -> None:
    """Neither of a model nor of a data set: it is absent, or all of it is there."""
    assert survives(nursery, script, served.environment(), tmp_path, at)


@pytest.mark.long
@pytest.mark.parametrize("script", ["download", "write"])
def test_a_program_may_be_killed_at_every_step_on_the_disk(
    nursery: Nursery, served: ProxyDoor, tmp_path: Path, script: str
) -> None:
    """Whenever a file or folder is opened, made, renamed or removed."""
    environment = served.environment()
    died = [
        at for at in range(1, MOST_REQUESTS) if survives(nursery, script, environment, tmp_path / str(at), at)
    ]
    assert died == list(range(1, len(died) + 1))
    assert len(died) >= 6
