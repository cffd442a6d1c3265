"""Which hosts may be spoken to, and for which audience a token is asked on each.

Sources: azure-ai-ml 1.35.2, ``_azure_environments`` (Resource Manager, sign-in, audience, registries, storage of each
cloud); Azure's pages "Azure Private Endpoint private DNS zone values" (``api`` and ``inference`` of each cloud) and
"Configure inbound and outbound network traffic" for Azure Machine Learning; read 2026-11.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from phi_finetune.errors import ConfigurationError, HostRefused
from phi_finetune.protocols import CloudName

__all__ = ["CLOUDS", "PUBLIC", "AzureCloud", "Hosts", "cloud_named", "is_identity_endpoint"]


@attrs.frozen
class AzureCloud:
    """One of Microsoft's clouds: where its services are.

    Attributes:
        name: What azure-ai-ml calls it.
        arm: The address of Azure Resource Manager.
        login: The host that gives tokens.
        api: What the hosts of Azure ML's data plane end in; before it stands the region.
        scoring: What the hosts of online endpoints end in; before it stand the endpoint and the region.
        blob: What the hosts of blob stores end in; before it stands the account.
        registry_api: Where every registry of the cloud can be looked up, whatever its own region (wire.md 3).
        ml_scope: The scope of tokens for Azure ML itself.
        further: What other hosts of Azure ML end in.
    """

    name: str
    arm: str
    login: str
    api: str
    scoring: str
    blob: str
    registry_api: str
    ml_scope: str
    further: tuple[str, ...] = ()

    @property
    def arm_scope(self) -> str:
        """The scope of tokens for Azure Resource Manager."""
        return f"{self.arm}/.default"


PUBLIC: Final = AzureCloud(
    name="AzureCloud",
    arm="https://management.azure.com",
    login="login.microsoftonline.com",
    api=".api.azureml.ms",
    scoring=".inference.ml.azure.com",
    blob=".blob.core.windows.net",
    registry_api="https://eastus.api.azureml.ms",
    ml_scope="https://ml.azure.com/.default",
    further=(".experiments.azureml.net",),
)
CLOUDS: Final[Mapping[CloudName, AzureCloud]] = {
    "public": PUBLIC,
    "usgovernment": AzureCloud(
        name="AzureUSGovernment",
        arm="https://management.usgovcloudapi.net",
        login="login.microsoftonline.us",
        api=".api.ml.azure.us",
        scoring=".inference.ml.azure.us",
        blob=".blob.core.usgovcloudapi.net",
        registry_api="https://usgovarizona.api.ml.azure.us",
        ml_scope="https://ml.azure.us/.default",
    ),
    "china": AzureCloud(
        name="AzureChinaCloud",
        arm="https://management.chinacloudapi.cn",
        login="login.chinacloudapi.cn",
        api=".api.ml.azure.cn",
        scoring=".inference.ml.azure.cn",
        blob=".blob.core.chinacloudapi.cn",
        registry_api="https://chinaeast2.api.ml.azure.cn",
        ml_scope="https://ml.azure.cn/.default",
    ),
}

_STORAGE_SCOPE: Final = "https://storage.azure.com/.default"
"""One for all clouds (Azure's page "Authorize access to blobs using Microsoft Entra ID")."""

_METADATA: Final = "http://169.254.169.254/metadata/identity/"

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"{_LABEL}(?:\.{_LABEL})+"
_NAME: Final = re.compile(rf"\.?{_HOST}", re.IGNORECASE | re.ASCII)
# Clients of HTTP disagree about what is the host where a URL holds a backslash, a blank or a control character, so
# a URL is read as a whole, and none of these is in it before the path ends.
_URL: Final = re.compile(rf"https://({_HOST})(?::443)?(?:[/?][^\x00-\x1f\x7f\\]*)?", re.IGNORECASE | re.ASCII)


class Hosts:
    """The hosts that requests may go to: a cloud's, and those that the user names.

    Args:
        cloud: The cloud.
        allowed: Further hosts: ``"ml.example.com"``, or ``".example.com"`` for all that end so.

    Attributes:
        cloud: The cloud.

    Raises:
        ConfigurationError: One that is allowed is no host's name.
    """

    def __init__(self, cloud: AzureCloud = PUBLIC, allowed: Iterable[str] = ()) -> None:
        self.cloud = cloud
        self._allowed = tuple(_checked(name) for name in allowed)
        arm = cloud.arm.removeprefix("https://")
        self._names = (arm, cloud.login, *(name for name in self._allowed if not name.startswith(".")))
        self._suffixes = (
            cloud.api,
            cloud.scoring,
            cloud.blob,
            *cloud.further,
            *(name for name in self._allowed if name.startswith(".")),
        )

    def check(self, url: str) -> None:
        """Let a URL pass whose host may be spoken to.

        Raises:
            HostRefused: It is not https, names a port or a user, is another host, or cannot be read in one way only.
        """
        host = _host(url)
        if host not in self._names and not host.endswith(self._suffixes):
            raise _refused(host, "is not https on a host that Azure ML uses")

    def check_scoring(self, url: str, region: str) -> None:
        """Let a URL pass that an endpoint of the region may have, or that the user allows.

        Raises:
            HostRefused: It is another.
        """
        host = _host(url)
        suffix = f".{region.replace(' ', '').lower()}{self.cloud.scoring}"
        if host.endswith(suffix) or self._is_allowed(host):
            return
        raise _refused(host, f"is not https on a host of an endpoint in {region}, where the workspace is")

    def scope_for(self, url: str) -> str:
        """The scope of the token that the host of ``url`` takes.

        Raises:
            HostRefused: It may not be spoken to, so no token is for it.
        """
        self.check(url)
        host = _host(url)
        if host.endswith(self.cloud.scoring):
            return self.cloud.ml_scope
        if host.endswith(self.cloud.blob):
            return _STORAGE_SCOPE
        return self.cloud.arm_scope

    def _is_allowed(self, host: str) -> bool:
        return any(
            host.endswith(name) if name.startswith(".") else host == name for name in self._allowed if host
        )


def cloud_named(name: str) -> AzureCloud:
    """The cloud that a user, or azure-ai-ml, calls so.

    Raises:
        ConfigurationError: There is none of this name.
    """
    for own, cloud in CLOUDS.items():
        if name in (own, cloud.name):
            return cloud
    raise ConfigurationError(
        f"There is no cloud named {name!r}", next_call=f"connect(cloud=...) takes one of {', '.join(CLOUDS)}"
    )


def is_identity_endpoint(url: str) -> bool:
    """Whether a URL is where this machine, or its host, gives out tokens of a managed identity.

    That is the metadata address of a virtual machine, or what Azure's services put into the environment of a job
    or an app (azure-identity 1.27.0, ``imds.py`` and ``app_service.py``).
    """
    endpoints = [os.environ[name] for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT") if os.environ.get(name)]
    return any(_below(url, endpoint) for endpoint in (_METADATA, *endpoints))


def _host(url: str) -> str:
    """The host of a URL, in lower case; empty where it is not https, or clients might not agree on the host."""
    found = _URL.fullmatch(url)
    return found.group(1).lower() if found else ""


def _refused(host: str, why: str) -> HostRefused:
    return HostRefused(
        "Refused to send a request to a host that is not Azure's",
        resource=f"host {host or '(none)'}",
        why=f"the address came from an answer or a setting, and {why}",
        next_call="check where the address came from; nothing was sent. A host of your own is named in "
        "connect(allowed_hosts=...)",
    )


def _below(url: str, endpoint: str) -> bool:
    try:
        asked, allowed = urlsplit(url), urlsplit(endpoint)
    except ValueError:
        return False
    same = (asked.scheme, asked.netloc) == (allowed.scheme, allowed.netloc)
    return same and asked.path.startswith(allowed.path)


def _checked(name: str) -> str:
    if _NAME.fullmatch(name):
        return name.lower()
    raise ConfigurationError(
        f"{name!r} is no host's name",
        next_call='allowed_hosts=("ml.example.com",), or ".example.com" for all that end so',
    )
