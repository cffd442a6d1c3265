"""Uploading planned files: what is there already is not sent again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.plans import PlannedFile

__all__ = ["upload_files"]


def upload_files(client: Client, files: Iterable[PlannedFile]) -> None:
    """Put each file where its address says.

    Raises:
        InvalidData: A file has changed since it was planned.
    """
    from phi_finetune._azure.uploads import upload

    for file in files:
        upload(
            client,
            folder=file.folder,
            file_name=file.name,
            sha256=file.sha256,
            size_bytes=file.size_bytes,
            content=file.content,
        )
