"""The marketplace subscriptions of the workspace, and what can be subscribed to.

That a subscription is needed, one for a workspace and a model, and what becomes of endpoints without it, says
Azure's page on deploying models as serverless APIs. No wording of a refusal is recorded: all are ours.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.operations import Operation
from phi_finetune.emulator.marketplace.offers import Offer, known_offers, offer
from phi_finetune.emulator.marketplace.subscription import MarketplaceSubscription
from phi_finetune.emulator.online_endpoints.refusals import bad_request, busy

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Marketplace"]

_KIND = "mfeOperationsStatus"
_FULFILMENT = timedelta(minutes=3)
"""Azure's page says "a few minutes"."""
_DELETION = timedelta(minutes=1)
"""Assumed."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}")
"""Assumed: the rule of other names in the workspace. Azure's examples have the model's name, which may hold dots."""


class Marketplace:
    """The offers that one cloud knows, and its workspace's subscriptions to them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._offers = known_offers()
        self._subscriptions: dict[str, MarketplaceSubscription] = {}

    def publish(self, model_id: str) -> None:
        """Let the marketplace offer another model.

        Raises:
            ValueError: It is no model of a third party's registry, or names a version.
        """
        self._offers[model_id] = offer(model_id)

    def offer(self, model_id: str) -> Offer | None:
        """The offer of a model; None where the marketplace has none."""
        return self._offers.get(model_id)

    def all(self) -> tuple[MarketplaceSubscription, ...]:
        """Every subscription, the oldest first."""
        return tuple(self._subscriptions.values())

    def find(self, name: str) -> MarketplaceSubscription:
        """A subscription by its name, in any case.

        Raises:
            ServiceError: 404 where there is none.
        """
        found = self._subscriptions.get(name.lower())
        if found is None:
            message = f"Marketplace subscription {name} not found in workspace {self._cloud.workspace.name}"
            raise ServiceError(404, "UserError", message)
        return found

    def subscription_to(self, model_id: str) -> MarketplaceSubscription | None:
        """A subscription that lets the workspace use a model; None where there is none."""
        ready = (one for one in self.all() if one.status == "Subscribed")
        return next((one for one in ready if one.model_id == model_id), None)

    def put(self, name: str, model_id: str) -> tuple[MarketplaceSubscription, bool]:
        """Subscribe to a model; and whether the subscription is new. The same again changes nothing.

        Raises:
            ServiceError: 400, where the name is not valid, the marketplace has no such offer, or the
                subscription is to another model; 409, where it is being deleted.
        """
        if not _NAME.fullmatch(name):
            raise bad_request(
                f"The marketplace subscription name {name} is invalid. It must match {_NAME.pattern}."
            )
        wanted = self.offer(model_id)
        if wanted is None:
            raise bad_request(f"The Azure Marketplace has no offer for the model {model_id}.")
        existing = self._subscriptions.get(name.lower())
        if existing is None:
            return self._create(name, wanted), True
        if existing.gone:
            raise busy(f"update marketplace subscription {existing.name}", existing.provisioning_state)
        if existing.offer != wanted:
            raise bad_request(f"The model of marketplace subscription {existing.name} cannot be changed.")
        if existing.operation.status == "Failed":
            existing.modified = self._cloud.clock.now()
            existing.operation = self._fulfil(existing)
        return existing, False

    def delete(self, name: str) -> Operation | None:
        """Begin to end a subscription; None where there is none.

        Endpoints that need it are suspended at once.
        """
        found = self._subscriptions.get(name.lower())
        if found is None:
            return None
        if not found.gone or found.operation.status == "Failed":
            found.gone = True
            found.operation = self._cloud.operations.start(_KIND, _DELETION, lambda: self._forget(found))
        return found.operation

    def _create(self, name: str, wanted: Offer) -> MarketplaceSubscription:
        now = self._cloud.clock.now()
        operation = self._cloud.operations.start(_KIND, _FULFILMENT, lambda: _settle(subscription))
        subscription = MarketplaceSubscription(self._cloud, name, wanted, now, now, operation)
        self._subscriptions[name.lower()] = subscription
        return subscription

    def _fulfil(self, subscription: MarketplaceSubscription) -> Operation:
        return self._cloud.operations.start(_KIND, _FULFILMENT, lambda: _settle(subscription))

    def _forget(self, subscription: MarketplaceSubscription) -> None:
        self._subscriptions.pop(subscription.name.lower(), None)


def _settle(subscription: MarketplaceSubscription) -> ServiceError | None:
    if subscription.gone:
        # As for deployments: a deletion cancels what is under way.
        return ServiceError(400, "OperationCanceled", "Operation was canceled by another operation.")
    subscription.ready = True
    return None
