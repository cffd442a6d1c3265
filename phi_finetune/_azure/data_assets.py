"""Data assets of the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi_finetune._azure.client import Client
from phi_finetune._azure.paths import segment
from phi_finetune._azure.translate import expect

__all__ = ["find_data", "latest_data", "put_folder"]

API = "2023-04-01-preview"
"""What azure-ai-ml 1.35.2 asks for (wire.md 6)."""


def find_data(client: Client, name: str, version: str) -> dict[str, Any] | None:
    """A version of a data asset as ARM describes it; None where there is none."""
    return client.find(
        f"{_path(name)}/{segment(version)}",
        api=API,
        resource=f"data asset {name}:{version}",
        doing="look up the data asset",
    )


def latest_data(client: Client, name: str) -> dict[str, Any] | None:
    """The version of a data asset that was created last; None where there is none."""
    query = {"api-version": API, "$orderBy": "createdtime desc", "$top": "1"}
    answer = client.rest.send("GET", client.url + _path(name), query=query)
    if answer.status == 404:
        client.check_workspace(answer)
        return None
    resource = f"data asset {name}"
    items = expect(answer, 200, doing="look up the data asset", resource=resource).json().get("value", ())
    return dict(items[0]) if items else None


def put_folder(
    client: Client,
    *,
    name: str,
    version: str,
    uri: str,
    description: str,
    tags: Mapping[str, str],
    properties: Mapping[str, str],
) -> dict[str, Any]:
    """Register a folder. The body is azure-ai-ml's own for its ``Data``, which need not be loaded for it.

    Raises:
        ServiceError: The service refused it; 409 where the version is there with another content.
    """
    body = {
        "properties": {
            "dataType": "uri_folder",
            "dataUri": uri,
            "description": description,
            "isAnonymous": False,
            "isArchived": False,
            "properties": dict(properties),
            "tags": dict(tags),
        }
    }
    url = f"{client.url}{_path(name)}/{segment(version)}"
    answer = client.rest.send("PUT", url, query={"api-version": API}, body=body)
    resource = f"data asset {name}:{version}"
    return expect(answer, 200, 201, doing="register the data asset", resource=resource).json()


def _path(name: str) -> str:
    return f"/data/{segment(name)}/versions"
