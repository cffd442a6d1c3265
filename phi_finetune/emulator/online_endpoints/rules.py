"""The rules that an endpoint and a deployment must keep (pain.md, part 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.computes.durations import parse_duration
from phi_finetune.emulator.online_endpoints.refusals import bad_request

__all__ = [
    "DEPLOYMENTS_PER_ENDPOINT",
    "ENDPOINTS_PER_REGION",
    "check_count",
    "check_name",
    "check_probes",
    "check_requests",
    "check_split",
    "cores_needed",
]

ENDPOINTS_PER_REGION = 100
DEPLOYMENTS_PER_ENDPOINT = 20
INSTANCES_PER_DEPLOYMENT = 50
LONGEST_REQUEST = timedelta(seconds=180)

# Single dashes only, as Azure's page on quotas says; the client's own pattern lets double ones through.
_NAME = re.compile(r"(?=.{3,32}$)[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")


def check_name(kind: str, name: str) -> None:
    """Refuse a name that breaks the rules.

    Raises:
        ServiceError: 400.
    """
    if not _NAME.fullmatch(name):
        raise bad_request(
            f"The {kind} name {name} is invalid. It must have 3 to 32 characters, start with a letter, and "
            "consist of letters, digits and single dashes."
        )


def check_split(kind: str, split: Mapping[str, int], sums: range | tuple[int, ...]) -> None:
    """Refuse percentages that do not sum up to one of ``sums``.

    Raises:
        ServiceError: 400.
    """
    for name, percent in split.items():
        if not isinstance(percent, int) or not 0 <= percent <= 100:
            raise bad_request(
                f"The {kind} of deployment {name} is {percent}; it must be an integer from 0 to 100."
            )
    total = sum(split.values())
    if total not in sums:
        raise bad_request(f"The {kind} values sum up to {total}; the sum must be {_allowed(sums)}.")


def check_count(instances: int) -> None:
    """Refuse a number of instances that no deployment may have.

    Raises:
        ServiceError: 400.
    """
    if not 1 <= instances <= INSTANCES_PER_DEPLOYMENT:
        raise bad_request(f"The instance count is {instances}; it must be 1 to {INSTANCES_PER_DEPLOYMENT}.")


def check_requests(settings: Mapping[str, Any]) -> None:
    """Refuse request settings out of bounds.

    Raises:
        ServiceError: 400.
    """
    timeout = parse_duration(settings["requestTimeout"])
    if not timedelta(0) < timeout <= LONGEST_REQUEST:
        raise bad_request(
            f"requestTimeout is {settings['requestTimeout']}; it must be above PT0S and at most PT3M."
        )
    if settings["maxConcurrentRequestsPerInstance"] < 1:
        raise bad_request("maxConcurrentRequestsPerInstance must be at least 1.")


def check_probes(liveness: Mapping[str, Any], readiness: Mapping[str, Any]) -> None:
    """Refuse probes out of bounds: delay, period and timeout of a second at least, counts of 1 at least.

    Raises:
        ServiceError: 400.
    """
    for kind, probe in (("livenessProbe", liveness), ("readinessProbe", readiness)):
        for key in ("initialDelay", "period", "timeout"):
            if parse_duration(probe[key]) < timedelta(seconds=1):
                raise bad_request(f"{kind}.{key} is {probe[key]}; it must be at least PT1S.")
        for key in ("successThreshold", "failureThreshold"):
            if probe[key] < 1:
                raise bad_request(f"{kind}.{key} is {probe[key]}; it must be at least 1.")
    if liveness["successThreshold"] != 1:
        raise bad_request("livenessProbe.successThreshold must be 1.")


def cores_needed(size: VmSize, instances: int) -> int:
    """The cores that a deployment takes of its quota.

    One instance in five is held in reserve for upgrades, but for the sizes that are exempt from it (Azure's
    page "Virtual machine quota allocation for deployment"; pain.md, "The 20 % quota rule").
    """
    with_reserve = instances if size.exempt else -(-instances * 12 // 10)
    return with_reserve * size.vcpus


def _allowed(sums: range | tuple[int, ...]) -> str:
    if isinstance(sums, range):
        return f"{sums[0]} to {sums[-1]}"
    return " or ".join(str(one) for one in sums)
