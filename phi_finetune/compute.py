"""GPU compute: the sizes that a region offers, and the clusters that jobs run on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._leases import check_ours, lease_end, lease_tag, lease_until, longer_lease
from phi_finetune._lineage import MADE_BY
from phi_finetune.catalog import sizes, this_machine
from phi_finetune.errors import (
    ComputeFailed,
    ConfigurationError,
    InvalidParameter,
    QuotaExceeded,
    SizeNotAllowed,
)
from phi_finetune.events import AdoptedExisting, ComputeReady, Created, Deleted, Warned

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.models import FoundationModel

__all__ = ["GpuCompute", "GpuSku"]

PROVISIONING_TIMEOUT = timedelta(minutes=30)

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")


@attrs.frozen
class GpuSku:
    """A machine size as this region offers it.

    Attributes:
        name: Azure's name, such as ``"Standard_NC24ads_A100_v4"``.
        family: The quota that its cores count against.
        cores: Cores of the machine.
        memory_gib: Memory of the machine, in GiB.
        gpus: GPUs; None where neither Azure nor the catalogue says.
        gpu_model: ``"A100"``, ``"T4"`` and so on; None where the catalogue does not say.
        gpu_memory_gib: Memory of one GPU, in GiB; None where the catalogue does not say.
        low_priority: Whether it can be had at low priority.
        price_usd_per_hour: An estimate of the list price of one dedicated machine, in US dollars an hour; None
            where it is not known.
        retired_on: The day from which Azure no longer runs it; None while no such day is known.
    """

    name: str
    family: str
    cores: int
    memory_gib: float
    gpus: int | None
    gpu_model: str | None = None
    gpu_memory_gib: float | None = None
    low_priority: bool = True
    price_usd_per_hour: float | None = None
    retired_on: date | None = None


@attrs.frozen(slots=False)
class GpuCompute(WithoutHandle):
    """A cluster of GPU machines, or Azure's serverless compute.

    ``ws.gpu_compute(...)`` describes one without asking Azure; ``ensure()`` gets or creates it. Between jobs a
    cluster made here goes back to ``min_nodes`` machines (0 unless said otherwise), and then costs nothing.

    Attributes:
        name: Its name; ``"serverless"`` for serverless compute.
        size: The size of its machines; None until looked up, for a cluster named without one.
        min_nodes: The machines that it keeps even when idle; each costs money all the time.
        max_nodes: The most machines that it grows to.
        low_priority: Whether its machines may be taken away while in use; cheaper, and asked for only here.
        idle_time: How long a machine stays after its last job.
        provisioning_state: Azure's state of it; None until looked up.
        nodes: The machines it has now; None until looked up.
        lease_until: When its lease ends, in UTC: from then on ``ws.sweep()`` deletes it. None where it has none, and
            until looked up.
    """

    name: str
    size: str | None = None
    min_nodes: int = 0
    max_nodes: int = 1
    low_priority: bool = False
    idle_time: timedelta = timedelta(minutes=2)
    provisioning_state: str | None = None
    nodes: int | None = None
    lease_until: datetime | None = None
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    def __attrs_post_init__(self) -> None:
        _check_nodes(self.min_nodes, self.max_nodes)
        if self.idle_time < timedelta(minutes=1):
            raise InvalidParameter(
                "A cluster's idle time is too short",
                name="idle_time",
                value=self.idle_time,
                allowed="one minute or more",
            )

    @classmethod
    def serverless(cls, size: str, *, nodes: int = 1) -> Self:
        """Compute that Azure brings and takes away with the job; nothing to create, nothing left behind.

        Args:
            size: The size of its machines.
            nodes: The most machines that a job may take.
        """
        return cls("serverless", size, max_nodes=nodes)

    @property
    def is_serverless(self) -> bool:
        """Whether this is Azure's serverless compute."""
        return self.name == "serverless"

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return "serverless compute" if self.is_serverless else f"cluster {self.name}"

    def ensure(
        self,
        model: FoundationModel | None = None,
        *,
        lease: timedelta | None = None,
        timeout: timedelta = PROVISIONING_TIMEOUT,
    ) -> GpuCompute:
        """Get the cluster, or else create it: one that is there is adopted as it is, and never changed.

        What can be known beforehand is checked first: the name, the size (offered here, with a GPU, not retired,
        permitted by ``model``) and the quota. In a local workspace that trains really, a model is checked as well: that
        its files are there and can be trained on, and that the machine has the memory for the least there is, which
        is adapters and a short row at a time.

        Args:
            model: The model to be fine-tuned on it; its allow list is then checked as well.
            lease: How long from now, by the service's clock, the cluster may stay: after that ``ws.sweep()`` deletes
                it, with any job on it. One that was there keeps its lease if that ends later, and gets none if it
                had none. None is no lease; serverless compute needs none.
            timeout: How long the call may take in all, for a new cluster too. Serverless compute takes no time.

        Raises:
            SizeNotAllowed: The size is unknown here, has no GPU, is retired, or not permitted by the model.
            QuotaExceeded: The family's quota has too few cores left.
            ComputeFailed: It is there but failed, or could not be provisioned.
            ConfigurationError: It is there with machines of another size, or is absent and no size was given. In a
                local workspace: the model's files are not on this machine, or are broken, or it takes more memory than
                the machine has.
            InvalidParameter: The name is no name for a cluster. In a local workspace: the model's architecture is not
                one that is trained there, or it has no chat template.
            UntrustedModel: In a local workspace: the model's weights are a pickle.
            MissingDependency: In a local workspace: a package of the extra ``[local]`` is not installed.
            DeadlineExceeded: It is not ready in time; one that was asked for may be there later.
        """
        if self.is_serverless:
            self._check_size(model)
            self._check_trainable(model)
            return self
        _check_name(self.name)
        self._check_trainable(model)
        return self._limited(timeout)._ensure(model, lease, timeout)

    def _ensure(
        self, model: FoundationModel | None, lease: timedelta | None, timeout: timedelta
    ) -> GpuCompute:
        from phi_finetune._azure.compute import find_cluster, wait_cluster_gone

        client = self._handle()
        if model is not None and self.size is not None:
            model.check_finetune_size(self.size)
        until = None if lease is None else lease_end(client, lease)
        found = find_cluster(client, self.name)
        if found is not None and from_arm(found, client).provisioning_state == "Deleting":
            wait_cluster_gone(client, self.name, timeout)
            found = None
        if found is not None:
            return self._lease_longer(self._adopt(found, model), found, until, timeout)
        self._check_size(model)
        self._check_quota()
        return self._create(timeout, until)

    def refresh(self) -> GpuCompute:
        """The cluster as it is now.

        Raises:
            NotFound: It is not there.
        """
        from phi_finetune._azure.compute import get_cluster

        client = self._real("refresh")
        body = get_cluster(client, self.name)
        return from_arm(body, client)

    def scale(
        self,
        *,
        min_nodes: int | None = None,
        max_nodes: int | None = None,
        timeout: timedelta = PROVISIONING_TIMEOUT,
    ) -> GpuCompute:
        """Set how far the cluster shrinks and grows; all else of it, and whose it is, stays as it is.

        Args:
            min_nodes: The machines that it keeps even when idle; None leaves it.
            max_nodes: The most machines that it grows to; None leaves it.
            timeout: How long the call may take in all.

        Raises:
            NotFound: It is not there.
            DeadlineExceeded: It is not done in time; it may be later.
        """
        from phi_finetune._azure.compute import change_cluster, get_cluster

        client = self._real("scale", timeout)
        body = get_cluster(client, self.name)
        now = from_arm(body, client)
        wanted = attrs.evolve(
            now,
            min_nodes=now.min_nodes if min_nodes is None else min_nodes,
            max_nodes=now.max_nodes if max_nodes is None else max_nodes,
        )
        scale = {"minNodeCount": wanted.min_nodes, "maxNodeCount": wanted.max_nodes}
        body = change_cluster(client, body, timeout=timeout, doing="scale the cluster", scale=scale)
        return from_arm(body, client)

    def extend(self, lease: timedelta, *, timeout: timedelta = PROVISIONING_TIMEOUT) -> GpuCompute:
        """Let its lease end ``lease`` from now, by the service's clock; one that ends later stays as it is.

        A cluster of this library's that had no lease has one then.

        Args:
            lease: From one minute to 366 days.
            timeout: How long the call may take in all.

        Raises:
            ConfigurationError: This library did not make the cluster, or it is serverless compute.
            NotFound: It is not there.
            DeadlineExceeded: It is not written in time.
        """
        from phi_finetune._azure.compute import get_cluster

        client = self._real("be leased", timeout)
        body = get_cluster(client, self.name)
        check_ours(body.get("tags") or {}, self.resource)
        now, until = from_arm(body, client), lease_end(client, lease)
        if now.lease_until is not None and now.lease_until >= until:
            return now
        return self.attached_to(client)._retag(body, lease_tag(until), timeout)

    def delete(self, *, timeout: timedelta = PROVISIONING_TIMEOUT) -> None:
        """Delete the cluster, and see it gone. One that is not there is as good as deleted.

        Args:
            timeout: How long the call may take in all, until it is seen gone.

        Raises:
            DeadlineExceeded: It is still there.
        """
        from phi_finetune._azure.compute import delete_cluster

        client = self._real("delete", timeout)
        if delete_cluster(client, self.name, timeout):
            client.notify(Deleted(resource=self.resource))

    def sku(self) -> GpuSku:
        """What its machines have.

        Raises:
            SizeNotAllowed: The region does not offer the size.
        """
        if self.size is None:
            raise ConfigurationError(
                "The compute's size is not known",
                resource=self.resource,
                next_call=f'name it: ws.gpu_compute("{self.name}", size=...), or refresh() one that exists',
            )
        return find_sku(self._handle(), self.size)

    def _real(self, verb: str, timeout: timedelta | None = None) -> Client:
        if not self.is_serverless:
            return self._limited(timeout)._handle()
        raise ConfigurationError(
            f"Serverless compute cannot {verb}",
            resource=self.resource,
            why="Azure brings it with a job and takes it away again",
            next_call="use it as it is: finetune.on(compute)",
        )

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "compute")

    def _adopt(self, body: Mapping[str, Any], model: FoundationModel | None) -> GpuCompute:
        client = self._handle()
        found = from_arm(body, client)
        if found.provisioning_state == "Failed":
            raise ComputeFailed(
                "The cluster is there, but failed",
                resource=self.resource,
                why="its provisioning state is Failed",
                next_call=f'ws.gpu_compute("{self.name}").delete(), then ensure() again',
            )
        if self.size is not None and found.size is not None and self.size.lower() != found.size.lower():
            raise ConfigurationError(
                "The cluster is there with another size",
                resource=self.resource,
                why=f"it has {found.size}, asked for was {self.size}",
                next_call="name the size it has, or take another name",
            )
        if model is not None and found.size is not None:
            model.check_finetune_size(found.size)
        for difference in _differences(self, found):
            client.notify(Warned(resource=self.resource, message=f"it was left as it is: {difference}"))
        client.notify(AdoptedExisting(resource=self.resource))
        return found

    def _lease_longer(
        self, found: GpuCompute, body: Mapping[str, Any], until: datetime | None, timeout: timedelta
    ) -> GpuCompute:
        longer = longer_lease(self._handle(), self.resource, body.get("tags") or {}, until)
        return self._retag(body, longer, timeout) if longer else found

    def _retag(self, body: Mapping[str, Any], tags: Mapping[str, str], timeout: timedelta) -> GpuCompute:
        from phi_finetune._azure.compute import change_cluster

        client = self._handle()
        return from_arm(
            change_cluster(client, body, timeout=timeout, doing="tag the cluster", tags=tags), client
        )

    def _create(self, timeout: timedelta, until: datetime | None) -> GpuCompute:
        client = self._handle()
        made = self._put(timeout, {**MADE_BY, **lease_tag(until)})
        client.notify(Created(resource=self.resource))
        client.notify(ComputeReady(resource=self.resource, size=made.size or "", max_nodes=made.max_nodes))
        return made

    def _put(self, timeout: timedelta, tags: dict[str, str]) -> GpuCompute:
        from phi_finetune._azure.compute import create_cluster

        client = self._handle()
        body = create_cluster(
            client,
            name=self.name,
            size=self.size or "",
            min_nodes=self.min_nodes,
            max_nodes=self.max_nodes,
            idle_time=self.idle_time,
            low_priority=self.low_priority,
            tags=tags,
            timeout=timeout,
        )
        return from_arm(body, client)

    def _check_size(self, model: FoundationModel | None) -> None:
        if self.size is None:
            raise ConfigurationError(
                "The cluster is not there, and no size was given to create it with",
                resource=self.resource,
                next_call=f'ws.gpu_compute("{self.name}", size="Standard_NC24ads_A100_v4").ensure()',
            )
        if model is not None:
            model.check_finetune_size(self.size)
        if self._client is not None:
            check_gpu_size(self._client, self.size, self.resource)

    def _check_trainable(self, model: FoundationModel | None) -> None:
        preflight = None if self._client is None else self._client.preflight
        if model is not None and preflight is not None:
            preflight.check_model(model.id)

    def _check_quota(self) -> None:
        from phi_finetune._azure.compute import family_usage

        sku = self.sku()
        usage = family_usage(self._handle(), sku.family, low_priority=self.low_priority)
        needed = sku.cores * self.max_nodes
        if usage is None or usage[0] + needed <= usage[1]:
            return
        used, limit = usage
        pool = "low-priority cores" if self.low_priority else f"cores of {sku.family}"
        raise QuotaExceeded(
            f"The quota does not allow {self.max_nodes} x {sku.name}",
            resource=self.resource,
            why=f"that takes {needed} {pool}; {used} of {limit} are in use, also by clusters that are idle",
            costs="nothing: it was not created",
            next_call="ask for more at https://aka.ms/azuremlquota, or take fewer nodes or a smaller size"
            + ("" if self.low_priority else ", or low_priority=True"),
            family=sku.family,
            needed=needed,
            available=max(0, limit - used),
        )


