"""Many threads that ask many endpoints, while Python switches between them all the time (reliability.md R18)."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import attrs
import pipelines
import pytest
from asking import ask
from tuning import SIZE

import phi_finetune as pf
from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.testing import FakeAzure

COUNT = 16
"""So many threads there are, and so many endpoints."""
SWITCH_S = 1e-5
PATIENCE_S = 60
QUESTION = "Where do you live?"
SIDES = ("blue", "green")


def home(number: int) -> str:
    """What the model of one endpoint says, and no other's."""
    return f"I live in house {number} of street {number * 7}."


@attrs.frozen
class Asked:
    """A question as it came: the endpoint of its host, the one whose key it has, the deployment it names, itself."""

    host: str
    key_of: str | None
    deployment: str | None
    question: str


@attrs.frozen
class Street:
    """A fake with sixteen endpoints of two deployments each, and the questions that came."""

    azure: FakeAzure
    names: Sequence[str]
    asked: list[Asked]


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    """Each endpoint has a model of its own behind it, which says where it lives."""
    with FakeAzure(quota={"standardNCADSA100v4Family": 5000}) as azure:
        ws = azure.workspace()
        names = [f"house-{number:02d}" for number in range(COUNT)]
        for number, name in enumerate(names):
            turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": home(number)}]
            rows = pipelines.upload(azure.cloud, name, [{"messages": turns}] * 12)
            pipelines.start(azure.cloud, name, {"train_file_path": rows})
            model = ws.job(name).wait().register(name)
            blue, green = SIDES
            model.deploy(name, instance_type=SIZE, deployment=blue).deploy(model, green, instance_type=SIZE)
        yield listened_to(azure, names)


def listened_to(azure: FakeAzure, names: Sequence[str]) -> Street:
    """The street, each of whose questions is kept from now on."""
    owner = {endpoint.keys["Primary"]: endpoint.name for endpoint in azure.endpoints.values()}
    handle, asked, lock = azure.cloud.handle, list[Asked](), Lock()

    def kept(request: Request) -> Response:
        if request.path == "/score":
            turns = json.loads(request.body)["input_data"]["input_string"]
            with lock:
                asked.append(
                    Asked(
                        request.host.partition(".")[0],
                        owner.get(request.bearer or ""),
                        request.headers.get("azureml-model-deployment"),
                        turns[-1]["content"],
                    )
                )
        return handle(request)

    azure.cloud.handle = kept  # type: ignore[method-assign]
    return Street(azure, names, asked)


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Switch between threads a hundred thousand times a second."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def all_ask(street: Street, workspaces: Sequence[pf.Workspace], calls: int) -> None:
    """Each thread asks each endpoint in turn, every other time one of its deployments by name."""
    street.asked.clear()
    street.azure.journal.clear()
    together = Barrier(COUNT)

    def work(thread: int) -> int:
        ws = workspaces[thread % len(workspaces)]
        endpoints = [ws.endpoint(name) for name in street.names]
        together.wait(PATIENCE_S)
        right = 0
        for call in range(calls):
            house = (thread + call) % COUNT
            side = SIDES[call // 2 % 2] if call % 2 else None
            reply = endpoints[house].chat(f"{QUESTION} {house} {side}", deployment=side, do_sample=False)
            right += reply.text == home(house)
        return right

    with ThreadPoolExecutor(COUNT) as pool:
        assert list(pool.map(work, range(COUNT))) == [calls] * COUNT
    found = street.azure.journal.filter(path="/score")
    assert Counter(entry.status for entry in found) == {200: COUNT * calls}
    assert len(street.asked) == COUNT * calls
    strangers = [one for one in street.asked if not as_meant(street, one)]
    assert strangers == []


def as_meant(street: Street, one: Asked) -> bool:
    """Whether a question came to the endpoint that it is for, with its key, and for the deployment that it names."""
    house, side = one.question.removeprefix(f"{QUESTION} ").split()
    meant = street.names[int(house)]
    return (one.host, one.key_of, str(one.deployment)) == (meant, meant, side)


@pytest.mark.parametrize(
    "calls", [pytest.param(25, id="some"), pytest.param(1000, id="thousand", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("handles", [COUNT, 1], ids=["a-handle-each", "one-handle"])
def test_threads_get_no_answer_of_anothers(street: Street, handles: int, calls: int) -> None:
    """No wrong key, no foreign deployment, no call lost, and each answer is the asked model's."""
    all_ask(street, [street.azure.workspace() for _ in range(handles)], calls)


def test_a_wrong_key_would_be_seen(street: Street) -> None:
    """What the test above looks for can be found."""
    house = street.names[3]
    assert as_meant(street, Asked(house, house, "blue", f"{QUESTION} 3 blue"))
    assert not as_meant(street, Asked(house, street.names[4], "blue", f"{QUESTION} 3 blue"))
    assert not as_meant(street, Asked(house, house, "green", f"{QUESTION} 3 blue"))
    assert not as_meant(street, Asked(house, house, None, f"{QUESTION} 3 blue"))
    assert ask(street.azure.cloud, "GET", "onlineEndpoints").status == 200
