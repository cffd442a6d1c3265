"""The workspace, and who may look into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from phi_finetune.emulator.core.clock import timestamp
from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.hosts import PROVIDER
from phi_finetune.emulator.core.http import Request

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Workspace"]

_ALWAYS: Mapping[str, object] = {
    "hbiWorkspace": False,
    "imageBuildCompute": None,
    "managedNetwork": {"changeableIsolationModes": [], "isolationMode": "Disabled"},
    "v1LegacyMode": False,
    "softDeleteEnabled": False,
    "storageHnsEnabled": False,
    "linkedModelInventoryArmId": None,
    "privateLinkCount": 0,
    "publicNetworkAccess": "Enabled",
    "ipAllowlist": [],
    "enableDataIsolation": False,
    "allowRoleAssignmentOnRG": True,
    "serverlessComputeSettings": None,
    "enableServiceSideCMKEncryption": False,
}
"""Properties of every workspace here (service.md has the names, the values are those of a plain workspace)."""


class Workspace:
    """The one workspace of a cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.name = cloud.settings.workspace
        self.guid = cloud.ids.guid()
        self.created = cloud.clock.now()
        # A storage account's name is 3 to 24 lower-case letters and digits (Azure's page on resource names).
        self.storage_account = f"philab{cloud.ids.hex(12)}"
        group = f"/subscriptions/{cloud.subscription_id}/resourceGroups/{cloud.settings.resource_group}"
        self.group_id = group
        self.id = f"{group}{PROVIDER}/workspaces/{self.name}"

    @property
    def api(self) -> str:
        """The region's host of the data plane."""
        return f"https://{self._cloud.settings.region}.api.azureml.ms"

    @property
    def discovery_url(self) -> str:
        """Where the discovery document is; the guid in it tells two emulators apart, as the call has no token."""
        return f"{self.api}/discovery/{self.guid}"

    def admit(self, request: Request) -> None:
        """Refuse a request for another subscription, resource group or workspace.

        Raises:
            ServiceError: 404, in the words of Azure Resource Manager.
        """
        if "registry" in request.params:
            return
        subscription = request.params.get("subscription")
        if subscription is not None and subscription.lower() != self._cloud.subscription_id:
            raise ServiceError(
                404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found."
            )
        group = request.params.get("group")
        if group is not None and group.lower() != self._cloud.settings.resource_group.lower():
            raise ServiceError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        name = request.params.get("workspace")
        if name is not None and name.lower() != self.name.lower():
            raise ServiceError(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.MachineLearningServices/workspaces/{name}' under resource group '{group}' "
                "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
            )

    def body(self) -> dict[str, object]:
        """What GET of the workspace answers (service.md)."""
        cloud = self._cloud
        region = cloud.settings.region
        provider = f"{self.group_id}/providers"
        when = timestamp(self.created)
        by = {"At": when, "By": "phi@example.com", "ByType": "User"}
        return {
            "id": self.id,
            "name": self.name,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": region,
            "tags": {},
            "etag": None,
            "kind": "Default",
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": self.guid, "tenantId": cloud.tenant_id},
            "properties": {
                "friendlyName": self.name,
                "description": "",
                "storageAccount": f"{provider}/Microsoft.Storage/storageAccounts/{self.storage_account}",
                "keyVault": f"{provider}/Microsoft.KeyVault/vaults/{self.name}",
                "applicationInsights": f"{provider}/Microsoft.Insights/components/{self.name}",
                "containerRegistry": None,
                "tenantId": cloud.tenant_id,
                "provisioningState": "Succeeded",
                "creationTime": when,
                "systemDatastoresAuthMode": cloud.settings.datastores_auth,
                **_ALWAYS,
                "workspaceId": self.guid,
                "discoveryUrl": self.discovery_url,
                # wire.md 7: required wherever azureml-mlflow is installed.
                "mlFlowTrackingUri": f"azureml://{region}.api.azureml.ms/mlflow/v1.0{self.id}",
            },
            "systemData": {
                f"{verb}{what}": value for verb in ("created", "lastModified") for what, value in by.items()
            },
        }
