"""Parse and answer the call about the caller's rights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi_finetune.emulator.core.http import Request, Response
from phi_finetune.emulator.core.paging import page

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["list_permissions"]


def list_permissions(cloud: Cloud, request: Request) -> Response:
    """What the caller's roles permit in the workspace, and what they leave out."""
    return page(request, [cloud.access.permissions()])
