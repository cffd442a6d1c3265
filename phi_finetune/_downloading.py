"""Downloading a model: whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from phi_finetune._file_names import check_names
from phi_finetune.errors import InvalidParameter, NotFound, UnexpectedAnswer
from phi_finetune.events import Warned
from phi_finetune.model_files import inspect

if TYPE_CHECKING:
    from phi_finetune._azure.blob_store import StoredFile
    from phi_finetune._azure.client import Client
    from phi_finetune.registered_models import RegisteredModel

__all__ = ["download_model"]

_MOST_FILES = 100_000


def download_model(
    client: Client, model: RegisteredModel, folder: Path, *, max_bytes: int | None, trust: bool
) -> Path:
    """Copy a model's files into a folder of its own: under another name first, and under its own once all are there."""
    from phi_finetune._azure.downloads import download

    target = folder / f"{model.name}-{model.version}"
    if os.path.lexists(target):
        raise _unusable(model, target, "The target is there already", allowed="a folder without it")
    files = _files(client, model)
    total = sum(file.size_bytes for file in files.values())
    if max_bytes is not None and total > max_bytes:
        raise InvalidParameter(
            f"The model's files come to {total:,} bytes",
            resource=model.resource,
            name="max_bytes",
            value=max_bytes,
            allowed=f"{total} or more, or None",
        )
    with _told(model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(model, folder, total)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{model.name}-") as scratch:
            whole = Path(scratch) / "model"
            download(client, {whole / name: file for name, file in files.items()}, resource=model.resource)
            _keep_folders(whole)
            os.replace(whole, target)
        _keep_folder(folder)
    if not trust:
        _warn(client, model, target)
    return target


def _warn(client: Client, model: RegisteredModel, target: Path) -> None:
    report = inspect(target)
    if report.safe:
        return
    message = (
        f"loading its files could run code that came with them: {report.describe()}. "
        "Nothing was loaded; download(trust=True) says that you trust whoever made the model"
    )
    client.notify(Warned(resource=model.resource, message=message))


def _files(client: Client, model: RegisteredModel) -> dict[str, StoredFile]:
    """The model's files by their path in it."""
    from phi_finetune._azure.blob_store import blob_path, files_below

    prefix = blob_path(model.uri).rstrip("/") + "/"
    found: list[StoredFile] = []
    for file in files_below(client, prefix):
        found.append(file)
        if len(found) > _MOST_FILES:
            raise UnexpectedAnswer(f"The model has more than {_MOST_FILES:,} files", resource=model.resource)
    if not found:
        raise NotFound("The model has no files", resource=model.resource, why=f"nothing is under {prefix}")
    check_names([file.path.removeprefix(prefix) for file in found], resource=model.resource)
    return {file.path.removeprefix(prefix): file for file in found}


def _check_room(model: RegisteredModel, folder: Path, total: int) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        why = f"the files come to {total:,} bytes, and {free:,} are free"
        raise _unusable(model, folder, "The model does not fit on the disk", why=why, allowed="a larger disk")


@contextmanager
def _told(model: RegisteredModel, folder: Path) -> Iterator[None]:
    """Tell what the system refuses as what it is to the caller: a folder that cannot be used."""
    try:
        yield
    except OSError as error:
        raise _unusable(
            model,
            folder,
            "The model's files cannot be written",
            why=error.strerror,
            allowed="a folder that can be written to",
        ) from None


def _unusable(
    model: RegisteredModel, folder: Path, what: str, *, allowed: str, why: str | None = None
) -> InvalidParameter:
    return InvalidParameter(
        what, resource=model.resource, why=why, name="folder", value=str(folder), allowed=allowed
    )


def _keep_folders(top: Path) -> None:
    for folder, _, _ in os.walk(top):
        _keep_folder(Path(folder))


def _keep_folder(folder: Path) -> None:
    """Have a folder's entries written to the disk itself; Windows has no call for it."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
