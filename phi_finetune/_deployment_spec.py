"""What a deployment is to be, checked before anything is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import attrs

from phi_finetune.endpoints import Probe, check_name
from phi_finetune.errors import InvalidParameter

__all__ = ["DeploymentSpec"]

LONGEST_REQUEST: Final = timedelta(seconds=180)
"""Azure's page on managing quotas, 2026-01."""
MOST_INSTANCES: Final = 50


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
