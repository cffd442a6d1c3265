"""Which hosts may be spoken to, and for which audience a token is asked on each.

Source: azure-ai-ml 1.35.2, ``_azure_environments`` (public cloud), and Azure's page on the network access that a
workspace needs; read 2026-11.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from phi_finetune.errors import HostRefused

__all__ = ["ARM", "ARM_SCOPE", "ML_SCOPE", "REGISTRY_API", "check_host", "is_identity_endpoint", "scope_for"]

ARM = "https://management.azure.com"
ARM_SCOPE = "https://management.azure.com/.default"
ML_SCOPE = "https://ml.azure.com/.default"
STORAGE_SCOPE = "https://storage.azure.com/.default"
REGISTRY_API = "https://eastus.api.azureml.ms"
"""Where every registry of the public cloud can be looked up, whatever its own region (wire.md 3)."""

_METADATA = "http://169.254.169.254/metadata/identity/"
_HOSTS = ("management.azure.com", "login.microsoftonline.com")
_SUFFIXES = (
    ".api.azureml.ms",
    ".experiments.azureml.net",
    ".inference.ml.azure.com",
    ".blob.core.windows.net",
)
_SCORING = ".inference.ml.azure.com"
_BLOB = ".blob.core.windows.net"


def check_host(url: str) -> None:
    """Let a URL pass whose host is Azure's.

    Raises:
        HostRefused: It is not https, names a port or a user, or is another host.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    plain = parts.scheme == "https" and parts.username is None and parts.port in (None, 443)
    if plain and (host in _HOSTS or host.endswith(_SUFFIXES)):
        return
    raise HostRefused(
        "Refused to send a request to a host that is not Azure's",
        resource=f"host {host or '(none)'}",
        why="the address came from an answer or a setting, and is not https on a host that Azure ML uses",
        next_call="check where the address came from; nothing was sent",
    )


def is_identity_endpoint(url: str) -> bool:
    """Whether a URL is where this machine, or its host, gives out tokens of a managed identity.

    That is the metadata address of a virtual machine, or what Azure's services put into the environment of a job
    or an app (azure-identity 1.27.0, ``imds.py`` and ``app_service.py``).
    """
    endpoints = [os.environ[name] for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT") if os.environ.get(name)]
    return any(_below(url, endpoint) for endpoint in (_METADATA, *endpoints))


def _below(url: str, endpoint: str) -> bool:
    asked, allowed = urlsplit(url), urlsplit(endpoint)
    same = (asked.scheme, asked.netloc) == (allowed.scheme, allowed.netloc)
    return same and asked.path.startswith(allowed.path)


def scope_for(url: str) -> str:
    """The scope of the token that the host of ``url`` takes."""
    host = (urlsplit(url).hostname or "").lower()
    if host.endswith(_SCORING):
        return ML_SCOPE
    if host.endswith(_BLOB):
        return STORAGE_SCOPE
    return ARM_SCOPE
