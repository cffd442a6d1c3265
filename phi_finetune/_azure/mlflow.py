"""A real MLflow client of the workspace, without touching MLflow's global state."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from phi_finetune._azure.client import Client
from phi_finetune._azure.translate import azure_ai_ml_errors
from phi_finetune.errors import MissingDependency, UnexpectedAnswer

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["mlflow_client"]

_NO_TELEMETRY: Final = "MLFLOW_DISABLE_TELEMETRY"


def mlflow_client(client: Client) -> MlflowClient:
    """The client.

    Raises:
        MissingDependency: azureml-mlflow is not installed.
    """
    if client.tracking_uri is not None:
        if find_spec("mlflow") is None:
            raise MissingDependency("MLflow is not installed", next_call="pip install mlflow")
        return _client_class()(tracking_uri=client.tracking_uri)
    if find_spec("azureml") is None or find_spec("azureml.mlflow") is None:
        raise MissingDependency(
            "MLflow does not know Azure's addresses without azureml-mlflow",
            next_call="pip install azureml-mlflow",
        )
    client_class = _client_class()
    with azure_ai_ml_errors(doing="find the tracking service", resource=client.resource):
        # This call also tells azureml-mlflow which credential to use for the address (wire.md 7).
        workspace = client.ml_client().workspaces.get(client.workspace_name)
    if workspace is None or workspace.mlflow_tracking_uri is None:
        raise UnexpectedAnswer("The workspace does not name its tracking service", resource=client.resource)
    return client_class(tracking_uri=workspace.mlflow_tracking_uri)


def _client_class() -> type[MlflowClient]:
    """MLflow's client, imported so that MLflow does not tell its makers what is called.

    It decides that for the whole process when it is first imported (mlflow 3.15, ``telemetry/client.py``). Whoever
    imported it before, or has set its variable, has decided already.
    """
    undecided = _NO_TELEMETRY not in os.environ
    if undecided:
        os.environ[_NO_TELEMETRY] = "true"
    try:
        from mlflow import MlflowClient
    finally:
        if undecided:
            os.environ.pop(_NO_TELEMETRY, None)
    return MlflowClient
