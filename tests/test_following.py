"""Following a job's log: each line once, whatever happens to the requests, and on from any line."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from itertools import islice

import pipelines
import pytest
from asking import ask
from hypothesis import given, settings
from hypothesis import strategies as st
from tuning import sent

import phi_finetune as pf
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.errors import AuthenticationFailed, InvalidParameter, PermissionMissing
from phi_finetune.events import JobMoved, LogLine, describe
from phi_finetune.protocols import RetryPolicy
from phi_finetune.retries import NoRetries, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, ExpiredToken, RequestFault, Silence

LOG = "GET *.blob.core.windows.net/azureml/*"
STDERR, STDOUT = "logs/azureml/stderrlogs.txt", "logs/azureml/stdoutlogs.txt"


class Written:
    """The log files of a job, written byte by byte while the job runs, and whole when it has ended.

    Args:
        azure: Where it runs.
        files: What each file holds in the end.
        cuts: How many more bytes are there at each next reading of a file.
        job: The job.
    """

    def __init__(
        self, azure: FakeAzure, files: Mapping[str, bytes], cuts: Iterator[int], job: str = "tune"
    ) -> None:
        assert pipelines.start(azure.cloud, job).status == 201
        self._job = azure.jobs[job]
        while not self._job.log_paths():
            ask(azure.cloud, "GET", f"jobs/{job}")
        self._files = files
        self._cuts = cuts
        self._there = dict.fromkeys(files, 0)
        paths = {name: f"ExperimentRun/dcid.{job}/{name}" for name in files}
        for name, path in paths.items():
            azure.cloud.storage.put_live(
                path, lambda name=name: self.now(name), datastore="workspaceartifactstore"
            )
        self._job.log_paths = lambda: paths  # type: ignore[method-assign]

    def now(self, name: str) -> bytes:
        """What of a file is there."""
        if self._job.ended is not None:
            return self._files[name]
        self._there[name] += next(self._cuts, 0)
        return self._files[name][: self._there[name]]


def lines(count: int, what: str = "step") -> bytes:
    """A log of so many different lines, some of them empty, with letters of two bytes."""
    return "".join("\n" if n % 7 == 3 else f"{what} {n}: 0,{n} µ\n" for n in range(count)).encode()


def texts(log: bytes) -> list[str]:
    """A log's lines."""
    return log.decode().removesuffix("\n").split("\n")


def follow(workspace: pf.Workspace, after: LogLine | None = None) -> Iterator[LogLine]:
    """The lines that following a job tells."""
    job = workspace.job("tune")
    return (event for event in job.events(after=after) if isinstance(event, LogLine))


def on_the_way(
    azure: FakeAzure, monkeypatch: pytest.MonkeyPatch, touch: Callable[[dict[str, str]], object]
) -> None:
    """Let a test look at, or change, the headers of the requests for logs."""
    handle = azure.cloud.handle

    def handle_touched(request: Request) -> Response:
        if request.path.startswith("/azureml/"):
            headers = dict(request.headers)
            touch(headers)
            request = replace(request, headers=headers)
        return handle(request)

    monkeypatch.setattr(azure.cloud, "handle", handle_touched)


def of(file: str, heard: list[LogLine]) -> list[str]:
    """The texts of the lines of one file."""
    return [line.text for line in heard if line.file == file]


