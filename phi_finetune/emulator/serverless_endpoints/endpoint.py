"""A serverless endpoint: a model at an address, and its keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.serverless_endpoints.models import ServedModel

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["AuthMode", "ServerlessEndpoint", "ServerlessSpec"]

AuthMode = Literal["Key", "AAD", "KeyAndAAD"]

_STATES = {
    ("InProgress", "Creating"): "Creating",
    ("InProgress", "Deleting"): "Deleting",
    ("Failed", "Creating"): "CreationFailed",
    ("Failed", "Deleting"): "DeletionFailed",
}
"""The endpoint's state by that of its operation and by what is done; in all other cases it is there."""


@dataclass(frozen=True)
class ServerlessSpec:
    """What a PUT asks for.

    Attributes:
        model_id: The model: a registry's without a version, or one of the workspace's with a version.
        auth_mode: How a caller signs in.
        content_safety: ``Enabled`` or ``Disabled``.
        tags: Tags of the endpoint.
    """

    model_id: str
    auth_mode: AuthMode = "Key"
    content_safety: str = "Enabled"
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ServerlessEndpoint:
    """One serverless endpoint.

    Attributes:
        name: Its name, unique in the region.
        spec: What was asked for.
        model: The model that it serves.
        keys: Its two keys, ``Primary`` and ``Secondary``.
        ready: Whether it has come up.
        ended: When it was gone.
    """

    cloud: Cloud = field(repr=False)
    name: str
    spec: ServerlessSpec
    model: ServedModel
    created: datetime
    modified: datetime
    operation: Operation = field(repr=False)
    keys: dict[str, str] = field(repr=False)
    doing: Literal["Creating", "Updating", "Deleting"] = "Creating"
    ready: bool = False
    ended: datetime | None = None

    @property
    def model_id(self) -> str:
        """The model that was asked for."""
        return self.spec.model_id

    @property
    def provisioning_state(self) -> str:
        """``Creating``, ``Updating``, ``Deleting``, ``Succeeded`` or ``Failed`` (azure-ai-ml 1.35.2)."""
        status = self.operation.status
        return self.doing if status == "InProgress" else status

    @property
    def endpoint_state(self) -> str:
        """``Online`` where it answers; else why it does not (the states are those of azure-ai-ml 1.35.2).

        Without the marketplace subscription that its model needs it is ``Suspended``: it exists and is
        unusable (Azure's page on deploying models as serverless APIs; which state that is, is assumed).
        """
        state = _STATES.get((self.operation.status, self.doing))
        if state is not None:
            return state
        lacks = self.model.offer is not None and self.marketplace_subscription_id is None
        return "Suspended" if lacks else "Online"

    @property
    def marketplace_subscription_id(self) -> str | None:
        """The ARM id of the subscription to its model; None where it needs none, or has lost it."""
        if self.model.offer is None:
            return None
        found = self.cloud.marketplace.subscription_to(self.model.offer.model_id)
        return found.arm_id if found else None

    @property
    def host(self) -> str:
        """The host that it answers on."""
        return f"{self.name.lower()}.{self.cloud.settings.region}.models.ai.azure.com"

    @property
    def uri(self) -> str | None:
        """Where requests are sent, without a path; None before it has come up (assumed)."""
        region = self.cloud.settings.region
        return f"https://{self.name}.{region}.models.ai.azure.com" if self.ready else None
