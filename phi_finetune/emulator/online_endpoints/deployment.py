"""A deployment: a model on machines behind an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.computes.durations import parse_duration
from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.online_endpoints.containers import Container, Line, Rollout
from phi_finetune.emulator.online_endpoints.rules import cores_needed
from phi_finetune.emulator.runners.engine import Server
from phi_finetune.emulator.runners.runner import Failure

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud
    from phi_finetune.emulator.online_endpoints.endpoint import Endpoint

__all__ = ["Deployment", "DeploymentSpec"]


@dataclass(frozen=True)
class DeploymentSpec:
    """What a PUT asks for, with what the service fills in.

    Attributes:
        model: The model to serve: an ARM id, ``azureml:name:version``, or a registry's id; None for an
            environment that brings its own.
        instance_type: The machine size.
        instances: How many machines.
        requests: ``requestSettings``.
        liveness: ``livenessProbe``.
        readiness: ``readinessProbe``.
        more: All other properties, as they were sent.
        tags: Tags of the deployment.
    """

    model: str | None
    instance_type: str
    instances: int
    requests: Mapping[str, Any]
    liveness: Mapping[str, Any]
    readiness: Mapping[str, Any]
    more: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def request_timeout(self) -> timedelta:
        """How long the endpoint waits for the container's answer."""
        return parse_duration(self.requests["requestTimeout"])

    @property
    def ready_after(self) -> timedelta:
        """How long after its start a container that works passes its readiness probe."""
        return parse_duration(self.readiness["initialDelay"])

    @property
    def gives_up_after(self) -> timedelta:
        """How long after its start the last failed probe ends the wait for a container."""
        period = parse_duration(self.readiness["period"])
        return self.ready_after + int(self.readiness["failureThreshold"]) * period


@dataclass
class Deployment:
    """One deployment.

    Attributes:
        name: Its name, unique in its endpoint.
        endpoint: The endpoint's name.
        spec: What was asked for.
        size: The machine size.
        files: The model's files; none for a registry's model.
        ready: Whether it has become healthy, and can take traffic.
        gone: Whether it, or its endpoint, is being deleted or was.
        scales: How many machines it has had, and since when, the oldest first.
        ended: When its machines were gone.
        server_id: The server of its last rollout, where an engine runs it.
        failure: Why that did not come up.
    """

    cloud: Cloud = field(repr=False)
    name: str
    endpoint: str
    spec: DeploymentSpec
    size: VmSize
    files: Mapping[str, bytes] = field(repr=False)
    created: datetime
    modified: datetime
    rollout: Rollout = field(repr=False)
    operation: Operation = field(repr=False)
    doing: str = "Updating"
    ready: bool = False
    gone: bool = False
    requests: list[Line] = field(default_factory=list, repr=False)
    scales: list[tuple[datetime, int]] = field(default_factory=list, repr=False)
    ended: datetime | None = None
    server_id: str | None = None
    failure: Failure | None = None

    def server(self, endpoint: Endpoint) -> Server | None:
        """The server that an engine should be running for it; None where it should run none."""
        if self.server_id is None or self.gone or self.failure is not None:
            return None
        return Server(
            self.server_id,
            self.endpoint,
            self.name,
            self.spec.model or "",
            self.files,
            self.spec.more.get("environmentVariables") or {},
            self.spec.requests,
            endpoint.spec.tags,
            self.instances,
        )

    def come_up(self, failure: Failure | None) -> None:
        """Note whether its server came up; later news of it change nothing."""
        if self.operation.status == "InProgress":
            self.failure = failure
            self.operation.arrive()

    @property
    def instances(self) -> int:
        """How many machines it runs on."""
        return self.spec.instances

    @property
    def instance_type(self) -> str:
        """The machine size that was asked for."""
        return self.spec.instance_type

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        return self.spec.model

    @property
    def provisioning_state(self) -> str:
        """``Updating`` (creation too: service.md), ``Scaling``, ``Deleting``, ``Succeeded`` or ``Failed``."""
        status = self.operation.status
        return self.doing if status == "InProgress" else status

    @property
    def cores(self) -> int:
        """The cores of its quota that it holds until it is deleted, a failed one too (assumed)."""
        return cores_needed(self.size, self.instances)

    def log(self, container: Container, lines: int) -> str:
        """The last lines of a container's log, headed by the state of each stage."""
        if container == "InferenceServer" and self.server_id is not None and self.cloud.engine is not None:
            text = self.cloud.engine.server_log(self.server_id)
            tail = "\n".join(text.splitlines()[-lines:])
            return f"Instance status:\nUserContainerStart: {self._started}\n\nContainer logs:\n{tail}\n"
        now = self.cloud.clock.now()
        written = self.rollout.log(container, now)
        if container == "InferenceServer":
            # A change brings the container up anew, after requests that the old one answered.
            written = sorted([*written, *self.requests], key=lambda line: line.when)
        stages = "\n".join(f"{name}: {state}" for name, state in self.rollout.stages(now))
        tail = "\n".join(str(line) for line in written[-lines:])
        return f"Instance status:\n{stages}\n\nContainer logs:\n{tail}\n"

    @property
    def _started(self) -> str:
        if self.operation.status == "InProgress":
            return "InProgress"
        return "Failed" if self.failure else "Succeeded"

    def write(self, text: str) -> None:
        """Write lines to the server's log."""
        now = self.cloud.clock.now()
        self.requests.extend(Line(now, line) for line in text.splitlines())
