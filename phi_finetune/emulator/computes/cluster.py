"""A cluster: what was asked for, how far its making has come, and how many of its nodes are up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.catalogue import VmSize
from phi_finetune.emulator.core.holds import FOREVER, Hold, at_least, clipped, end_of, later, together
from phi_finetune.emulator.core.operations import Operation

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ClusterSpec", "Compute", "Nodes", "Priority"]

Priority = Literal["Dedicated", "LowPriority"]


@dataclass(frozen=True)
class ClusterSpec:
    """What a PUT asks for.

    Attributes:
        vm_size: A machine size, in any case.
        priority: Whether Azure may take the nodes away.
        min_nodes: How many nodes stay up without work.
        max_nodes: How many there may be.
        idle: How long a node without work stays up.
        description: Free text.
        tags: Tags of the compute.
        remote_login: ``Enabled``, ``Disabled`` or ``NotSpecified``.
        public_ip: Whether nodes have public addresses.
        local_auth: Whether one may sign in on a node with a key.
        subnet: The ARM id of the subnet that nodes are in.
        identity: The managed identity of the cluster, as ARM describes it.
        user_account: Who may sign in on a node by SSH, without a password.
    """

    vm_size: str
    priority: Priority
    min_nodes: int
    max_nodes: int
    idle: timedelta
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    remote_login: str = "NotSpecified"
    public_ip: bool = True
    local_auth: bool = False
    subnet: str | None = None
    identity: Mapping[str, object] | None = None
    user_account: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Nodes:
    """Nodes that are up: at work, and without work."""

    running: int
    idle: int

    @property
    def current(self) -> int:
        """All that are up, and would be billed."""
        return self.running + self.idle


@dataclass(eq=False)
class Compute:
    """One cluster. ``doing`` names its last operation: ``Creating``, ``Updating`` or ``Deleting``.

    ``scales`` has what was asked for, and since when it holds, the oldest first; ``ended`` is when it was
    gone.
    """

    cloud: Cloud = field(repr=False)
    name: str
    spec: ClusterSpec
    size: VmSize
    created: datetime
    modified: datetime
    operation: Operation
    doing: str = "Creating"
    scales: list[tuple[datetime, ClusterSpec]] = field(default_factory=list, repr=False)
    ended: datetime | None = None

    @property
    def vm_size(self) -> str:
        """The size in upper case, as the service gives it back (service.md)."""
        return self.size.name.upper()

    @property
    def priority(self) -> Priority:
        """Whether Azure may take the nodes away."""
        return self.spec.priority

    @property
    def min_nodes(self) -> int:
        """How many nodes stay up without work."""
        return self.spec.min_nodes

    @property
    def max_nodes(self) -> int:
        """How many nodes there may be."""
        return self.spec.max_nodes

    @property
    def idle(self) -> timedelta:
        """How long a node without work stays up."""
        return self.spec.idle

    def idle_at(self, when: datetime) -> timedelta:
        """How long a node stays up that has been without work since then."""
        return next((spec.idle for since, spec in reversed(self.scales) if since <= when), self.idle)

    @property
    def provisioning_state(self) -> str:
        """``Creating``, ``Updating``, ``Deleting``, ``Succeeded`` or ``Failed``."""
        status = self.operation.status
        return self.doing if status == "InProgress" else status

    @property
    def never_made(self) -> bool:
        """Whether its making failed, so that it never had a node."""
        return self.doing == "Creating" and self.operation.status == "Failed"

    @property
    def cores(self) -> int:
        """The cores that it holds of its quota: of all its nodes, up or not; a failed cluster holds none.

        Azure's page "Manage and increase quotas" counts nodes that are not up as well (pain.md I1).
        """
        return 0 if self.provisioning_state == "Failed" else self.max_nodes * self.size.vcpus

    @property
    def nodes(self) -> Nodes:
        """The nodes that are up at the clock's time."""
        if self.provisioning_state == "Creating":
            return Nodes(0, 0)
        now = self.cloud.clock.now()
        up = sum(hold.machines for hold in self.up if hold.started <= now < hold.until)
        busy = min(up, self.cloud.jobs.busy(self.name)[0])
        return Nodes(busy, up - busy)

    @property
    def up(self) -> Sequence[Hold]:
        """The nodes that were up, are, and will be.

        A cluster grows with its jobs. A node without work stays for the idle time, and works again meanwhile;
        then the cluster shrinks to its minimum.
        """
        if self.never_made or not self.scales:
            return ()
        ready, scales = self.scales[0][0], [*self.scales, (FOREVER, self.spec)]
        ends = end_of(self.ended, self.cloud.clock.now(), ending=self.provisioning_state == "Deleting")
        kept = [Hold(spec.min_nodes, since, until) for (since, spec), (until, _) in pairwise(scales)]
        work = together(clipped([step.hold for step in self.cloud.jobs.steps_on(self.name)], ready, ends))
        lingering = [
            Hold(hold.machines, hold.started, later(hold.until, self.idle_at(hold.until))) for hold in work
        ]
        return at_least(list(clipped([*kept, *lingering], ready, ends)))
