"""Which model a serverless endpoint serves, and whether it may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phi_finetune.emulator.assets.versions import AssetVersion
from phi_finetune.emulator.marketplace.offers import Offer
from phi_finetune.emulator.serverless_endpoints import refusals

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ServedModel", "served_model"]

_REGISTRY_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)(?P<version>/versions/[^/]+)?"
)
_WORKSPACE_ID = re.compile(
    r"(?:azureml://locations/[^/]+/workspaces/(?P<workspace>[^/]+)|(?P<arm>/subscriptions/.+/workspaces/[^/]+))"
    r"/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ServedModel:
    """A model that a serverless endpoint may serve.

    Attributes:
        name: Its name.
        provider: Who made it.
        files: Its files; none for a registry's model.
        fine_tuned: Whether it is the workspace's own.
        offer: What must be subscribed to; None for a model of Microsoft's.
    """

    name: str
    provider: str = "Microsoft"
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    fine_tuned: bool = False
    offer: Offer | None = None


def served_model(cloud: Cloud, model_id: str) -> ServedModel:
    """The model of an id: a registry's, without a version, or one of the workspace's, with a version.

    Raises:
        ServiceError: 404, where there is no such model; 400, where it cannot be served without machines, the
            id has a version too many, or is none.
    """
    found = _REGISTRY_ID.fullmatch(model_id)
    if found is not None:
        if found["version"]:
            raise refusals.version_given(model_id)
        return _of_a_registry(cloud, model_id, found["registry"], found["name"])
    own = _WORKSPACE_ID.fullmatch(model_id)
    if own is None:
        raise refusals.no_model_id(model_id)
    return _of_the_workspace(cloud, model_id, own)


def _of_a_registry(cloud: Cloud, model_id: str, registry: str, name: str) -> ServedModel:
    offer = cloud.marketplace.offer(model_id)
    if offer is not None:
        return ServedModel(offer.model, offer.publisher.capitalize(), offer=offer)
    # Azure's page on deploying models as serverless APIs: it is always the latest version.
    latest = cloud.registries.store(registry).latest("models", name)
    if latest.archived or not _is_offered(latest):
        raise refusals.not_offered(model_id)
    return ServedModel(name)


def _is_offered(model: AssetVersion) -> bool:
    """Whether the catalogue offers a model without machines: in a tag, or later in its system metadata."""
    metadata = model.content.get("system_metadata") or {}
    tagged = model.tags.get("maas-inference", "").lower() == "true"
    return tagged or "ServerlessMaaS" in metadata.get("deploymentOptions", ())


def _of_the_workspace(cloud: Cloud, model_id: str, found: re.Match[str]) -> ServedModel:
    here = (cloud.workspace.guid, cloud.workspace.name.lower(), cloud.workspace.id.lower())
    if (found["workspace"] or found["arm"]).lower() not in here:
        raise refusals.foreign_model(model_id)
    version = cloud.assets.model(found["name"], found["version"])
    if version.type != "mlflow_model":
        raise refusals.not_fine_tuned(model_id, version.type)
    return ServedModel(found["name"], files=version.files(), fine_tuned=True)
