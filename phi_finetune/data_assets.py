"""Chat data in the workspace, under a name and a version: known by its content, and read back from there."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from phi_finetune._handles import WithoutHandle, kept
from phi_finetune._lineage import DATA, DATA_DIGEST, MADE_BY, MANIFEST
from phi_finetune._reconcile import Change, settle
from phi_finetune._uploading import upload_files
from phi_finetune.chat_dataset import ChatDataset, Origin
from phi_finetune.errors import ConfigurationError, InvalidData, InvalidParameter, NameTaken, UnexpectedAnswer
from phi_finetune.events import AdoptedExisting, Created
from phi_finetune.plans import PlannedFile, split_files

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client

__all__ = ["DataAsset"]

_FORMAT = 1
_NAME = re.compile(r"(?![-_.])[a-zA-Z0-9._-]{1,255}(?<!\.)")
"""pain.md, "Names"."""
_VERSION = re.compile(r"(?![-_.])[a-zA-Z0-9._-]{1,30}")
"""Azure's page on the schema of data gives no rule; that 30 characters are taken is assumed."""
_DIGITS_OF_DIGEST = 12
_LONGEST_DEFAULT_NAME = 100


def _without_query(address: str) -> str:
    """An address as it is shown: another tool's may have a signature in it."""
    return repr(address.partition("?")[0])


@attrs.frozen(slots=False)
class DataAsset(WithoutHandle):
    """A version of a data asset in the workspace. One that ``register_data()`` made is a folder with the files
    ``train.jsonl``, ``validation.jsonl`` and ``test.jsonl``, as far as there are such splits, and ``manifest.json``.

    Attributes:
        name: Its name.
        version: Its version.
        path: Where its files are.
        type: Azure's word for its type: ``"uri_folder"``, ``"uri_file"`` or ``"mltable"``.
        description: A text for people.
        tags: Its tags.
        digest: The digest of its conversations, as :attr:`ChatDataset.digest` gives it; None where something else than
            ``register_data()`` made the asset.
        rows: Conversations in each split; empty where it does not say.
        origin: Where the conversations came from, as far as it says.
    """

    name: str
    version: str
    path: str = attrs.field(repr=_without_query)
    type: str = "uri_folder"
    description: str | None = None
    tags: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    digest: str | None = None
    rows: Mapping[str, int] = attrs.field(factory=dict, hash=False)
    origin: Origin | None = None
    _client: Client | None = attrs.field(
        default=None, converter=kept, eq=False, repr=False, kw_only=True, alias="client"
    )

    @property
    def resource(self) -> str:
        """How errors and events name it."""
        return f"data asset {self.name}:{self.version}"

    @property
    def id(self) -> str:
        """Its ARM id."""
        return f"{self._handle().path}/data/{self.name}/versions/{self.version}"

    def download(self, folder: str | os.PathLike[str], *, max_bytes: int | None = None) -> ChatDataset:
        """Copy its files into ``folder/<name>-<version>``, and read them from there.

        They come in parts, a few at a time, which :class:`~phi_finetune.events.DownloadProgress` tells of. Nothing is
        under that name before all files are there, and hold the very conversations that were registered.

        Args:
            folder: Where to; made if it is not there.
            max_bytes: The most that the files may come to, in bytes; None is as much as the disk has room for.

        Returns:
            The data set, with the name and the origin that it had.

        Raises:
            ConfigurationError: Something else than ``register_data()`` made the asset.
            NotFound: Its files are gone.
            InvalidParameter: The target is there already or cannot be written, or the files come to more than
                ``max_bytes`` or do not fit on the disk.
            UnexpectedAnswer: The files hold something else than was registered, or one has a name that is not safe to
                write. Nothing is left of them.
            ServiceError: A file changed meanwhile.
        """
        from phi_finetune._downloading import Wanted, download_files

        client = self._handle()
        if self.digest is None or "train" not in self.rows:
            raise ConfigurationError(
                "The data asset does not say which conversations it holds",
                resource=self.resource,
                why="it was not registered by phi-finetune",
                next_call="copy its files with azure-ai-ml, and read them with a method of ChatDataset",
            )
        wanted = Wanted("data asset", self.name, self.version, self.path)
        target = download_files(client, wanted, Path(folder), max_bytes=max_bytes, check=self._check)
        return self._read(target)

    def _handle(self) -> Client:
        from phi_finetune._azure.client import attached

        return attached(self._client, "data asset")

    def _read(self, folder: Path) -> ChatDataset:
        files = {split: folder / f"{split}.jsonl" for split in self.rows}
        data = ChatDataset.from_jsonl(
            files["train"], files.get("validation"), files.get("test"), name=self.tags.get(DATA) or self.name
        )
        return attrs.evolve(data, origin=self.origin)

    def _check(self, folder: Path) -> None:
        try:
            digest = self._read(folder).digest
        except InvalidData as error:
            raise self._spoilt(error.what) from None
        if digest != self.digest:
            raise self._spoilt(f"their digest is {digest}, not {self.digest}")

    def _spoilt(self, why: str) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            "The data asset's files do not hold what was registered",
            resource=self.resource,
            why=f"{why}; somebody wrote to the workspace's store",
            next_call="register the data under another version",
        )


