"""An online endpoint: one address, one way to sign in, and the split of its traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.online_endpoints.deployment import Deployment

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["AuthMode", "Endpoint", "EndpointSpec", "KeyKind"]

AuthMode = Literal["Key", "AMLToken", "AADToken"]
KeyKind = Literal["Primary", "Secondary"]


@dataclass(frozen=True)
class EndpointSpec:
    """What a PUT asks for.

    Attributes:
        auth_mode: How a caller signs in.
        description: Free text.
        tags: Tags of the endpoint.
        properties: Properties of the endpoint.
        traffic: Percent of the requests, by deployment.
        mirror_traffic: Percent of the requests that are copied, by deployment.
        public_access: ``Enabled`` or ``Disabled``.
    """

    auth_mode: AuthMode
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    traffic: Mapping[str, int] = field(default_factory=dict)
    mirror_traffic: Mapping[str, int] = field(default_factory=dict)
    public_access: str = "Enabled"


@dataclass
class Endpoint:
    """One endpoint.

    Attributes:
        name: Its name, unique in the region.
        spec: What was asked for.
        keys: Its two keys.
        deployments: Its deployments, by name.
    """

    cloud: Cloud = field(repr=False)
    name: str
    spec: EndpointSpec
    created: datetime
    modified: datetime
    operation: Operation = field(repr=False)
    principal_id: str = field(repr=False)
    keys: dict[KeyKind, str] = field(repr=False)
    doing: str = "Updating"
    deployments: dict[str, Deployment] = field(default_factory=dict)
    tokens: dict[str, datetime] = field(default_factory=dict, repr=False)
    served: dict[str, int] = field(default_factory=dict, repr=False)
    earlier_traffic: Mapping[str, int] = field(default_factory=dict, repr=False)
    stale_reads: int = field(default=0, repr=False)

    @property
    def provisioning_state(self) -> str:
        """``Updating`` (creation too: service.md), ``Deleting`` or ``Succeeded``."""
        status = self.operation.status
        return self.doing if status == "InProgress" else status

    @property
    def traffic(self) -> Mapping[str, int]:
        """Percent of the requests, by deployment."""
        return self.spec.traffic

    def read_traffic(self) -> Mapping[str, int]:
        """The split that a reader is shown: at first after a change, the one before (pain.md P2)."""
        if self.stale_reads == 0:
            return self.traffic
        if self.operation.status != "InProgress":
            self.stale_reads -= 1
        return self.earlier_traffic

    @property
    def host(self) -> str:
        """The host that it answers on."""
        return f"{self.name.lower()}.{self.cloud.settings.region}.inference.ml.azure.com"

    @property
    def scoring_uri(self) -> str:
        """Where requests are sent."""
        return f"https://{self.host}/score"

    def deployment(self, name: str) -> Deployment | None:
        """A deployment by its name, in any case."""
        return next((one for one in self.deployments.values() if one.name.lower() == name.lower()), None)

    def turn(self) -> Deployment | None:
        """The deployment whose turn it is; None where none takes traffic.

        Requests are dealt out so that the split is met as closely as can be at any time, where the service
        draws.
        """
        total = sum(self.served.values()) + 1
        weights = {name: percent for name, percent in self.traffic.items() if percent > 0}
        if not weights:
            return None
        due = {name: percent * total / 100 - self.served.get(name, 0) for name, percent in weights.items()}
        name = max(due, key=lambda one: due[one])
        self.served[name] = self.served.get(name, 0) + 1
        return self.deployment(name)