def list_skus(client: Client) -> tuple[GpuSku, ...]:
    """The sizes with a GPU that the region offers; of a local workspace its machine, with or without one."""
    from phi_finetune._azure.compute import vm_sizes

    skus = (_sku(item) for item in vm_sizes(client))
    return tuple(sku for sku in skus if sku.gpus != 0 or _is_local(sku))


def find_sku(client: Client, size: str) -> GpuSku:
    """A size of the workspace's region.

    Raises:
        SizeNotAllowed: The region does not offer it.
    """
    from phi_finetune._azure.compute import vm_sizes

    for item in vm_sizes(client):
        if str(item.get("name", "")).lower() == size.lower():
            return _sku(item)
    offered = tuple(sku.name for sku in list_skus(client))
    known = sizes.find(size)
    if known is not None and offered == (this_machine.NAME,):
        return client.remember(f"machine as {known.name}", lambda: _stand_in(client, known.name))
    raise SizeNotAllowed(
        f"The region {client.facts.location} does not offer {size}",
        resource=f"size {size}",
        why="it is not among the region's sizes",
        next_call=f"take one of {', '.join(offered)}",
        size=size,
        allowed=offered,
    )


def _stand_in(client: Client, name: str) -> GpuSku:
    """The machine of a local workspace under the name of a size of Azure's."""
    (machine,) = list_skus(client)
    has = f"{machine.cores} cores, {machine.memory_gib:g} GiB, {machine.gpus or 'no'} GPU"
    message = f"this machine stands for it ({has}): how long a job takes and what fits differ from Azure"
    client.notify(Warned(resource=f"size {name}", message=message))
    return attrs.evolve(machine, name=name)


