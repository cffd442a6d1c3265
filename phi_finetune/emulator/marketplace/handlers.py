"""Parse and answer the calls about marketplace subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi_finetune.emulator.core.http import Request, Response, empty, json_answer
from phi_finetune.emulator.core.paging import page
from phi_finetune.emulator.core.system_data import system_data
from phi_finetune.emulator.marketplace.subscription import MarketplaceSubscription
from phi_finetune.emulator.online_endpoints.following import follow

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["delete", "get", "list_all", "put"]

_TYPE = "Microsoft.MachineLearningServices/workspaces/marketplaceSubscriptions"


def get(cloud: Cloud, request: Request) -> Response:
    """A marketplace subscription."""
    return json_answer(200, _body(cloud.marketplace.find(request.params["marketplace"])))


def list_all(cloud: Cloud, request: Request) -> Response:
    """All marketplace subscriptions."""
    return page(request, [_body(one) for one in cloud.marketplace.all()])


def put(cloud: Cloud, request: Request) -> Response:
    """Subscribe to a model: 201 or 200, with both headers (assumed: as for online endpoints)."""
    properties = request.json().get("properties") or {}
    subscription, new = cloud.marketplace.put(
        request.params["marketplace"], str(properties.get("modelId") or "")
    )
    return json_answer(201 if new else 200, _body(subscription), follow(cloud, subscription.operation))


def delete(cloud: Cloud, request: Request) -> Response:
    """End a subscription: 202 with both headers, 204 where there is none (azure-ai-ml 1.35.2)."""
    operation = cloud.marketplace.delete(request.params["marketplace"])
    return empty(202, follow(cloud, operation)) if operation else empty(204)


def _body(subscription: MarketplaceSubscription) -> dict[str, Any]:
    return {
        "id": subscription.arm_id,
        "name": subscription.name,
        "type": _TYPE,
        "properties": {
            "modelId": subscription.model_id,
            # The client fails where the plan or the status is null (read from azure-ai-ml 1.35.2).
            "marketplacePlan": subscription.offer.plan,
            "marketplaceSubscriptionStatus": subscription.status,
            "provisioningState": subscription.provisioning_state,
        },
        "systemData": system_data(subscription.created, subscription.modified),
    }