def register(
    client: Client,
    data: ChatDataset,
    name: str | None,
    version: str | None,
    description: str | None,
    tags: Mapping[str, str],
) -> DataAsset:
    """Register a data set; see :meth:`phi_finetune.Workspace.register_data`."""
    from phi_finetune._azure.data_assets import find_data

    name = _default_name(data) if name is None else name
    _check_text("name", name, _NAME, "up to 255 letters, digits, dashes, underscores and dots")
    if version is not None:
        _check_text("version", version, _VERSION, "up to 30 letters, digits, dashes, underscores and dots")
    data.check()
    files = split_files(data)
    # Once: whoever writes to the data from here on is found out by the upload.
    told = _manifest(data, files["train"].folder)
    manifest, rows = _manifest_file(told), _rows(told["splits"])
    wanted = DataAsset(
        name=name,
        version=manifest.folder[:_DIGITS_OF_DIGEST] if version is None else version,
        path=manifest.address.removesuffix(manifest.name),
        description=description or _describe(data.name, rows),
        tags={**tags, **MADE_BY, DATA: data.name, DATA_DIGEST: manifest.folder},
        digest=manifest.folder,
        rows=rows,
    )
    found = find_data(client, name, wanted.version)
    if found is not None:
        return _adopt(from_arm(found, name, client), wanted, client)
    upload_files(client, [*files.values(), manifest])
    whence = {"name": data.name, "origin": None if data.origin is None else attrs.asdict(data.origin)}
    return _send(client, wanted, json.dumps({**told, **whence}))


def _send(client: Client, wanted: DataAsset, manifest: str) -> DataAsset:
    """Register a folder that is in the store, or adopt what is there under its name where the answer does not tell."""
    from phi_finetune._azure.data_assets import find_data, put_folder

    def put() -> DataAsset:
        body = put_folder(
            client,
            name=wanted.name,
            version=wanted.version,
            uri=wanted.path,
            description=wanted.description or "",
            tags=wanted.tags,
            properties={MANIFEST: manifest},
        )
        return from_arm(body, wanted.name, client)

    change = Change(
        wanted.resource,
        f"{wanted.resource} may be registered; its files in the store cost what any others there do",
        "register_data() again: it finds the version if it is there",
        client.clock,
        client.notify,
    )
    outcome = settle(put, partial(find_data, client, wanted.name, wanted.version), change)
    if not isinstance(outcome, DataAsset):
        return _adopt(from_arm(outcome, wanted.name, client), wanted, client)
    client.notify(Created(resource=outcome.resource))
    return outcome


