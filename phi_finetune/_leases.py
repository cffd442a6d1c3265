"""Leases: until when something that costs money may stay, written in a tag of it, by the service's clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from phi_finetune._lineage import LEASE, MADE_BY
from phi_finetune.errors import ConfigurationError, InvalidParameter
from phi_finetune.events import Warned

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client

__all__ = ["check_ours", "is_ours", "lease_end", "lease_tag", "lease_until", "longer_lease"]

SHORTEST = timedelta(minutes=1)
LONGEST = timedelta(days=366)


def lease_end(client: Client, lease: timedelta) -> datetime:
    """When a lease that begins now ends, by the service's clock.

    Raises:
        InvalidParameter: It is no length of time that a lease can have.
    """
    if not isinstance(lease, timedelta) or not SHORTEST <= lease <= LONGEST:
        raise InvalidParameter(
            "A lease cannot be of this length",
            name="lease",
            value=lease,
            allowed="a timedelta of one minute to 366 days",
        )
    return client.server_time() + lease


def lease_tag(until: datetime | None) -> dict[str, str]:
    """The tag that says it; none where there is no lease."""
    return {} if until is None else {LEASE: until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def lease_until(tags: Mapping[str, str]) -> datetime | None:
    """When the lease of something of ours ends.

    None where it has none, where what its tag says is no time with its zone, and where it is not ours.
    """
    if not is_ours(tags):
        return None
    try:
        until = datetime.fromisoformat(tags.get(LEASE, ""))
    except ValueError:
        return None
    return until.astimezone(UTC) if until.tzinfo is not None else None


def is_ours(tags: Mapping[str, str]) -> bool:
    """Whether this library made it."""
    return all(tags.get(key) == value for key, value in MADE_BY.items())


def check_ours(tags: Mapping[str, str], resource: str) -> None:
    """Refuse to lease what somebody else made: it would be deleted.

    Raises:
        ConfigurationError: It is somebody else's.
    """
    if is_ours(tags):
        return
    raise ConfigurationError(
        "What this library did not make gets no lease",
        resource=resource,
        why="it lacks the tag made-by=phi-finetune, and what has a lease is deleted in the end",
        next_call="delete it yourself when it is no longer needed",
    )


def longer_lease(
    client: Client, resource: str, tags: Mapping[str, str], until: datetime | None
) -> dict[str, str]:
    """The tag that lengthens the lease of something that was there before; none where it is left as it is.

    A lease is never shortened, and what has none is never given one: somebody wants it to stay.
    """
    now = lease_until(tags)
    if until is None or (now is not None and now >= until):
        return {}
    if now is not None:
        return lease_tag(until)
    message = f"it was left as it is: it has no lease, asked for was one until {until:%Y-%m-%d %H:%M} UTC"
    client.notify(Warned(resource=resource, message=message))
    return {}
