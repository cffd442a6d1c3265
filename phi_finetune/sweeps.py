"""Deleting what has outlived its lease."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import attrs

from phi_finetune._leases import lease_until
from phi_finetune._leaving import DELETE_TIMEOUT, delete_surely
from phi_finetune.errors import PhiFinetuneError
from phi_finetune.events import Deleted, LeaseExpired, Warned

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune._azure.rest import Answer

__all__ = ["Swept"]


@attrs.frozen
class Swept:
    """Something whose lease has ended, and what became of it.

    Attributes:
        kind: What it is.
        name: Its name.
        lease_until: When its lease ended, in UTC.
        outcome: ``"expired"``: it was looked for and left, as in a dry run. ``"deleted"``: it is gone. ``"left"``: it
            could not be deleted, and may still bill.
        why: Why it was left; None where it was not.
    """

    kind: Literal["cluster", "endpoint"]
    name: str
    lease_until: datetime
    outcome: Literal["deleted", "expired", "left"] = "expired"
    why: str | None = None

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"{self.kind} {self.name}"

    @property
    def next_call(self) -> str:
        """The call that deletes it, or lets it stay longer."""
        what = "gpu_compute" if self.kind == "cluster" else "endpoint"
        return f"ws.{what}({self.name!r}).delete() or .extend(lease)"

    def __str__(self) -> str:
        text = f"{self.resource}: {self.outcome}, its lease ended at {self.lease_until:%Y-%m-%d %H:%M} UTC"
        return text if self.why is None else f"{text}; {self.why}"


def sweep(client: Client, *, dry_run: bool) -> tuple[Swept, ...]:
    """Delete what is ours and has outlived its lease by the service's clock; see :meth:`Workspace.sweep`."""
    now = client.server_time()
    found = _expired(client, now)
    if dry_run:
        return found
    done: list[Swept] = []
    for place, one in enumerate(found):
        try:
            swept = _delete(client, one, now)
        except BaseException as stopped:
            # A listener's own error too: what it stops goes on billing.
            rest = ", ".join(other.resource for other in found[place:])
            stopped.add_note(f"The sweep was cut short at {rest}. Next: ws.sweep() again")
            raise
        if swept is not None:
            done.append(swept)
    return tuple(done)


def report_expired(client: Client, answer: Answer) -> None:
    """Tell of each lease that had ended when the service gave this answer, or that it could not be looked at."""
    try:
        found = _expired(client, answer.served_at())
    except PhiFinetuneError as error:
        # The caller came for something else, and that goes on.
        why = f"{type(error).__name__}: whether a lease has ended is not known; ws.sweep(dry_run=True) looks again"
        client.notify(Warned(resource=client.resource, message=why))
        return
    for one in found:
        client.notify(LeaseExpired(resource=one.resource, lease_until=one.lease_until))


def _expired(client: Client, now: datetime) -> tuple[Swept, ...]:
    from phi_finetune._azure.compute import list_clusters
    from phi_finetune._azure.endpoints import list_endpoints

    found = [
        *(_outlived("endpoint", body, now) for body in list_endpoints(client)),
        *(_outlived("cluster", body, now) for body in list_clusters(client)),
    ]
    return tuple(one for one in found if one is not None)


def _outlived(kind: Literal["cluster", "endpoint"], body: Mapping[str, Any], now: datetime) -> Swept | None:
    tags = {str(key): str(value) for key, value in (body.get("tags") or {}).items()}
    until, name = lease_until(tags), body.get("name")
    return Swept(kind, str(name), until) if name and until is not None and until <= now else None


def _delete(client: Client, one: Swept, now: datetime) -> Swept | None:
    """Delete it, unless it is gone, or its lease was lengthened meanwhile: then None.

    One interruption does not keep it from that, so that nothing is left half-deleted and unsaid.
    """
    from phi_finetune._azure.compute import delete_cluster, find_cluster
    from phi_finetune._azure.endpoints import delete_endpoint, find_endpoint

    find, delete = (
        (find_cluster, delete_cluster) if one.kind == "cluster" else (find_endpoint, delete_endpoint)
    )
    expired = True

    def delete_expired(patient: Client) -> None:
        nonlocal expired
        body = find(patient, one.name)
        expired = body is not None and _outlived(one.kind, body, now) is not None
        if expired:
            delete(patient, one.name, DELETE_TIMEOUT)

    try:
        delete_surely(client, delete_expired, resource=one.resource, next_call=one.next_call, limited=True)
    except PhiFinetuneError as error:
        message = f"its lease has ended, and it could not be deleted: {error.what}. Next: {one.next_call}"
        client.notify(Warned(resource=one.resource, message=message))
        return attrs.evolve(one, outcome="left", why=error.what)
    if not expired:
        return None
    client.notify(Deleted(resource=one.resource))
    return attrs.evolve(one, outcome="deleted")