def from_arm(body: Mapping[str, Any], name: str, client: Client) -> DataAsset:
    """A data asset from ARM's description of one version."""
    properties: Mapping[str, Any] = body.get("properties") or {}
    told = _recorded((properties.get("properties") or {}).get(MANIFEST))
    digest, splits, origin = told.get("digest"), told.get("splits"), told.get("origin")
    return DataAsset(
        name=name,
        version=str(body.get("id") or "").rpartition("/versions/")[2] or str(body.get("name")),
        path=str(properties.get("dataUri") or ""),
        type=str(properties.get("dataType") or "uri_folder"),
        description=properties.get("description"),
        tags={str(key): str(value) for key, value in (properties.get("tags") or {}).items()},
        digest=digest if isinstance(digest, str) else None,
        rows=_rows(splits) if isinstance(splits, dict) else {},
        origin=_origin(origin) if isinstance(origin, dict) else None,
        client=client,
    )


def _adopt(there: DataAsset, wanted: DataAsset, client: Client) -> DataAsset:
    if there.digest == wanted.digest:
        client.notify(AdoptedExisting(resource=there.resource))
        return there
    raise NameTaken(
        "The data asset's version is there, and holds something else",
        resource=there.resource,
        why=_difference(there, wanted),
        costs="nothing: it was not registered",
        next_call="register under another name or version, or without a version: one is then made from the content",
    )


def _difference(there: DataAsset, here: DataAsset) -> str:
    if there.digest is None:
        return f"it is a {there.type} that was not registered by phi-finetune"
    if there.rows == here.rows:
        return f"it has as many conversations, and others: their digest is {there.digest}, not {here.digest}"
    return "; ".join(
        f"{split} has {there.rows.get(split, 'no')} rows there, {here.rows.get(split, 'no')} here"
        for split in dict.fromkeys((*here.rows, *there.rows))
        if there.rows.get(split) != here.rows.get(split)
    )


def _manifest(data: ChatDataset, digest: str) -> dict[str, Any]:
    """What the content alone decides, so that whoever registers it writes the same file."""
    splits = {
        split: {"file": f"{split}.jsonl", **attrs.asdict(data.describe(split))} for split in data.splits
    }
    return {"format": _FORMAT, "digest": digest, "splits": splits}


def _manifest_file(told: Mapping[str, Any]) -> PlannedFile:
    content = json.dumps(told, indent=2).encode("ascii") + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    return PlannedFile("manifest.json", digest, len(content), told["digest"], lambda: [content])


def _recorded(told: object) -> dict[str, Any]:
    """What was written down at registration; nothing where something else made the asset."""
    try:
        before = json.loads(told) if isinstance(told, str) else {}
    except ValueError:
        return {}
    return before if isinstance(before, dict) else {}


def _rows(splits: Mapping[str, Any]) -> dict[str, int]:
    counts = {split: told.get("rows") for split, told in splits.items() if isinstance(told, dict)}
    return {split: count for split, count in counts.items() if isinstance(count, int)}


def _origin(told: Mapping[str, Any]) -> Origin:
    revision, licence = told.get("revision"), told.get("licence")
    return Origin(str(told.get("source")), revision and str(revision), licence and str(licence))


def _describe(name: str, rows: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count} {split}" for split, count in rows.items())
    return f"{name}: {counts} conversations"


def _default_name(data: ChatDataset) -> str:
    words = re.sub(r"[^a-zA-Z0-9._-]+", "-", data.name).strip("-_.")
    return words[:_LONGEST_DEFAULT_NAME].strip("-_.") or "chat-data"


def _check_text(name: str, value: str, pattern: re.Pattern[str], allowed: str) -> None:
    if not pattern.fullmatch(value):
        raise InvalidParameter(
            f"{value!r} is no {name} for a data asset",
            name=name,
            value=value,
            allowed=f"{allowed}, none of the last three first",
        )
