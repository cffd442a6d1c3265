"""A marketplace subscription: a workspace may use a third party's model."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.marketplace.offers import Offer

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["MarketplaceSubscription"]


@dataclass
class MarketplaceSubscription:
    """One subscription.

    Attributes:
        name: Its name in the workspace.
        offer: What it is to.
        ready: Whether it was fulfilled.
        gone: Whether it is being deleted.
    """

    cloud: Cloud = field(repr=False)
    name: str
    offer: Offer
    created: datetime
    modified: datetime
    operation: Operation = field(repr=False)
    ready: bool = False
    gone: bool = False

    @property
    def model_id(self) -> str:
        """The model, without a version."""
        return self.offer.model_id

    @property
    def provisioning_state(self) -> str:
        """``Creating``, ``Deleting``, ``Succeeded`` or ``Failed`` (azure-ai-ml 1.35.2)."""
        status = self.operation.status
        if status != "InProgress":
            return status
        return "Deleting" if self.gone else "Creating"

    @property
    def status(self) -> str:
        """``PendingFulfillmentStart``, ``Subscribed`` or ``Unsubscribed`` (azure-ai-ml 1.35.2)."""
        if self.gone:
            return "Unsubscribed"
        return "Subscribed" if self.ready else "PendingFulfillmentStart"

    @property
    def arm_id(self) -> str:
        """Its ARM id."""
        return self.cloud.arm_id("marketplaceSubscriptions", self.name)