def _is_local(sku: GpuSku) -> bool:
    return sku.family == this_machine.FAMILY


def check_gpu_size(client: Client, size: str, resource: str) -> GpuSku:
    """Refuse a size that is retired, is not offered in the region, or whose GPUs are none or not known.

    Raises:
        SizeNotAllowed: With the sizes that are offered.
    """
    known = sizes.find(size)
    today = datetime.now(UTC).date()
    offered = tuple(sku.name for sku in list_skus(client))
    if known is not None and known.is_retired(today) and offered != (this_machine.NAME,):
        raise SizeNotAllowed(
            f"{known.name} is retired",
            resource=resource,
            why=f"Azure stopped running it on {known.retired_on}",
            next_call=f"take one of {', '.join(offered)}",
            size=size,
            allowed=offered,
        )
    sku = find_sku(client, size)
    if sku.gpus or _is_local(sku):
        return sku
    why = "it has no GPU" if sku.gpus == 0 else "neither Azure nor the catalogue says how many GPUs it has"
    raise SizeNotAllowed(
        f"{sku.name} cannot train or serve a model",
        resource=resource,
        why=why,
        next_call="take one of ws.gpu_skus()",
        size=size,
        allowed=offered,
    )


def from_arm(body: Mapping[str, Any], client: Client) -> GpuCompute:
    """A cluster from ARM's description of it."""
    from phi_finetune._azure.paths import required

    outer: Mapping[str, Any] = body.get("properties") or {}
    inner: Mapping[str, Any] = outer.get("properties") or {}
    scale: Mapping[str, Any] = inner.get("scaleSettings") or {}
    size = inner.get("vmSize")
    known = sizes.find(str(size)) if size else None
    return GpuCompute(
        name=str(required(body, "name", "cluster")),
        # Azure answers in upper case; the catalogue's spelling is what allow lists use.
        size=known.name if known else size,
        min_nodes=int(scale.get("minNodeCount") or 0),
        max_nodes=max(1, int(scale.get("maxNodeCount") or 1)),
        low_priority=str(inner.get("vmPriority", "")).lower() == "lowpriority",
        idle_time=_duration(str(scale.get("nodeIdleTimeBeforeScaleDown") or "PT2M")),
        provisioning_state=outer.get("provisioningState"),
        nodes=inner.get("currentNodeCount"),
        lease_until=lease_until(body.get("tags") or {}),
        client=client,
    )


