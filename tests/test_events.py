from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from tuning import PROMPT, Heard, data

import phi_finetune as pf
from phi_finetune import events
from phi_finetune.events import Event, describe
from phi_finetune.testing import FakeAzure

KINDS: list[type[Event]] = [
    getattr(events, name) for name in events.__all__ if name not in ("Event", "describe")
]
VALUES: dict[str, Any] = {
    "resource": "job tune",
    "took_s": 0.5,
    "attempt": 1,
    "wait_s": 2.0,
    "why": "HTTP 503",
    "size": "Standard_NC24ads_A100_v4",
    "max_nodes": 2,
    "size_bytes": 10,
    "rows": 3,
    "sent_bytes": 5,
    "received_bytes": 5,
    "reused": True,
    "status": "Running",
    "before": "Queued",
    "elapsed_s": 3.0,
    "text": "a line",
    "file": "user_logs/std_log.txt",
    "read": {"user_logs/std_log.txt": 7},
    "traffic": {"default": 100},
    "message": "look at it",
    "lease_until": datetime(2026, 11, 1, 12, tzinfo=UTC),
}


def build(kind: type[Event]) -> Event:
    """An event with all that it holds."""
    return kind(**{field.name: VALUES[field.name] for field in attrs.fields(kind)})


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_a_value(kind: type[Event]) -> None:
    """Equal where its content is, hashable, unchangeable, and the same after a pickle."""
    event = build(kind)
    assert event == build(kind) == pickle.loads(pickle.dumps(event))
    assert hash(event) == hash(build(kind))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.resource = "another"  # type: ignore[misc]


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_is_one_line(kind: type[Event]) -> None:
    """Resource first, then the kind, then everything it holds."""
    line = describe(build(kind))
    assert line.startswith(f"job tune: {kind.__name__}")
    assert "\n" not in line
    for field in attrs.fields(kind):
        assert repr(VALUES[field.name]) in line or field.name == "resource"


def test_a_whole_life_is_told(fake_azure: FakeAzure) -> None:
    """Everything that is made, moved and deleted is heard of, in order, and no secret or row among it."""
    heard = Heard()
    ws = fake_azure.workspace(on_event=heard)
    cluster = ws.gpu_compute("gpu", size="Standard_NC24ads_A100_v4").ensure()
    job = ws.foundation_model("Phi-4").finetune(data()).on(cluster).submit().wait()
    with job.register("facts").deploy("answers", instance_type="Standard_NC24ads_A100_v4") as endpoint:
        endpoint.chat(PROMPT)
        keys = endpoint.keys()
    told = [(type(event).__name__, event.resource) for event in heard]
    expected = [
        ("Created", "cluster gpu"),
        ("ComputeReady", "cluster gpu"),
        ("Uploaded", "file train.jsonl"),
        ("Created", f"job {job.name}"),
        ("JobMoved", f"job {job.name}"),
        ("Created", f"model facts:{job.model_version()}"),
        ("Created", "endpoint answers"),
        ("Created", "deployment default of endpoint answers"),
        ("TrafficMoved", "endpoint answers"),
        ("Deleted", "endpoint answers"),
    ]
    assert [event for event in dict.fromkeys(told) if event in expected] == expected
    lines = "\n".join(describe(event) for event in heard)
    for secret in (keys.primary, keys.secondary, fake_azure.client_secret, PROMPT):
        assert secret not in lines


def test_a_listener_that_fails_ends_the_work(fake_azure: FakeAzure) -> None:
    """Its error is the caller's, and is not swallowed."""

    def listen(event: Event) -> None:
        raise LookupError("no such channel")

    with pytest.raises(LookupError):
        fake_azure.workspace(on_event=listen).jobs()


def test_nobody_need_listen(workspace: pf.Workspace) -> None:
    """Without a listener the work is the same."""
    assert workspace.gpu_compute("gpu", size="Standard_NC24ads_A100_v4").ensure().nodes == 0
