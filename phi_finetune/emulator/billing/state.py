"""The bill of one cloud, read from the times that clusters, jobs, deployments and serverless endpoints keep.

What goes by the hour is billed, by the second: those of a deployment from the moment it was accepted until it is
gone, also where it failed (assumed, as it holds its cores too); those of a cluster while they are up, idle or
not; those of a step on serverless compute while it runs. That the start of a node costs nothing is assumed.

A serverless endpoint costs by the token, which is not counted, and nothing by the hour; but one that serves a
fine-tuned model costs its hosting by the hour, asked or not (Azure's page on fine-tuning with serverless APIs).
Its price is not known here. That it is billed from its acceptance until it is gone is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from phi_finetune.emulator.billing.bill import Bill, Charge, Kind
from phi_finetune.emulator.catalogue import vm_sizes
from phi_finetune.emulator.core.holds import FOREVER, Hold, at_least, clipped, end_of
from phi_finetune.emulator.jobs.job import ENDED

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.jobs.job import Job
    from phi_finetune.emulator.online_endpoints.deployment import Deployment

__all__ = ["bill"]

_SERVERLESS = "serverless"
_NEEDS_NO_MORE = (*ENDED, "CancelRequested", "Finalizing")


def bill(cloud: Cloud) -> Bill:
    """What has run until now, and what it cost."""
    rows = [
        *_clusters(cloud),
        *_serverless(cloud),
        *_waiting(cloud),
        *_deployments(cloud),
        *_hosting(cloud),
    ]
    return Bill(tuple(sorted(rows, key=lambda row: row.started)))


def _clusters(cloud: Cloud) -> Iterator[Charge]:
    for compute in cloud.computes.made:
        size, dedicated = compute.size, compute.priority == "Dedicated"
        price = size.price_usd_per_hour if dedicated else size.low_priority_price
        yield from _charges(cloud, compute.name, "cluster", size.name, price, compute.up)


def _serverless(cloud: Cloud) -> Iterator[Charge]:
    sizes = {size.name.lower(): size for size in vm_sizes()}
    for step in cloud.jobs.steps_on(_SERVERLESS):
        name = step.parent.name if step.id == step.parent.id else f"{step.parent.name}/{step.display_name}"
        wanted = step.slot.place.instance_type
        size = sizes.get(wanted.lower())
        price = size.price_usd_per_hour if size else None
        yield from _charges(cloud, name, "job", size.name if size else wanted, price, [step.hold])


def _waiting(cloud: Cloud) -> Iterator[Charge]:
    for job in cloud.jobs.all():
        if job.status not in _NEEDS_NO_MORE and not _works(job):
            yield from _charges(cloud, job.name, "job", "", None, [Hold(0, job.created, FOREVER)])


def _works(job: Job) -> bool:
    return any(step.started is not None and step.hold.until > job.now for step in job.steps)


def _deployments(cloud: Cloud) -> Iterator[Charge]:
    going = [one.name for one in cloud.endpoints.all() if one.provisioning_state == "Deleting"]
    for deployment in cloud.endpoints.made:
        name, size = f"{deployment.endpoint}/{deployment.name}", deployment.size
        ending = deployment.provisioning_state == "Deleting" or deployment.endpoint in going
        held = _held(deployment, end_of(deployment.ended, cloud.clock.now(), ending=ending))
        yield from _charges(cloud, name, "deployment", size.name, size.price_usd_per_hour, held)


def _hosting(cloud: Cloud) -> Iterator[Charge]:
    for endpoint in cloud.serverless_endpoints.made:
        if endpoint.model.fine_tuned:
            ending = endpoint.provisioning_state == "Deleting"
            ends = end_of(endpoint.ended, cloud.clock.now(), ending=ending)
            hold = Hold(1, endpoint.created, ends)
            yield from _charges(cloud, endpoint.name, "serverless endpoint", "", None, [hold])


def _held(deployment: Deployment, ends: datetime) -> Sequence[Hold]:
    scales = [*deployment.scales, (FOREVER, 0)]
    held = [Hold(machines, since, until) for (since, machines), (until, _) in pairwise(scales)]
    return at_least(list(clipped(held, deployment.created, ends)))


def _charges(
    cloud: Cloud, resource: str, kind: Kind, size: str, price: float | None, holds: Sequence[Hold]
) -> Iterator[Charge]:
    now = cloud.clock.now()
    for hold in holds:
        if hold.started > now:
            continue
        runs = hold.until > now
        hours = (min(hold.until, now) - hold.started) / timedelta(hours=1)
        ending = runs and holds[-1].until != FOREVER
        ended = None if runs else hold.until
        yield Charge(resource, kind, size, hold.machines, hold.started, ended, hours, price, ending)
