"""When each step of a job runs: images are built, nodes take time to start, and stay up for a while after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import Stage
from phi_finetune.emulator.jobs.command import SERVERLESS
from phi_finetune.emulator.jobs.hardware import Place
from phi_finetune.emulator.jobs.outcome import Outcome
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
    """A step's place in time.

    From ``queued`` on its image is built, from ``prepared`` on it waits for nodes, from ``begins`` it runs, until
    ``ends``. Where it is ``canceled``, it is so at its end. ``node`` is the path of its node in the job.
    """

    step: Step
    node: str
    place: Place
    queued: datetime
    prepared: datetime
    begins: datetime
    ends: datetime
    canceled: bool = False

    @property
    def compute(self) -> str:
        """The compute that it runs on."""
        return self.place.compute

    @property
    def nodes(self) -> int:
        """How many nodes it takes."""
        return self.place.nodes


def plan(cloud: Cloud, outcome: Outcome, start: datetime, *, keep_going: bool) -> tuple[Slot, ...]:
    """Give each step of a job its time: a node's steps one after another, nodes as soon as those they need are done.

    Nothing waits for another job: a cluster that is full is not modelled.

    Args:
        cloud: Whose computes they run on.
        outcome: The job as it ran.
        start: When the first is queued.
        keep_going: Whether nodes that need nothing of a failed one run all the same (``continue_on_step_failure``);
            else they are canceled when it fails, or do not begin (Azure's reference of the pipeline job; that
            running ones are canceled is what the log of a failed pipeline says).
    """
    slots: list[Slot] = []
    done: dict[str, datetime] = {}
    for run in outcome.nodes:
        queued = max((done[need] for need in run.node.needs), default=start)
        for step, place in zip(run.run.steps, run.places, strict=True):
            slots.append(_slot(cloud, step, run.node.path, place, queued, slots))
            queued = slots[-1].ends
        done[run.node.path] = queued
    if outcome.halts is not None:
        return tuple(_until(slots, slots[-1].ends))
    failures = [slot.ends for slot in slots if slot.step.failure]
    return tuple(slots if keep_going or not failures else _until(slots, min(failures)))


def stages(
    slots: Sequence[Slot], halts: str | None = None, *, waits_itself: bool = False
) -> tuple[list[Stage], str]:
    """The stages of the job that these slots make, and how it ends.

    Args:
        slots: Its steps.
        halts: The state that it stops in, where that is set.
        waits_itself: Whether the job is the one step that it has, and waits as that does; a pipeline runs while its
            steps wait.
    """
    first = slots[0]
    running = [
        Stage(_state(first, begins) if waits_itself else "Running", ends - begins)
        for begins, ends in pairwise(_looks(slots))
    ]
    if halts is not None:
        return running, halts
    if any(slot.step.failure for slot in slots):
        return running, "Failed"
    return [*running, Stage("Finalizing", _FINALIZING)], "Completed"


def _state(slot: Slot, when: datetime) -> str:
    if when < slot.prepared:
        return "Preparing"
    return "Queued" if when < slot.begins else "Running"


def _slot(
    cloud: Cloud, step: Step, node: str, place: Place, queued: datetime, before: Sequence[Slot]
) -> Slot:
    prepared = cloud.jobs.image_ready(place.environment, queued)
    up = _is_up(cloud, place.compute, prepared, before)
    begins = prepared if up else prepared + _NODE_START
    return Slot(step, node, place, queued, prepared, begins, begins + step.lasts)


def _until(slots: Sequence[Slot], end: datetime) -> Iterator[Slot]:
    for slot in slots:
        if slot.ends <= end:
            yield slot
        elif slot.queued < end:
            yield replace(slot, ends=end, canceled=True)


def _looks(slots: Sequence[Slot]) -> list[datetime]:
    """The times between which a poller sees something new."""
    edges = {time for slot in slots for time in (slot.queued, slot.prepared, slot.begins, slot.ends)}
    inside = {time for slot in slots for time in _thirds(slot)}
    return sorted(time for time in edges | inside if time <= max(slot.ends for slot in slots))


def _thirds(slot: Slot) -> list[datetime]:
    """When a third and two thirds of a step's metrics have been logged."""
    lasts = slot.ends - slot.begins
    times = sorted({metric.after for metric in slot.step.metrics if timedelta(0) < metric.after < lasts})
    return [slot.begins + times[len(times) * part // _LOOKS] for part in range(1, _LOOKS) if times]


def _is_up(cloud: Cloud, compute: str, when: datetime, before: Sequence[Slot]) -> bool:
    if compute.lower() == SERVERLESS:
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
