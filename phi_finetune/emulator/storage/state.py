"""The storage account of the workspace, and the datastores that point into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.storage import sas
from phi_finetune.emulator.storage.blobs import Blob, Container, Files

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["ARTIFACTSTORE", "BLOBSTORE", "Storage"]

BLOBSTORE = "workspaceblobstore"
"""The default datastore: uploads and outputs."""

ARTIFACTSTORE = "workspaceartifactstore"
"""Where the runs' logs lie (wire.md 5, download of outputs)."""

_URL_LIFETIME = timedelta(minutes=30)  # pain.md, "Tokens"
_REFERENCE_LIFETIME = timedelta(hours=24)  # assumed
_COPY = "files"
_ACCOUNTS = "/providers/Microsoft.Storage/storageAccounts"
_LINK = re.compile(
    r"azureml://(?:subscriptions/[^/]+/resourcegroups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/)?"
    r"datastores/(?P<datastore>[^/]+)/paths/(?P<path>.*)",
    re.IGNORECASE,
)


class Storage:
    """One account with the two containers that a workspace has from the start."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._key = cloud.ids.secret(64).encode()
        self.account = cloud.workspace.storage_account
        self.host = f"{self.account}.blob.core.windows.net"
        self.created = cloud.clock.now()
        self.datastores = {
            BLOBSTORE: Container(f"azureml-blobstore-{cloud.workspace.guid}"),
            ARTIFACTSTORE: Container("azureml"),
        }
        self._uploads: dict[str, Container] = {}

    def owns_host(self, host: str) -> bool:
        """Whether a host is this account's."""
        return host.lower() == self.host

    def datastore(self, name: str) -> Container:
        """The container behind a datastore.

        Raises:
            ServiceError: 404 where there is no such datastore.
        """
        container = self.datastores.get(name)
        if container is None:
            raise ServiceError(404, "UserError", f"Could not find datastore with name: {name}")
        return container

    def container(self, name: str) -> Container:
        """A container by its own name.

        Raises:
            ServiceError: 404 where there is none.
        """
        for container in self.datastores.values():
            if container.name == name:
                return container
        if name in self._uploads:
            return self._uploads[name]
        raise ServiceError(404, "ContainerNotFound", "The specified container does not exist.")

    def open_container(self) -> Container:
        """A new container that no datastore leads to, for a client to upload one asset into."""
        container = Container(self._cloud.ids.guid())
        self._uploads[container.name] = container
        return container

    def blob_reference(
        self, container: Container, path: str = "", *, permissions: str = "racwdl"
    ) -> dict[str, object]:
        """Where something in a container lies, and a URL with a signature for all of the container."""
        where = f"https://{self.host}/{container.name}"
        expires = self._cloud.clock.now() + _REFERENCE_LIFETIME
        signature = sas.sign(self._key, sas.Grant(container.name, permissions, expires))
        return {
            "blobUri": f"{where}/{quote(path)}" if path else where,
            "storageAccountArmId": f"{self._cloud.workspace.group_id}{_ACCOUNTS}/{self.account}",
            "credential": {"credentialType": "SAS", "sasUri": f"{where}?{signature}"},
        }

    def store_files(self, files: Mapping[str, bytes], *, folder: bool) -> str:
        """Copy files into a container of their own; where they, or the one file, then are."""
        container = self.open_container()
        for name, data in files.items():
            container.put(f"{_COPY}/{name}", self.blob(data))
        path = f"{_COPY}/" if folder else f"{_COPY}/{next(iter(files))}"
        return f"https://{self.host}/{container.name}/{quote(path)}"

    def put(
        self, path: str, data: bytes, metadata: Mapping[str, str] | None = None, *, datastore: str = BLOBSTORE
    ) -> None:
        """Write a blob."""
        self.datastore(datastore).put(path, self.blob(data, metadata))

    def put_live(self, path: str, read: Callable[[], bytes], *, datastore: str = BLOBSTORE) -> None:
        """Write a blob whose bytes are asked for at each read."""
        self.datastore(datastore).put(path, self.blob(read))

    def blob(self, source: bytes | Callable[[], bytes], metadata: Mapping[str, str] | None = None) -> Blob:
        """A blob that is written now."""
        return Blob(
            self.content(source),
            f"0x8D{self._cloud.ids.hex(13).upper()}",
            self._cloud.clock.now(),
            dict(metadata or {}),
        )

    def content(self, source: bytes | Callable[[], bytes]) -> bytes | Callable[[], bytes]:
        """Bytes as they are kept: in memory, or by whatever keeps the contents of this cloud."""
        if self._cloud.contents is None or not isinstance(source, bytes):
            return source
        return self._cloud.contents.keep(source)

    def get(self, path: str, *, datastore: str = BLOBSTORE) -> Blob | None:
        """The blob at a path, or None."""
        return self.datastore(datastore).find(path)

    def list(self, prefix: str, *, datastore: str = BLOBSTORE) -> list[str]:
        """The paths that begin with a prefix."""
        return [path for path, _ in self.datastore(datastore).under(prefix)]

    def sas(
        self,
        lifetime: timedelta,
        *,
        datastore: str = BLOBSTORE,
        blob: str | None = None,
        permissions: str = "racwdl",
    ) -> str:
        """A signature for a datastore's container, or for one blob in it, as a query string."""
        expires = self._cloud.clock.now() + lifetime
        return sas.sign(self._key, sas.Grant(self.datastore(datastore).name, permissions, expires, blob))

    def check_sas(self, query: Mapping[str, str], *, container: str, blob: str, need: str) -> None:
        """Refuse a signature that is not this account's, has expired, or grants none of the letters needed.

        Raises:
            ServiceError: 403.
        """
        if self._cloud.replays:
            return  # As for tokens: signatures are not kept.
        sas.check(self._key, query, container=container, blob=blob, need=need, now=self._cloud.clock.now())

    def url(self, path: str, *, datastore: str = BLOBSTORE) -> str:
        """Where a blob can be read for half an hour by anybody who has the URL."""
        signature = self.sas(_URL_LIFETIME, datastore=datastore, blob=path, permissions="r")
        return f"https://{self.host}/{self.datastore(datastore).name}/{quote(path)}?{signature}"

    def long_uri(self, path: str, *, datastore: str = BLOBSTORE, folder: bool = False) -> str:
        """The ``azureml://`` form that the service gives; a folder ends with a slash (service.md)."""
        settings = self._cloud.settings
        workspace = (
            f"subscriptions/{self._cloud.subscription_id}/resourcegroups/{settings.resource_group}"
            f"/workspaces/{settings.workspace}"
        )
        tail = path.rstrip("/") + "/" if folder else path
        return f"azureml://{workspace}/datastores/{datastore}/paths/{tail}"

    def locate(self, uri: str) -> tuple[str, str]:
        """The datastore and path that a URI names, in any of the forms that clients use.

        Raises:
            ServiceError: 400 where it is none of them; 404 for an unknown datastore or container.
        """
        found = _LINK.fullmatch(uri)
        if found is not None:
            self.datastore(found["datastore"])
            return found["datastore"], found["path"].strip("/")
        parts = urlsplit(uri)
        if parts.scheme == "https" and self.owns_host(parts.hostname or ""):
            wanted, path = self.place(uri)
            for name, container in self.datastores.items():
                if container is wanted:
                    return name, path
        raise ServiceError(400, "UserError", f"The URI {uri} is not one that this workspace can read.")

    def place(self, uri: str) -> tuple[Container, str]:
        """The container and path that a URI names: in a datastore, or in a container for uploads.

        Raises:
            ServiceError: As for :meth:`locate`.
        """
        parts = urlsplit(uri)
        if parts.scheme == "https" and self.owns_host(parts.hostname or ""):
            name, _, path = unquote(parts.path).strip("/").partition("/")
            return self.container(name), path
        datastore, path = self.locate(uri)
        return self.datastore(datastore), path

    def read(self, uri: str) -> Files:
        """The files at a URI by their path below it; a single file by its own name.

        Raises:
            ServiceError: 400 where nothing is there.
        """
        container, path = self.place(uri)
        single = container.find(path)
        if single is not None:
            return Files({path.rpartition("/")[2]: single})
        prefix = f"{path}/" if path else ""
        files = {name.removeprefix(prefix): blob for name, blob in container.under(prefix)}
        if not files:
            # The code that a job's own data access gives (Azure's page on troubleshooting data access).
            message = (
                "StreamAccess.NotFound: The requested stream was not found. Please make sure the request uri "
                f"is correct: {uri}"
            )
            raise ServiceError(400, "UserError", message, inner=("BadArgument", "StreamNotFound"))
        return Files(files)
