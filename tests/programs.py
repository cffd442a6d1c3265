"""What users' programs do, for processes of a :mod:`nursery`: the environment leads each to its fake Azure."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pipelines
from tuning import PROMPT, SIZE, data

import phi_finetune as pf
from phi_finetune.retries import PatientRetries
from phi_finetune.testing import FakeAzure

__all__ = [
    "LEASE",
    "Unhurried",
    "big",
    "connected",
    "download",
    "life",
    "submit",
    "sweep",
    "upload",
    "warm",
    "write",
]

LEASE = timedelta(days=2)


class Unhurried:
    """A clock on which sleeping takes no time; the fake's own goes on by each look."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


def connected(seed: int = 0) -> pf.Workspace:
    """The workspace that the environment names."""
    return pf.Workspace.connect(clock=Unhurried(), retries=PatientRetries(rng=Random(seed)))


def warm() -> None:
    """Do all of it once on a fake in this process, so that every module is there; the fake is gone afterwards."""
    with FakeAzure() as azure:
        _live(azure.workspace())


def life() -> str:
    """A whole fine-tune: what the model says."""
    return _live(connected())


def _live(ws: pf.Workspace) -> str:
    base = ws.foundation_model("Phi-4")
    gpu = ws.gpu_compute("gpu", size=SIZE).ensure(base, lease=LEASE)
    model = base.finetune(data()).on(gpu).submit().wait().register("facts")
    with model.deploy("answers", instance_type=SIZE, lease=LEASE) as endpoint:
        return endpoint.chat(PROMPT, do_sample=False).text


def sweep() -> list[str]:
    """What has outlived its lease: what is swept."""
    return [str(one) for one in connected().sweep()]


def submit(number: int = 0) -> str:
    """A fine-tune of one's own for each number: the job's name."""
    return _tune(connected(), data(f"facts-{number}")).submit().name


def upload() -> str:
    """A fine-tune on data that go up in blocks: the job's name."""
    return _tune(connected(), big()).submit().name


def big() -> pf.ChatDataset:
    """Some 20 MB of rows, which do not say much."""
    text = "So it is said by all who live there, and by many who do not. " * 3_000
    rows = [
        {"messages": [*row["messages"][:1], {"role": "assistant", "content": f"{number}. {text}"}]}
        for number, row in enumerate(pipelines.conversations(110))
    ]
    return pf.ChatDataset.from_records(rows, name="big")


def download(folder: str, die_at: int | None = None) -> str:
    """A model's files: where they are. The process kills itself at a step in the folder."""
    model = connected().model("facts", version="1")
    _die_at(folder, die_at)
    return str(model.download(folder))


def write(folder: str, die_at: int | None = None) -> list[str]:
    """A data set's files: where they are. The process kills itself at a step in the folder."""
    splits = data().split(validation=0.25, seed=1)
    _die_at(folder, die_at)
    return sorted(str(path) for path in splits.write(Path(folder)).values())


def _tune(ws: pf.Workspace, rows: pf.ChatDataset) -> pf.Finetune:
    return ws.foundation_model("Phi-4").finetune(rows).on(pf.GpuCompute.serverless(SIZE))


def _die_at(folder: str, number: int | None) -> None:
    """Be killed (kill -9) right before the step of this number, counted from 1: a file or folder there that is opened,
    made, renamed or removed."""
    seen = 0

    def step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"):
            return
        if any(str(one).startswith(folder) for one in arguments if isinstance(one, str | os.PathLike)):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    if number is not None:
        sys.addaudithook(step)