def _sku(item: Mapping[str, Any]) -> GpuSku:
    name = str(item.get("name", ""))
    known = sizes.find(name)
    gpus = item.get("gpus")
    return GpuSku(
        name=known.name if known else name,
        family=str(item.get("family") or (known.family if known else "")),
        cores=int(item.get("vCPUs") or (known.vcpus if known else 0)),
        memory_gib=float(item.get("memoryGB") or (known.memory_gib if known else 0.0)),
        gpus=int(gpus) if gpus is not None else (known.gpus if known else None),
        gpu_model=known.gpu_model if known else None,
        gpu_memory_gib=known.gpu_memory_gib if known else None,
        low_priority=bool(item.get("lowPriorityCapable", True)),
        price_usd_per_hour=known.price_usd_per_hour if known else None,
        retired_on=known.retired_on if known else None,
    )


def _differences(asked: GpuCompute, found: GpuCompute) -> list[str]:
    pairs = [
        (name, getattr(asked, name), getattr(found, name))
        for name in ("min_nodes", "max_nodes", "low_priority", "idle_time")
    ]
    return [f"{name} is {has}, asked for was {wants}" for name, wants, has in pairs if wants != has]


def _duration(text: str) -> timedelta:
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", text)
    days, hours, minutes, seconds = found.groups() if found else (None, None, "2", None)
    return timedelta(
        days=int(days or 0), hours=int(hours or 0), minutes=int(minutes or 0), seconds=float(seconds or 0)
    )


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name):
        return
    raise InvalidParameter(
        f"{name!r} is no name for a cluster",
        name="name",
        value=name,
        allowed="3 to 32 letters, digits and dashes, a letter first, no dash at the end",
    )


def _check_nodes(min_nodes: int, max_nodes: int) -> None:
    if 0 <= min_nodes <= max_nodes and max_nodes >= 1:
        return
    raise InvalidParameter(
        "A cluster's numbers of machines do not fit",
        why=f"min_nodes is {min_nodes}, max_nodes is {max_nodes}",
        name="max_nodes",
        value=max_nodes,
        allowed="0 <= min_nodes <= max_nodes, and max_nodes at least 1",
    )
