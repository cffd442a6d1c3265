"""Parse and answer the calls about the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.http import Request, Response, json_answer

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["discover", "get"]


def get(cloud: Cloud, request: Request) -> Response:
    """The workspace (service.md)."""
    return json_answer(200, cloud.workspace.body())


def discover(cloud: Cloud, request: Request) -> Response:
    """The discovery document, of which the client reads ``api`` (wire.md 5, streaming)."""
    api = cloud.workspace.api
    return json_answer(
        200, {"api": api, "history": api, "catalog": f"https://catalog.{cloud.settings.region}.azureml.ms"}
    )
