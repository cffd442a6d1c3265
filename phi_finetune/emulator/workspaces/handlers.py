"""Parse and answer the calls about the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.http import Request, Response, json_answer
from phi_finetune.emulator.core.paging import page

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["discover", "get", "list_workspaces"]


def get(cloud: Cloud, request: Request) -> Response:
    """The workspace (service.md)."""
    return json_answer(200, cloud.workspace.body())


def list_workspaces(cloud: Cloud, request: Request) -> Response:
    """The one workspace, unless other kinds than ``default`` are asked for, separated by commas."""
    kinds = request.query.get("kind", "default").lower().split(",")
    return page(request, [cloud.workspace.body()] if "default" in kinds else [])


def discover(cloud: Cloud, request: Request) -> Response:
    """The discovery document, of which the client reads ``api`` (wire.md 5, streaming)."""
    api = cloud.workspace.api
    return json_answer(
        200, {"api": api, "history": api, "catalog": f"https://catalog.{cloud.settings.region}.azureml.ms"}
    )
