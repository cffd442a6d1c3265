"""Downloading an asset: whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from phi_finetune._file_names import check_names
from phi_finetune.errors import InvalidParameter, NotFound, PhiFinetuneError, UnexpectedAnswer
from phi_finetune.events import Warned
from phi_finetune.model_files import inspect

if TYPE_CHECKING:
    from phi_finetune._azure.blob_store import StoredFile
    from phi_finetune._azure.client import Client
    from phi_finetune.registered_models import RegisteredModel

__all__ = ["Wanted", "download_files", "download_model"]

_MOST_FILES = 100_000


@attrs.frozen
class Wanted:
    """What is to be copied.

    Attributes:
        noun: What people call it: ``"model"``.
        name: Its name.
        version: Its version.
        uri: Where its files are.
    """

    noun: str
    name: str
    version: str
    uri: str

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"{self.noun} {self.name}:{self.version}"


def download_model(
    client: Client, model: RegisteredModel, folder: Path, *, max_bytes: int | None, trust: bool
) -> Path:
    """Copy a model's files; see :meth:`phi_finetune.RegisteredModel.download`."""
    wanted = Wanted("model", model.name, model.version, model.uri)
    target = download_files(client, wanted, folder, max_bytes=max_bytes)
    if not trust:
        _warn(client, model, target)
    return target


def download_files(
    client: Client,
    wanted: Wanted,
    folder: Path,
    *,
    max_bytes: int | None,
    check: Callable[[Path], None] = lambda whole: None,
) -> Path:
    """Copy files into a folder of their own: under another name first, and under its own once all are there.

    Args:
        client: The workspace's handle.
        wanted: What they belong to.
        folder: Where the folder comes to be.
        max_bytes: The most that they may come to.
        check: Is shown all of them before they get their name; what it raises leaves none of them behind.
    """
    from phi_finetune._azure.downloads import download

    target = folder / f"{wanted.name}-{wanted.version}"
    if os.path.lexists(target):
        raise _unusable(wanted, target, "The target is there already", allowed="a folder without it")
    files = _files(client, wanted)
    total = sum(file.size_bytes for file in files.values())
    if max_bytes is not None and total > max_bytes:
        raise InvalidParameter(
            f"The {wanted.noun}'s files come to {total:,} bytes",
            resource=wanted.resource,
            name="max_bytes",
            value=max_bytes,
            allowed=f"{total} or more, or None",
        )
    with _told(wanted, folder):
        folder.mkdir(parents=True, exist_ok=True)
        _check_room(wanted, folder, total)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{wanted.name}-") as scratch:
            whole = Path(scratch) / "whole"
            download(client, {whole / name: file for name, file in files.items()}, resource=wanted.resource)
            check(whole)
            _keep_folders(whole)
            os.replace(whole, target)
        _keep_folder(folder)
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


def _files(client: Client, wanted: Wanted) -> dict[str, StoredFile]:
    """The files by their path in it."""
    from phi_finetune._azure.blob_store import blob_path, files_below

    prefix = blob_path(wanted.uri).rstrip("/") + "/"
    found: list[StoredFile] = []
    for file in files_below(client, prefix):
        found.append(file)
        if len(found) > _MOST_FILES:
            raise UnexpectedAnswer(
                f"The {wanted.noun} has more than {_MOST_FILES:,} files", resource=wanted.resource
            )
    if not found:
        raise NotFound(
            f"The {wanted.noun} has no files", resource=wanted.resource, why=f"nothing is under {prefix}"
        )
    check_names([file.path.removeprefix(prefix) for file in found], resource=wanted.resource)
    return {file.path.removeprefix(prefix): file for file in found}


def _check_room(wanted: Wanted, folder: Path, total: int) -> None:
    free = shutil.disk_usage(folder).free
    if total > free:
        why = f"the files come to {total:,} bytes, and {free:,} are free"
        raise _unusable(
            wanted, folder, f"The {wanted.noun} does not fit on the disk", why=why, allowed="a larger disk"
        )


@contextmanager
def _told(wanted: Wanted, folder: Path) -> Iterator[None]:
    """Tell what the system refuses as what it is to the caller: a folder that cannot be used."""
    try:
        yield
    except PhiFinetuneError:  # some of them are the system's errors too, as a time that is up
        raise
    except OSError as error:
        raise _unusable(
            wanted,
            folder,
            f"The {wanted.noun}'s files cannot be written",
            why=error.strerror,
            allowed="a folder that can be written to",
        ) from None


def _unusable(
    wanted: Wanted, folder: Path, what: str, *, allowed: str, why: str | None = None
) -> InvalidParameter:
    return InvalidParameter(
        what, resource=wanted.resource, why=why, name="folder", value=str(folder), allowed=allowed
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
