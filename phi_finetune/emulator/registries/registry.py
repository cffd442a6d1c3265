"""One registry: assets that several workspaces share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from phi_finetune.emulator.assets.refusals import invalid, not_found
from phi_finetune.emulator.assets.store import AssetStore
from phi_finetune.emulator.assets.versions import AssetVersion, Kind
from phi_finetune.emulator.core.errors import ServiceError

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Registry"]

_MICROSOFT = "Microsoft"
_USER = "phi@example.com"


class Registry(AssetStore):
    """The assets of one registry.

    Args:
        cloud: Whose workspaces see it.
        name: Its name.
        public: Whether it is one of Azure's own, which only Microsoft writes to.
    """

    def __init__(self, cloud: Cloud, name: str, *, public: bool) -> None:
        super().__init__(cloud, _MICROSOFT if public else _USER)
        self.name = name
        self.public = public

    def check_writable(self) -> None:
        """Refuse to write to one of Azure's own.

        Raises:
            ServiceError: 403; status and code are those of a missing right (Azure's page on troubleshooting
                role-based access control), that the registry answers so is assumed.
        """
        if self.public:
            message = (
                f"The client '{_USER}' does not have authorization to perform action "
                f"'Microsoft.MachineLearningServices/registries/assets/write' over scope 'registries/{self.name}'."
            )
            raise ServiceError(403, "AuthorizationFailed", message)

    def listed(self, kind: Kind, name: str) -> Sequence[AssetVersion]:
        """The versions of a name; none for an unknown one, which is no error here (service.md)."""
        return self.seen(kind, name)

    def id_of(self, kind: Kind, name: str, version: str | None = None) -> str:
        """The asset id of a name, or of a version of it."""
        whole = f"azureml://registries/{self.name}/{kind}/{name}"
        return f"{whole}/versions/{version}" if version else whole

    def type_of(self, kind: Kind, *, version: bool) -> str:
        """What answers call the type of a name, or of a version."""
        return kind

    def absent(self, kind: Kind, name: str, version: str | None = None) -> ServiceError:
        """What is answered where a name, or a version of it, is not there: 404, in the asset store's words."""
        return not_found(self.id_of(kind, name, version))

    def resolve(self, uri: str, *, folder: bool) -> str:
        """A location in the registry: an https address, to which the client has uploaded.

        Raises:
            ServiceError: 400 for anything else; a registry sees no workspace's datastores (assumed).
        """
        if not uri.startswith("https://"):
            raise invalid(f"The location {uri} is in no storage that the registry {self.name} can read.")
        return uri
