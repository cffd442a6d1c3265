from __future__ import annotations

import re

import pytest
from asking import ask

from phi_finetune.emulator.cloud import ROUTER, Cloud
from phi_finetune.emulator.core.faults import Answer
from phi_finetune.emulator.core.http import Request
from phi_finetune.emulator.refused.routes import REFUSED, Refused, refused
from phi_finetune.testing import FakeAzure, UnknownRoute

ROWS = [(part, method) for part in REFUSED for method in part.methods]


def url(part: Refused, cloud: Cloud, below: str) -> str:
    """An address of the part: names stand for themselves, but those of the cloud."""
    names = {
        "subscription": cloud.subscription_id,
        "group": cloud.settings.resource_group,
        "workspace": cloud.workspace.name,
        "region": cloud.settings.region,
        "below:path": below,
    }
    address = re.sub(r"\{([\w:]+)\}", lambda name: names.get(name[1], "thing"), part.host + part.path)
    return f"https://{address}?api-version=2024-10-01"


@pytest.mark.parametrize("below", ["", "/thing", "/thing/versions/1"])
@pytest.mark.parametrize(("part", "method"), ROWS, ids=[f"{method} {part.path}" for part, method in ROWS])
def test_a_part_that_stays_out_says_so(part: Refused, method: str, below: str) -> None:
    """It is 501, which names what is missing and fails the test that asked, and no route answers after all."""
    cloud = Cloud()
    address = url(part, cloud, below)
    assert ROUTER.find(Request(method, address, {})) is None
    answer = ask(cloud, method, address)
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert answer.message.endswith(f" ({part.what} are not emulated).")
    assert cloud.unrouted == [f"{method} {address} ({part.what} are not emulated)"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nothing"),
        ("POST", "computes/gpu/resize"),
        ("PUT", "nothing/thing"),
        ("DELETE", "models/m/versions/1"),
        ("GET", "listKeys"),
    ],
)
def test_what_is_in_no_table_has_no_reason(method: str, path: str) -> None:
    """An address that nobody has thought of is 501 too, and nothing is said about why."""
    cloud = Cloud()
    assert ask(cloud, method, path).message.endswith("?api-version=2024-10-01.")
    assert len(cloud.unrouted) == 1


def test_what_is_answered_is_not_in_the_table() -> None:
    """The workspace can be read, and only changing it stays out."""
    cloud = Cloud()
    address = f"https://management.azure.com{cloud.workspace.id}"
    assert refused(Request("GET", address, {})) is None
    assert refused(Request("PATCH", address, {})) == "changes of a workspace"


def test_the_block_ends_with_the_reason() -> None:
    """A test that asks for what stays out fails, and reads why."""
    with (
        pytest.raises(UnknownRoute, match=r"/schedules\?.* \(schedules are not emulated\)"),
        FakeAzure() as azure,
    ):
        ask(azure.cloud, "GET", "schedules")


def test_a_kind_that_stays_out_fails_the_test_too() -> None:
    """A route that knows the address, but not what is asked of it, says so in the same two places."""
    cloud = Cloud()
    body = {"properties": {"computeType": "ComputeInstance", "properties": {}}}
    answer = ask(cloud, "PUT", "computes/mine", body)
    assert (answer.status, len(cloud.unrouted)) == (501, 1)
    assert f"({answer.message})" in cloud.unrouted[0]


def test_a_501_that_a_test_asked_for_is_none() -> None:
    """A fault is what the test wants, and fails nothing."""
    cloud = Cloud()
    cloud.faults.next(Answer("GET */jobs", 501))
    assert ask(cloud, "GET", "jobs").status == 501
    assert cloud.unrouted == []
