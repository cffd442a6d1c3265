"""The clusters of the workspace, and the quota they live on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.catalogue import VmSize, vm_sizes
from phi_finetune.emulator.computes import checks
from phi_finetune.emulator.computes.cluster import ClusterSpec, Compute, Priority
from phi_finetune.emulator.computes.quota import Quota
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.faults import ProvisioningFails
from phi_finetune.emulator.core.operations import Operation

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Compute", "Computes", "compute_missing"]

SERVERLESS = "serverless"

_KIND = "computeOperationsStatus"
_NO_LIMIT = 1_000_000
"""One machine may be used by many clusters and deployments at once."""
_CREATION = timedelta(seconds=30)
_UPDATE = timedelta(seconds=10)
_DELETION = timedelta(minutes=1)


def compute_missing(name: str) -> ServiceError:
    """404 with an empty body, as a missing compute is answered (service.md)."""
    return ServiceError(404, "ResourceNotFound", f"There is no compute named {name}.", bare=True)


class Computes:
    """The clusters of one cloud.

    Raises:
        ValueError: The cloud's settings give a quota to a family that is not there.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._sizes = vm_sizes()
        _check_families(cloud.settings.quota, self._sizes)
        self._quota = Quota(cloud.settings.quota, cloud.settings.low_priority_quota)
        self._clusters: dict[str, Compute] = {}
        self.made: list[Compute] = []
        """Every cluster that there is or was, the oldest first."""

    def exists(self, name: str) -> bool:
        """Whether a job can run there. Serverless compute is always there (wire.md 5)."""
        return name.lower() == SERVERLESS or name.lower() in self._settled()

    def find(self, name: str) -> Compute:
        """A cluster by its name, in any case.

        Raises:
            ServiceError: 404 where there is none.
        """
        found = self._settled().get(name.lower())
        if found is None:
            raise compute_missing(name)
        return found

    def all(self) -> tuple[Compute, ...]:
        """Every cluster, the oldest first."""
        return tuple(self._settled().values())

    @property
    def sizes(self) -> Sequence[VmSize]:
        """The machine sizes that Azure has not retired by the clock's time."""
        machine = self._cloud.settings.machine
        if machine is not None:
            return [machine]
        today = self._cloud.clock.now().date().isoformat()
        return [size for size in self._sizes if size.retired_on is None or size.retired_on > today]

    @property
    def families(self) -> Sequence[str]:
        """The families of these sizes, in alphabetical order."""
        return sorted({size.family for size in self.sizes}, key=str.lower)

    def size(self, name: str) -> VmSize:
        """A machine size by its name, in any case.

        Raises:
            ServiceError: 400, where there is none, or Azure has retired it.
        """
        machine = self._cloud.settings.machine
        if machine is None:
            return checks.find_size(name, self.sizes)
        return replace(machine, name=checks.find_size(name, [machine, *self._sizes]).name)

    def quota(self, family: str) -> int:
        """Dedicated cores that the subscription may have of a family."""
        return self._quota.of(family) if self._cloud.settings.machine is None else _NO_LIMIT

    @property
    def low_priority_quota(self) -> int:
        """Cores of low priority that the subscription may have, of all families together."""
        return self._quota.low_priority

    def cores_in_use(self, family: str, priority: Priority = "Dedicated") -> int:
        """The cores of a family that clusters hold; what deployments hold comes on top."""
        return sum(one.cores for one in self.all() if one.size.family == family and one.priority == priority)

    def cores_deployed(self, family: str) -> int:
        """The cores of a family that online deployments hold, of the same quota."""
        return sum(one.cores for one in self._cloud.endpoints.deployments() if one.size.family == family)

    def put(self, name: str, spec: ClusterSpec) -> tuple[Compute, bool]:
        """Make a cluster, or change one; and whether it is new.

        Raises:
            ServiceError: 400, where the service refuses it; 409, where it is being deleted.
        """
        checks.check_name(name)
        checks.check_scale(spec)
        size = self.size(spec.vm_size)
        checks.check_priority(spec, size)
        existing = self._settled().get(name.lower())
        if existing is not None:
            _check_change(existing, spec, size)
        self._check_room(spec, size, existing)
        if existing is None:
            return self._create(name, spec, size), True
        self._change(existing, spec)
        return existing, False

    def delete(self, name: str) -> Operation | None:
        """Begin to delete a cluster; None where there is none. Whether a job on it holds it is not known."""
        compute = self._settled().get(name.lower())
        if compute is None:
            return None
        if compute.never_made:
            compute.scales.clear()
        if compute.provisioning_state != "Deleting":
            compute.doing = "Deleting"
            compute.operation = self._cloud.operations.start(_KIND, _DELETION, lambda: self._forget(compute))
        return compute.operation

    def _create(self, name: str, spec: ClusterSpec, size: VmSize) -> Compute:
        now = self._cloud.clock.now()
        compute = Compute(self._cloud, name, spec, size, now, now, self._provision())
        compute.scales.append((now + _CREATION, spec))
        self._clusters[name.lower()] = compute
        self.made.append(compute)
        return compute

    def _change(self, compute: Compute, spec: ClusterSpec) -> None:
        state = compute.provisioning_state
        compute.spec = spec
        compute.modified = now = self._cloud.clock.now()
        # A change to a cluster that is still being made or changed goes in with the operation under way.
        if compute.never_made:
            compute.scales = [(now + _CREATION, spec)]
        else:
            compute.scales.append((max(now, compute.scales[-1][0]), spec))
        if state == "Failed":
            compute.doing, compute.operation = "Creating", self._provision()
        elif state == "Succeeded":
            update = self._cloud.operations.start(_KIND, _UPDATE, lambda: None)
            compute.doing, compute.operation = "Updating", update

    def _provision(self) -> Operation:
        fault = self._cloud.faults.take(ProvisioningFails)
        error = ServiceError(400, fault.code, fault.message) if fault else None
        return self._cloud.operations.start(_KIND, _CREATION, lambda: error)

    def _forget(self, compute: Compute) -> None:
        self._clusters.pop(compute.name.lower(), None)
        compute.ended = compute.operation.ended

    def _check_room(self, spec: ClusterSpec, size: VmSize, existing: Compute | None) -> None:
        own = existing.cores if existing else 0
        if spec.priority == "Dedicated":
            used = self.cores_in_use(size.family) + self.cores_deployed(size.family) - own
            checks.check_room(spec, size, limit=self.quota(size.family), used=used)
        else:
            used = sum(self.cores_in_use(family, "LowPriority") for family in self.families) - own
            checks.check_room(spec, size, limit=self.low_priority_quota, used=used)

    def _settled(self) -> dict[str, Compute]:
        # A deletion whose time has come takes its cluster away when its state is looked at.
        for compute in tuple(self._clusters.values()):
            _ = compute.provisioning_state
        return self._clusters


def _check_families(quota: Iterable[str], sizes: Iterable[VmSize]) -> None:
    known = {size.family.lower(): size.family for size in sizes}
    for family in quota:
        if family.lower() not in known:
            raise ValueError(
                f"no machine size is of the family {family!r}; there are {', '.join(known.values())}"
            )


def _check_change(compute: Compute, spec: ClusterSpec, size: VmSize) -> None:
    """Only the scale, description and tags of a cluster can change. The wording is ours."""
    if compute.provisioning_state == "Deleting":
        raise ServiceError(409, "Conflict", f"The compute {compute.name} is being deleted.")
    if size != compute.size or spec.priority != compute.priority:
        raise ServiceError(
            400,
            "BadRequest",
            f"The vmSize and vmPriority of compute {compute.name} cannot be changed from {compute.vm_size} "
            f"and {compute.priority}. Delete the compute and create it again.",
        )
