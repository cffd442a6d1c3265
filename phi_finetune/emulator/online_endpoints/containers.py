"""How a deployment comes up, and what its two containers write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from phi_finetune.emulator.core.faults import DeploymentFails

__all__ = ["Container", "Line", "Rollout"]

Container = Literal["InferenceServer", "StorageInitializer"]

IMAGE_BUILD = timedelta(minutes=5)
"""An MLflow model's image is built at its first deployment. How long that and the start take is assumed."""

START = timedelta(minutes=6)
"""A node, its image, and 15 to 30 GB of weights."""


@dataclass(frozen=True)
class Line:
    """A line of a log, and when it was written."""

    when: datetime
    text: str

    def __str__(self) -> str:
        return f"{self.when:%Y-%m-%d %H:%M:%S},{self.when.microsecond // 1000:03d} {self.text}"


class Rollout:
    """The way of a deployment from its PUT to healthy, or to failed: image, node and weights, probes.

    Args:
        began: When it was asked for.
        ready_after: How long after its start the container answers its readiness probe.
        gives_up_after: How long after its start the last probe would have failed.
        fault: What will go wrong; None for nothing.
        model: What is served, as the log names it.
    """

    def __init__(
        self,
        began: datetime,
        *,
        ready_after: timedelta,
        gives_up_after: timedelta,
        fault: DeploymentFails | None,
        model: str,
    ) -> None:
        self._fault = fault
        self._model = model
        self._began = began
        self._built = began + IMAGE_BUILD
        self._started = self._built + START
        self._ends = self._started + (gives_up_after if fault else ready_after)
        if fault and fault.code == "ImageBuildFailure":
            self._ends = self._built
        if fault and fault.code == "OutOfQuota":
            # Machines are asked for before anything is built.
            self._ends = began + timedelta(minutes=1)

    @property
    def lasts(self) -> timedelta:
        """How long it takes."""
        return self._ends - self._began

    def log(self, container: Container, now: datetime) -> list[Line]:
        """What a container has written so far, without what came from requests."""
        lines = self._server() if container == "InferenceServer" else self._initializer()
        return [line for line in lines if line.when <= now and line.when <= self._ends]

    def stages(self, now: datetime) -> Sequence[tuple[str, str]]:
        """The state of each stage; ``getLogs`` begins with it (Azure's page on troubleshooting endpoints)."""
        ends = (
            ("SystemSetup", self._began + timedelta(minutes=1)),
            ("UserContainerImagePull", self._built),
            ("ModelDownload", self._started),
            ("UserContainerStart", self._ends),
        )
        starts = (self._began, *(end for _, end in ends))
        return [
            (name, self._stage(start, end, now)) for (name, end), start in zip(ends, starts, strict=False)
        ]

    def _stage(self, start: datetime, end: datetime, now: datetime) -> str:
        failed = self._fault is not None and end >= self._ends
        if now < start or (failed and start >= self._ends):
            return "Waiting"
        if now < min(end, self._ends):
            return "InProgress"
        return "Failed" if failed else "Succeeded"

    def _initializer(self) -> list[Line]:
        second = timedelta(seconds=1)
        return [
            Line(self._built, f"Downloading model {self._model}"),
            Line(self._started - second, "Download of the model is complete"),
        ]

    def _server(self) -> list[Line]:
        lines = [
            Line(self._built, "Building the image of the MLflow model is complete"),
            Line(self._started, "Starting Azure ML inference server"),
            Line(self._started, f"Loading model {self._model}"),
        ]
        if self._fault:
            return [*lines, *(Line(self._ends, text) for text in self._fault.log.splitlines())]
        return [
            *lines,
            Line(self._ends, "Server is ready; readiness probe succeeded"),
        ]
