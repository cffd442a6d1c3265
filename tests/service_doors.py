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

__all__ = ["ACCOUNT", "DOORS", "Door", "NoAccount"]

ACCOUNT = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE_NAME")
"""The environment variables that say where the real workspace is."""


class NoAccount(Exception):
    """The real service is asked for, and the environment does not say which workspace."""


@dataclass(frozen=True)
class Door:
    """An open way to a service.

    Attributes:
        workspace: A plain client of the workspace.
        registry: A plain client of the registry ``azureml``.
        cloud: The fake behind it; None is the real service.
    """

    workspace: MLClient
    registry: MLClient
    cloud: Cloud | None


@contextmanager
def _inprocess() -> Iterator[Door]:
    with FakeAzure() as azure:
        yield Door(azure.ml_client(), azure.ml_client(registry_name="azureml"), azure.cloud)


@contextmanager
def _proxy() -> Iterator[Door]:
    cloud = Cloud(Settings())
    with STREAMING_AT_ONCE, ProxyDoor(cloud) as door, environment(door.environment()):
        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        credential = ClientSecretCredential(*(os.environ[name] for name in names))
        yield _plain(credential, os.environ, cloud)


@contextmanager
def _real() -> Iterator[Door]:
    missing = [name for name in ACCOUNT if not os.environ.get(name)]
    if missing:
        raise NoAccount(f"the real service needs {', '.join(missing)} in the environment")
    yield _plain(DefaultAzureCredential(), os.environ, None)


def _plain(credential: TokenCredential, account: Mapping[str, str], cloud: Cloud | None) -> Door:
    """Clients as anybody makes them, who knows of no fake."""
    workspace = MLClient(credential, *(account[name] for name in ACCOUNT), enable_telemetry=False)
    return Door(workspace, MLClient(credential, registry_name="azureml", enable_telemetry=False), cloud)


DOORS: Mapping[str, Callable[[], AbstractContextManager[Door]]] = {
    "inprocess": _inprocess,
    "proxy": _proxy,
    "real": _real,
}
"""What opens each way, by the name that a test's id has."""
