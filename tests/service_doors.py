"""The ways to Azure Machine Learning that the contract tests go: two to a fake, and the one to the real service."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from azure.ai.ml import MLClient
from azure.core.credentials import TokenCredential
from azure.identity import ClientSecretCredential, DefaultAzureCredential

from phi_finetune.emulator.cloud import Cloud, Settings
from phi_finetune.emulator.doors.environment import environment
from phi_finetune.testing import FakeAzure
from phi_finetune.testing.proxy import ProxyDoor
from phi_finetune.testing.streaming import STREAMING_AT_ONCE

__all__ = ["ACCOUNT", "DOORS", "OWN_REGISTRY", "Door", "NoAccount"]

ACCOUNT = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")
"""The environment variables that say where the real workspace is."""
OWN_REGISTRY = "AZUREML_REGISTRY_NAME"
"""The environment variable that names a registry of the real service, which the tests may write to."""

_OURS = "pf-contract"


class NoAccount(Exception):
    """The real service is asked for, and the environment does not say which workspace."""


@dataclass(frozen=True)
class Door:
    """An open way to a service.

    Attributes:
        workspace: A plain client of the workspace.
        registry: A plain client of the registry ``azureml``.
        own_registry: A plain client of a registry that can be written to; None where the environment names none.
        own_registry_name: The name of that registry; empty where there is none.
        cloud: The fake behind it; None is the real service.
    """

    workspace: MLClient
    registry: MLClient
    own_registry: MLClient | None
    own_registry_name: str
    cloud: Cloud | None


@contextmanager
def _inprocess() -> Iterator[Door]:
    with FakeAzure(registries=(_OURS,)) as azure:
        yield Door(azure.ml_client(), azure.ml_client("azureml"), azure.ml_client(_OURS), _OURS, azure.cloud)


@contextmanager
def _proxy() -> Iterator[Door]:
    cloud = Cloud(Settings(registries=(_OURS,)))
    with STREAMING_AT_ONCE, ProxyDoor(cloud) as door, environment(door.environment()):
        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        credential = ClientSecretCredential(*(os.environ[name] for name in names))
        yield _plain(credential, {**os.environ, OWN_REGISTRY: _OURS}, cloud)


@contextmanager
def _real() -> Iterator[Door]:
    missing = [name for name in ACCOUNT if not os.environ.get(name)]
    if missing:
        raise NoAccount(f"the real service needs {', '.join(missing)} in the environment")
    yield _plain(DefaultAzureCredential(), os.environ, None)


def _plain(credential: TokenCredential, account: Mapping[str, str], cloud: Cloud | None) -> Door:
    """Clients as anybody makes them, who knows of no fake."""
    workspace = MLClient(credential, *(account[name] for name in ACCOUNT), enable_telemetry=False)
    public, name = _registry(credential, "azureml"), account.get(OWN_REGISTRY, "")
    return Door(workspace, public, _registry(credential, name) if name else None, name, cloud)


def _registry(credential: TokenCredential, name: str) -> MLClient:
    return MLClient(credential, registry_name=name, enable_telemetry=False)


DOORS: Mapping[str, Callable[[], AbstractContextManager[Door]]] = {
    "inprocess": _inprocess,
    "proxy": _proxy,
    "real": _real,
}
"""What opens each way, by the name that a test's id has."""
