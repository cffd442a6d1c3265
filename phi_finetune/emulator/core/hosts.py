"""The hosts and path prefixes that the real client talks to (wire.md, notation and section 3)."""

from __future__ import annotations

__all__ = [
    "API",
    "ARM",
    "AZURE_DOMAINS",
    "BLOB",
    "HISTORY",
    "INSTANCE_METADATA",
    "LOCATION",
    "LOGIN",
    "MFE",
    "MLFLOW",
    "PROVIDER",
    "REGISTRY",
    "SCORING",
    "SERVERLESS",
    "WORKSPACE",
    "is_azure",
]

ARM = "management.azure.com"
API = "{region}.api.azureml.ms"
MFE = "{certificate}.experiments.azureml.net"
BLOB = "{account}.blob.core.windows.net"
LOGIN = "login.microsoftonline.com"
SCORING = "{endpoint}.{region}.inference.ml.azure.com"
SERVERLESS = "{serverless}.{region}.models.ai.azure.com"

PROVIDER = "/providers/Microsoft.MachineLearningServices"
LOCATION = f"/subscriptions/{{subscription}}{PROVIDER}/locations/{{location}}"
WORKSPACE = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}{PROVIDER}/workspaces/{{workspace}}"
REGISTRY = (
    "/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{group}"
    f"{PROVIDER}/registries/{{registry}}"
)
HISTORY = f"/history/v1.0{WORKSPACE}"
MLFLOW = f"/mlflow/{{mlflow_version}}{WORKSPACE}/api/2.0/mlflow"

AZURE_DOMAINS = (
    "azure.com",
    "azureml.ms",
    "azureml.net",
    "windows.net",
    "azure.net",
    "microsoftonline.com",
    "applicationinsights.azure.com",
    "azurecr.io",
    "azurewebsites.net",
    "trafficmanager.net",
    "visualstudio.com",
    "login.microsoft.com",
    "graph.microsoft.com",
    # The clouds of China and of the US government.
    "azure.cn",
    "azure.us",
    "chinacloudapi.cn",
    "microsoftonline.us",
    "usgovcloudapi.net",
)
INSTANCE_METADATA = "169.254.169.254"


def is_azure(host: str) -> bool:
    """Whether a host is one of Azure's, or the machine's identity endpoint; such a request never leaves."""
    name = host.lower().rstrip(".")
    return name == INSTANCE_METADATA or any(
        name == suffix or name.endswith("." + suffix) for suffix in AZURE_DOMAINS
    )
