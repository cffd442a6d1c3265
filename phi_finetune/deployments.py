"""Deployments: one model on its machines, behind an endpoint, and what one is to be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

import attrs

from phi_finetune.errors import InvalidParameter

__all__ = ["AuthMode", "Deployment", "DeploymentSpec", "Probe"]

AuthMode: TypeAlias = Literal["key", "aad_token"]
"""How callers sign in: with one of the endpoint's two keys, or with an Entra token."""

LONGEST_REQUEST: Final = timedelta(seconds=180)
"""Azure's page on managing quotas, 2026-01."""
MOST_INSTANCES: Final = 50
_NAME = re.compile(r"[a-zA-Z](?:-?[a-zA-Z0-9])*")


@attrs.frozen
class Probe:
    """How Azure looks whether a container is well.

    The defaults but the first are Azure's own (its page on managed online deployments, read 2026-11). Azure's first
    look comes after 10 s; a model of several GiB takes minutes to load, so ours comes after ten minutes.

    Attributes:
        initial_delay: Before the first look.
        period: Between looks.
        timeout: How long a look may take.
        success_threshold: Good looks in a row that make it well.
        failure_threshold: Bad looks in a row that make it ill.
    """

    initial_delay: timedelta = timedelta(seconds=600)
    period: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=2)
    success_threshold: int = 1
    failure_threshold: int = 30

    def __attrs_post_init__(self) -> None:
        for name in ("initial_delay", "period", "timeout"):
            if getattr(self, name) < timedelta(seconds=1):
                raise InvalidParameter(
                    "A probe's time is too short",
                    name=name,
                    value=getattr(self, name),
                    allowed="one second or more",
                )
        for name in ("success_threshold", "failure_threshold"):
            if getattr(self, name) < 1:
                raise InvalidParameter(
                    "A probe's threshold is too low",
                    name=name,
                    value=getattr(self, name),
                    allowed="1 or more",
                )


@attrs.frozen
class Deployment:
    """One model on its machines, behind an endpoint.

    Attributes:
        name: Its name.
        endpoint: The endpoint's name.
        model: The id of its model.
        instance_type: The size of its machines.
        instance_count: How many machines it has; each costs money all the time.
        provisioning_state: Azure's state of it.
        traffic: The percentage of the endpoint's requests that it takes.
    """

    name: str
    endpoint: str
    model: str
    instance_type: str
    instance_count: int
    provisioning_state: str
    traffic: int = 0


@attrs.frozen
class DeploymentSpec:
    """What a deployment is to be; see :meth:`RegisteredModel.deploy`."""

    model: str
    name: str
    instance_type: str
    instance_count: int
    request_timeout: timedelta
    max_concurrent_requests: int
    liveness: Probe
    readiness: Probe
    tags: Mapping[str, str]

    def __attrs_post_init__(self) -> None:
        check_name("deployment", self.name)
        if not 1 <= self.instance_count <= MOST_INSTANCES:
            raise InvalidParameter(
                "A deployment's number of machines is out of range",
                name="instance_count",
                value=self.instance_count,
                allowed=f"1 to {MOST_INSTANCES}",
            )
        if not isinstance(self.request_timeout, timedelta) or not (
            timedelta(0) < self.request_timeout <= LONGEST_REQUEST
        ):
            raise InvalidParameter(
                "A deployment's request timeout is out of range",
                name="request_timeout",
                value=self.request_timeout,
                allowed="a timedelta, more than 0 and at most 180 s",
            )
        if self.max_concurrent_requests < 1:
            raise InvalidParameter(
                "A deployment must work on one request at least",
                name="max_concurrent_requests",
                value=self.max_concurrent_requests,
                allowed="1 or more",
            )


def check_name(kind: str, name: str) -> None:
    """Refuse what is no name for an endpoint or a deployment.

    Raises:
        InvalidParameter: With the rule (Azure's page on managing quotas, 2026-01).
    """
    if 3 <= len(name) <= 32 and _NAME.fullmatch(name):
        return
    raise InvalidParameter(
        f"{name!r} is no name for an {kind}" if kind[0] in "aeiou" else f"{name!r} is no name for a {kind}",
        name="name",
        value=name,
        allowed="3 to 32 letters, digits and single dashes, a letter first, no dash at the end",
    )


def same_model(one: str, other: str) -> bool:
    """Whether two ids name one version of a model; Azure may write its ids in another case."""
    return _version(one) == _version(other)


def _version(model: str) -> tuple[str, ...]:
    found = re.search(r"(?:/models/|azureml:)([^/:]+)(?:/versions/|:)([^/:]+)$", model.lower())
    return found.groups() if found else (model.lower(),)


def deployment_from_arm(item: Mapping[str, Any], endpoint: str, traffic: Mapping[str, int]) -> Deployment:
    """A deployment from ARM's description of it."""
    from phi_finetune._azure.paths import required

    properties: Mapping[str, Any] = item.get("properties") or {}
    name = str(required(item, "name", f"deployment of endpoint {endpoint}"))
    return Deployment(
        name=name,
        endpoint=endpoint,
        model=str(properties.get("model") or ""),
        instance_type=str(properties.get("instanceType") or ""),
        instance_count=int((item.get("sku") or {}).get("capacity") or 0),
        provisioning_state=str(properties.get("provisioningState")),
        traffic=traffic.get(name, 0),
    )
