"""A token that has expired, at every request of a fine-tune's life in turn."""

from __future__ import annotations

from tuning import SIZE, data

from phi_finetune.emulator.core.http import Request
from phi_finetune.retries import NoRetries
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.faults import ExpiredToken


class ExpiredAt(ExpiredToken):
    """The token of the request of this number has expired."""

    def __init__(self, number: int) -> None:
        super().__init__("* *")
        # The fault is frozen, and what it counts is no part of what it is.
        object.__setattr__(self, "left", [number])

    def meets(self, request: Request) -> bool:
        left: list[int] = self.__dict__["left"]
        left[0] -= 1
        return left[0] == 0


def life(azure: FakeAzure) -> str:
    """From the model of the catalogue to a reply, and nothing left; every request is sent once."""
    workspace = azure.workspace(retries=NoRetries())
    base = workspace.foundation_model("Phi-4")
    cluster = workspace.gpu_compute("gpu", size=SIZE).ensure(base)
    job = base.finetune(data()).on(cluster).submit().wait()
    with job.register("facts").deploy(instance_type=SIZE) as endpoint:
        text = endpoint.chat(data().row(0), do_sample=False).text
    cluster.delete()
    return text


def hosts_of_a_life() -> list[str]:
    """The host of each request of a life in which nothing happens."""
    with FakeAzure(seed=1) as azure:
        assert life(azure) == data().row(0).answer
        return [entry.url.split("/")[2] for entry in azure.journal]


def test_each_request_bears_an_expired_token() -> None:
    """One request more, and the same reply; where a signature or a key was refused, that is asked for anew first."""
    hosts = hosts_of_a_life()
    assert len(hosts) > 40
    more: dict[str, set[int]] = {}
    for number, host in enumerate(hosts, start=1):
        with FakeAzure(seed=1) as azure:
            azure.faults.next(ExpiredAt(number))
            assert life(azure) == data().row(0).answer
            more.setdefault(host.partition(".")[2], set()).add(len(azure.journal) - len(hosts))
    assert more == {
        "azure.com": {1},
        "api.azureml.ms": {1},
        "experiments.azureml.net": {1},
        "blob.core.windows.net": {3},
        "eastus.inference.ml.azure.com": {2},
    }
