"""When each step of a job runs: nodes take time to start, and stay up for a while after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import Stage
from phi_finetune.emulator.runners.runner import Step

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Slot", "plan", "stages"]

_NODE_START = timedelta(minutes=3)
_FINALIZING = timedelta(seconds=20)
_LOOKS = 3
"""How often a poller sees a step that logs metrics, so that it can watch them grow; another is seen once."""


@dataclass(frozen=True)
class Slot:
    """A step's place in time: from ``queued`` it waits for nodes, from ``begins`` it runs, until ``ends``."""

    step: Step
    compute: str
    nodes: int
    queued: datetime
    begins: datetime
    ends: datetime


def plan(
    cloud: Cloud,
    steps: Sequence[Step],
    start: datetime,
    computes: Mapping[str, str],
    nodes: Mapping[str, int],
) -> tuple[Slot, ...]:
    """Place steps one after another from ``start``.

    Nothing waits for another job: a cluster that is full is not modelled.

    Args:
        cloud: Whose computes they run on.
        steps: The steps.
        start: When the first is queued.
        computes: The compute of each step, by the step's name.
        nodes: The nodes of each step that needs more than one.
    """
    slots: list[Slot] = []
    for step in steps:
        queued = slots[-1].ends if slots else start
        compute = computes[step.name]
        begins = queued + (timedelta(0) if _is_up(cloud, compute, queued, slots) else _NODE_START)
        slots.append(Slot(step, compute, nodes.get(step.name, 1), queued, begins, begins + step.lasts))
    return tuple(slots)


def stages(slots: Sequence[Slot], halts: str | None = None) -> tuple[list[Stage], str]:
    """The stages of the job that these slots make, and how it ends: in the state ``halts``, where that is set."""
    running = [Stage("Running", lasts) for slot in slots for lasts in _parts(slot)]
    if halts is not None:
        return running, halts
    if slots and slots[-1].step.failure is not None:
        return running, "Failed"
    return [*running, Stage("Finalizing", _FINALIZING)], "Completed"


def _parts(slot: Slot) -> Iterator[timedelta]:
    if slot.begins > slot.queued:
        yield slot.begins - slot.queued
    looks = [timedelta(0), *_looks(slot.step), slot.step.lasts]
    yield from (later - earlier for earlier, later in pairwise(looks))


def _looks(step: Step) -> list[timedelta]:
    """Times at which a third and two thirds of the metrics have been logged."""
    times = sorted({metric.after for metric in step.metrics if timedelta(0) < metric.after < step.lasts})
    return sorted({times[len(times) * part // _LOOKS] for part in range(1, _LOOKS) if times})


def _is_up(cloud: Cloud, compute: str, when: datetime, before: Sequence[Slot]) -> bool:
    if compute.lower() == "serverless":
        return False  # Each step of a job gets serverless nodes of its own.
    if not cloud.computes.exists(compute):
        return True  # Nothing to wait for: the step fails there.
    cluster = cloud.computes.find(compute)
    if cluster.min_nodes > 0:
        return True
    busy, last_used = cloud.jobs.busy(compute)
    used = [slot.ends for slot in before if slot.compute.lower() == compute.lower()]
    if last_used is not None:
        used.append(last_used)
    return busy > 0 or any(when <= end + cluster.idle for end in used)