def test_a_line_is_told_when_it_is_whole(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """What is written of a line so far is no line, nor is half a letter; the last one may have no end."""
    log = "one\ntwo µ\r\n\nthree".encode()
    Written(fake_azure, {STDOUT: log}, iter([6, 3, 1, 3]))
    assert [line.text for line in follow(workspace)] == ["one", "two µ", "", "three"]


def test_two_growing_files_do_not_mix(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """A line of the first file that comes after one of the second moves none of them."""
    files = {STDERR: b"one\ntwo\nthree\n", STDOUT: b"B1\nB2\n"}
    Written(fake_azure, files, iter([6, 0, 8, 3]))
    heard = list(follow(workspace))
    assert [line.text for line in heard] == ["one", "two", "three", "B1", "B2"]
    assert [(line.file, line.position) for line in heard][-2:] == [(STDOUT, 3), (STDOUT, 6)]
    assert heard[-1].read == {STDERR: 14, STDOUT: 6}


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_lines_are_told_once_whatever_happens(seed: int) -> None:
    """With three requests of ten failing, what is told is the log (reliability.md R15)."""
    rng = random.Random(seed)
    files = {STDERR: lines(200, "warning"), STDOUT: lines(1000)}
    with FakeAzure(seed=seed) as azure:
        Written(azure, files, iter(lambda: rng.randrange(3000), None))
        workspace = azure.workspace(retries=StandardRetries(attempts=10, rng=rng, budget_s=7200))
        azure.faults.at_rate(0.3, seed=seed)
        heard = list(follow(workspace))
        assert any(entry.status != 200 for entry in azure.journal)
    for name, log in files.items():
        assert of(name, heard) == texts(log)


def test_following_goes_on_after_any_line() -> None:
    """Whoever stops after any line, and goes on in another process, hears the rest and nothing twice."""
    files = {STDERR: lines(9, "warning"), STDOUT: lines(17)}
    for stop in range(1, 26):
        with FakeAzure() as azure:
            Written(azure, files, iter(lambda: 40, None))
            heard = list(islice(follow(azure.workspace()), stop))
            kept: LogLine = pickle.loads(pickle.dumps(heard[-1]))
            heard += follow(azure.workspace(), after=kept)
            assert list(follow(azure.workspace(), after=heard[-1])) == []
        for name, log in files.items():
            assert of(name, heard) == texts(log), f"stopped after {stop} lines"


@settings(max_examples=40)
@given(
    log=st.lists(st.text(st.sampled_from("aµ€\r "), max_size=4), min_size=1, max_size=12).map("\n".join),
    cuts=st.lists(st.integers(0, 5), max_size=40),
)
def test_however_a_log_grows_its_lines_are_told(log: str, cuts: list[int]) -> None:
    """Cut anywhere, and with or without an end of the last line, and though it is left after each line."""
    with FakeAzure() as azure:
        Written(azure, {STDOUT: log.encode()}, iter(cuts))
        workspace = azure.workspace()
        heard: list[LogLine] = []
        while line := next(follow(workspace, after=heard[-1] if heard else None), None):
            heard.append(line)
    expected = log.split("\n")
    ended = [line.removesuffix("\r") for line in expected[:-1]]
    assert [line.text for line in heard] == ended + ([expected[-1]] if expected[-1] else [])


def test_nothing_is_read_twice(
    fake_azure: FakeAzure, workspace: pf.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look asks for what is new, from the last line's end on."""
    log = lines(50)
    Written(fake_azure, {STDOUT: log}, iter(lambda: 100, None))
    asked: list[str] = []
    on_the_way(fake_azure, monkeypatch, lambda headers: asked.append(headers.get("range", "")))
    list(follow(workspace))
    starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text in asked if text]
    assert starts == sorted(starts)
    assert len(set(starts)) > 3
    assert all(log[start - 1 : start] == b"\n" for start in starts)


@pytest.mark.parametrize("refusal", [ExpiredToken(LOG), Answer(LOG, 403, "AuthenticationFailed")])
def test_a_signature_that_is_refused_is_asked_for_anew(fake_azure: FakeAzure, refusal: RequestFault) -> None:
    """Once, for the one file; nothing is lost, and it is no failed look."""
    files = {STDERR: lines(5, "warning"), STDOUT: lines(20)}
    Written(fake_azure, files, iter(lambda: 50, None))
    heard: list[LogLine] = []
    for line in follow(fake_azure.workspace(retries=NoRetries())):
        if len(heard) in (0, 10):
            fake_azure.faults.next(refusal)
        heard.append(line)
    assert {name: of(name, heard) for name in files} == {name: texts(log) for name, log in files.items()}


class Patient:
    """A policy that obeys the service, however long it asks to wait."""

    def wait_s(self, failed: pf.protocols.Try) -> float | None:
        """What the answer asks."""
        return failed.retry_after_s


def test_a_signature_that_lapsed_meanwhile_is_asked_for_anew() -> None:
    """An address is good for half an hour; a store that asks for more patience than that outlasts it."""
    policy: RetryPolicy = Patient()
    with FakeAzure() as azure:
        Written(azure, {STDOUT: lines(20)}, iter(lambda: 50, None))
        azure.faults.next(Answer(LOG, 503, headers={"Retry-After": "1900"}))
        heard = list(follow(azure.workspace(retries=policy)))
        statuses = [entry.status for entry in sent(azure, "GET", "/azureml/*")]
    assert statuses[:2] == [503, 403]
    assert of(STDOUT, heard) == texts(lines(20))


@pytest.mark.parametrize(
    ("refusal", "error", "requests"),
    [
        (ExpiredToken(LOG), AuthenticationFailed, 2),
        (Answer(LOG, 403, "AuthorizationFailure"), PermissionMissing, 1),
    ],
)
def test_a_log_that_stays_closed_is_told(
    fake_azure: FakeAzure,
    workspace: pf.Workspace,
    refusal: RequestFault,
    error: type[Exception],
    requests: int,
) -> None:
    """A fresh signature that is refused too is no matter of time, nor is a right that lacks."""
    Written(fake_azure, {STDOUT: lines(20)}, iter(lambda: 50, None))
    fake_azure.faults.next(refusal, times=requests)
    with pytest.raises(error):
        list(follow(workspace))
    assert len(sent(fake_azure, "GET", "/azureml/*")) == requests


@pytest.mark.parametrize("fault", [Answer(LOG, 500, message="step 99"), Silence(LOG), Answer(LOG, 404)])
def test_an_error_is_no_line_of_the_log(fake_azure: FakeAzure, fault: RequestFault) -> None:
    """What the store says of itself is not what the job wrote (reliability.md R14); the next look goes on."""
    log = lines(20)
    Written(fake_azure, {STDOUT: log}, iter(lambda: 50, None))
    fake_azure.faults.next(fault, times=4)
    assert [line.text for line in follow(fake_azure.workspace(retries=NoRetries()))] == texts(log)


def test_a_store_without_ranges_is_read_too(
    fake_azure: FakeAzure, workspace: pf.Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers with the whole file is believed, and what was told of it is left out."""
    log = lines(20)
    Written(fake_azure, {STDOUT: log}, iter(lambda: 50, None))
    first = next(follow(workspace))
    on_the_way(fake_azure, monkeypatch, lambda headers: headers.pop("range", None))
    assert [first.text, *(line.text for line in follow(workspace, after=first))] == texts(log)


def test_a_token_may_expire_while_a_job_is_followed() -> None:
    """A job takes longer than a token lasts; nothing is lost when that is refused."""
    log = lines(200)
    with FakeAzure() as azure:
        Written(azure, {STDOUT: log}, iter(lambda: 300, None))
        heard: list[str] = []
        for line in follow(azure.workspace()):
            heard.append(line.text)
            if len(heard) % 50 == 1:
                azure.faults.next(ExpiredToken("GET */details"))
                azure.clock.sleep(timedelta(minutes=1).total_seconds())
    assert heard == texts(log)


def test_states_are_told_anew_where_following_goes_on(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Who goes on is told where the job stands, first of all."""
    Written(fake_azure, {STDOUT: lines(5)}, iter(lambda: 50, None))
    line = next(follow(workspace))
    first = next(workspace.job("tune").events(after=line))
    assert isinstance(first, JobMoved)
    assert first.before is None


def test_a_line_of_another_job_is_refused(fake_azure: FakeAzure, workspace: pf.Workspace) -> None:
    """Its positions mean nothing here."""
    pipelines.start(fake_azure.cloud, "tune")
    with pytest.raises(InvalidParameter) as caught:
        next(workspace.job("tune").events(after=LogLine("job other", "a line")))
    assert (caught.value.name, caught.value.value) == ("after", "job other")


def test_a_line_knows_where_it_ends() -> None:
    """And so does its description; a line that somebody made by hand begins at the beginning."""
    line = LogLine("job tune", "a", file=STDOUT, read={STDOUT: 2})
    assert (line.position, LogLine("job tune", "a").position) == (2, 0)
    assert STDOUT in describe(line)
