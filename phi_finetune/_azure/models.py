"""Models of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi_finetune._azure.client import Client
from phi_finetune._azure.entities import model_body
from phi_finetune._azure.paths import required, segment
from phi_finetune._azure.translate import azure_ai_ml_errors, expect

__all__ = ["find_model", "latest_version", "list_models", "put_model"]

API = "2023-08-01-preview"


def find_model(client: Client, name: str, version: str) -> dict[str, Any] | None:
    """A model version as ARM describes it; None where there is none."""
    return client.find(
        f"{_path(name)}/{segment(version)}",
        api=API,
        resource=f"model {name}:{version}",
        doing="look up the model",
    )


def latest_version(client: Client, name: str) -> dict[str, Any] | None:
    """The version of a model that was created last; None where there is none."""
    query = {"api-version": API, "$orderBy": "createdtime desc", "$top": "1"}
    answer = client.rest.send("GET", client.url + _path(name), query=query)
    if answer.status == 404:
        client.check_workspace(answer)
        return None
    items = expect(answer, 200, doing="look up the model", resource=f"model {name}").json().get("value", ())
    return dict(items[0]) if items else None


def list_models(client: Client) -> list[str]:
    """The names of the workspace's models."""
    items = client.listed(
        "/models",
        api=API,
        resource=client.resource,
        doing="list the models",
        query={"listViewType": "ActiveOnly"},
    )
    return [str(required(item, "name", "model")) for item in items]


def put_model(
    client: Client, *, name: str, version: str, uri: str, description: str, tags: Mapping[str, str]
) -> dict[str, Any]:
    """Register an MLflow model.

    Raises:
        ServiceError: The service refused it; 409 where the version is there with another content.
    """
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Model

    resource = f"model {name}:{version}"
    with azure_ai_ml_errors(doing="put the model's request together", resource=resource):
        model = Model(
            name=name,
            version=version,
            path=uri,
            type=AssetTypes.MLFLOW_MODEL,
            description=description,
            tags=dict(tags),
        )
        body = model_body(model)
    url = f"{client.url}{_path(name)}/{segment(version)}"
    answer = client.rest.send("PUT", url, query={"api-version": API}, body=body)
    return expect(answer, 200, 201, doing="register the model", resource=resource).json()


def _path(name: str) -> str:
    return f"/models/{segment(name)}/versions"
