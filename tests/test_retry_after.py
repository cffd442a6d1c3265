"""What an answer asks to wait, in every form that it can have: obeyed or told, and never an error of its own (R6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime

import pytest
from tuning import SIZE, deployed, finetune, sent

import phi_finetune as pf
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.errors import DeadlineExceeded, PhiFinetuneError
from phi_finetune.retries import PatientRetries, StandardRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import Answer, EndlessOperation

ATTEMPTS = 3
BACKOFF_S = 0.8 + 1.6
"""The pauses before the second send and the third, where nothing is asked."""


def date(azure: FakeAzure, seconds: float) -> str:
    """An HTTP date so many seconds from now, by the service's clock."""
    return format_datetime(azure.clock.now() + timedelta(seconds=seconds), usegmt=True)


Headers = Callable[[FakeAzure], Mapping[str, str]]

ASKED: dict[str, tuple[Headers, float | None]] = {
    "0": (lambda azure: {"Retry-After": "0"}, 0),
    "2": (lambda azure: {"Retry-After": "2"}, 2),
    "-5": (lambda azure: {"Retry-After": "-5"}, None),
    "abc": (lambda azure: {"Retry-After": "abc"}, None),
    "a past date": (lambda azure: {"Retry-After": date(azure, -90)}, 0),
    "a date to come": (lambda azure: {"Retry-After": date(azure, 90)}, 90),
    "a rubbish date": (lambda azure: {"Retry-After": "Fri, 99 Dec 99999999 23:59:59 GMT"}, None),
    "a date without a zone": (lambda azure: {"Retry-After": "Fri, 01 Jan 2100 00:00:00 -0000"}, 1e9),
    "NaN": (lambda azure: {"Retry-After": "NaN"}, None),
    "inf": (lambda azure: {"Retry-After": "inf"}, None),
    "1e308": (lambda azure: {"Retry-After": "1e308"}, 1e308),
    "empty": (lambda azure: {"Retry-After": ""}, None),
    "1, 2": (lambda azure: {"Retry-After": "1, 2"}, None),
    "a day": (lambda azure: {"Retry-After": "86400"}, 86400),
    "1500 ms": (lambda azure: {"retry-after-ms": "1500"}, 1.5),
    "1500 ms of Azure's": (lambda azure: {"x-ms-retry-after-ms": "1500", "Retry-After": "60"}, 1.5),
    "rubbish in ms": (lambda azure: {"retry-after-ms": "soon", "Retry-After": "7"}, 7),
}
"""What an answer asks, and for how many seconds; None where it means nothing."""
LONGEST_S = 120
"""The longest that the policy obeys."""


def look_up(azure: FakeAzure, ws: pf.Workspace) -> Callable[[], object]:
    """Read a list."""
    return ws.jobs


def submit(azure: FakeAzure, ws: pf.Workspace) -> Callable[[], object]:
    """Submit a job, which azure-ai-ml does."""
    return finetune(ws).submit


def ask(azure: FakeAzure, ws: pf.Workspace) -> Callable[[], object]:
    """Ask a model."""
    endpoint = ws.attach(deployed(azure, azure.workspace()))
    return lambda: endpoint.chat("Name a river.")


CALLS = {
    "GET */jobs": look_up,
    "PUT */jobs/*": submit,
    "POST *.inference.ml.azure.com/score": ask,
}


@pytest.mark.parametrize("request_", CALLS)
@pytest.mark.parametrize("asked", ASKED)
def test_what_is_asked_is_obeyed_or_told(asked: str, request_: str) -> None:
    """Sent as often as the policy says, at the times that it says; or once, with an error that names what was asked."""
    headers, seconds = ASKED[asked]
    with FakeAzure(progression="realistic") as azure:
        ws = azure.workspace(retries=StandardRetries(attempts=ATTEMPTS, jitter_s=0, budget_s=1000))
        call = CALLS[request_](azure, ws)
        # From here on the machine's clock does not tell the service's time.
        azure.clock.advance(timedelta(minutes=20))
        method, _, path = request_.partition(" ")
        before, started = len(sent(azure, method, f"*{path[path.index('/') :]}")), azure.clock.monotonic()
        azure.faults.at_rate(1, kinds=[Answer(request_, 429, headers=headers(azure))])
        with pytest.raises(PhiFinetuneError) as caught:
            call()
        azure.faults.stop()
        sends = len(sent(azure, method, f"*{path[path.index('/') :]}")) - before
        waited_s = azure.clock.monotonic() - started
    too_long = seconds is not None and seconds > LONGEST_S
    assert sends == (1 if too_long else ATTEMPTS)
    assert caught.value.status_code == 429
    if too_long:
        assert waited_s == 0
    elif asked == "a date to come":
        assert waited_s == pytest.approx(90, abs=1)
    else:
        assert waited_s == pytest.approx(BACKOFF_S if seconds is None else 2 * seconds, abs=0.1)
    if asked != "a date to come":  # which is past by then
        assert ("the service asks to wait" in str(caught.value)) == bool(seconds)
    if asked == "a day":
        assert "the service asks to wait 86400 s" in str(caught.value)


@pytest.mark.parametrize("request_", CALLS)
def test_more_than_the_call_has_left_is_told(request_: str) -> None:
    """Where the policy would wait so long, and the call may not: at once, with what was asked and what was left."""
    with FakeAzure(progression="realistic") as azure:
        call = CALLS[request_](
            azure, azure.workspace(retries=PatientRetries()).with_options(timeout=timedelta(minutes=5))
        )
        azure.faults.at_rate(1, kinds=[Answer(request_, 429, headers={"Retry-After": "400"})])
        started = azure.clock.monotonic()
        with pytest.raises(DeadlineExceeded, match="the service asks to wait 400 s") as caught:
            call()
        azure.faults.stop()
        assert azure.clock.monotonic() == started
    assert caught.value.limit_s == 300


@pytest.mark.parametrize("asked", ASKED)
def test_a_look_at_an_operation_asks_too(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that never ends ends the call in time, whatever its looks ask, and none is asked without pause."""
    headers, _ = ASKED[asked]
    with FakeAzure(progression="realistic") as azure:
        handle = azure.cloud.handle

        def answer(request: Request) -> Response:
            given = handle(request)
            if "OperationsStatus" in request.path:
                return replace(given, headers={**given.headers, **headers(azure)})
            return given

        monkeypatch.setattr(azure.cloud, "handle", answer)
        azure.faults.next(EndlessOperation())
        with pytest.raises(DeadlineExceeded):
            azure.workspace().gpu_compute("gpu", size=SIZE).ensure(timeout=timedelta(minutes=10))
        assert azure.clock.monotonic() <= 601
        assert len(sent(azure, "GET", "*OperationsStatus*")) <= 602
