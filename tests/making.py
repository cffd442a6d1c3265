"""Assets of an emulated cloud, put as a client would."""

from __future__ import annotations

from typing import Any

from asking import Answer, ask

from phi_finetune.emulator.cloud import Cloud

__all__ = ["COMMAND", "IMAGE", "put_code", "put_component", "put_environment", "registry_url", "versions"]

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"

COMMAND: dict[str, Any] = {
    "type": "command",
    "command": "python train.py --epochs ${{inputs.epochs}}",
    "environment": "azureml:tools:1",
    "is_deterministic": True,
    "inputs": {
        "epochs": {"type": "integer", "default": "3"},
        "data": {"type": "uri_folder", "optional": True},
    },
    "outputs": {"model": {"type": "mlflow_model"}},
    "_source": "CLASS",
}
"""A component that runs a command in the environment ``tools``."""


def put_environment(cloud: Cloud, name: str = "tools", version: str = "1", **properties: Any) -> Answer:
    """Make an environment, of an image unless ``properties`` say otherwise."""
    sent = properties if "build" in properties else {"image": IMAGE, **properties}
    return ask(cloud, "PUT", f"environments/{name}/versions/{version}", {"properties": sent})


def put_code(cloud: Cloud, files: dict[str, bytes], name: str = "snapshot", version: str = "1") -> Answer:
    """Make a snapshot of code in a folder ``src`` of the default datastore."""
    for path, data in files.items():
        cloud.storage.put(f"src/{path}", data)
    uri = "azureml://datastores/workspaceblobstore/paths/src"
    return ask(cloud, "PUT", f"codes/{name}/versions/{version}", {"properties": {"codeUri": uri}})


def put_component(
    cloud: Cloud, name: str = "train", version: str = "1", *, body: dict[str, Any] | None = None, **spec: Any
) -> Answer:
    """Make a component: :data:`COMMAND` with what ``spec`` changes of it, and further properties in ``body``."""
    properties = {"componentSpec": {**COMMAND, "name": name, "version": version, **spec}, **(body or {})}
    return ask(cloud, "PUT", f"components/{name}/versions/{version}", {"properties": properties})


def registry_url(cloud: Cloud, path: str, registry: str) -> str:
    """The URL of a path below a registry's."""
    group = f"subscriptions/{cloud.subscription_id}/resourceGroups/registries"
    place = f"providers/Microsoft.MachineLearningServices/registries/{registry}"
    host = f"https://cert-{cloud.settings.region}.experiments.azureml.net/mferp/managementfrontend"
    return f"{host}/{group}/{place}/{path}"


def versions(answer: Answer) -> list[str]:
    """The names of the items in a list."""
    return [item["name"] for item in answer.body["value"]]
