"""Where a data set's files are: on the Hugging Face hub, in the hub's cache on this machine, or in a folder.

Asks through huggingface_hub and follows its settings: ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``, ``HF_HOME``, the stored
login. A request that the hub is too busy for, and one that gets no answer, is sent again by huggingface_hub
(``http_backoff``: five times at most, as long apart as the hub's ``Retry-After`` or rate limit asks), and by nothing
else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import quote

import attrs

from phi_finetune.chat_dataset import shards
from phi_finetune.chat_dataset.hub_errors import NotOnline, asked
from phi_finetune.errors import ConfigurationError, ServiceUnreachable, UnexpectedAnswer
from phi_finetune.events import DownloadProgress

if TYPE_CHECKING:
    from huggingface_hub.utils import tqdm

    from phi_finetune.protocols import Listener

__all__ = ["Access", "open_access"]

_T = TypeVar("_T")

_README: Final = "README.md"
_DATA_SET: Final = "dataset"
_TAIL_BYTES: Final = 64 * 1024
"""What is asked for first of a parquet file's end; its footer is longer where it has many row groups."""
_FOOTER_END: Final = 8
_AT_ONCE: Final = 8


class Access(Protocol):
    """A data set's files, wherever they are."""

    @property
    def repo(self) -> str:
        """The data set's name."""
        ...

    @property
    def revision(self) -> str | None:
        """The commit that the files are of; None for a folder."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Their paths, with slashes."""
        ...

    @property
    def partial(self) -> bool:
        """Whether there may be more files than these."""
        ...

    def card(self) -> Mapping[str, object]:
        """Read the fields at the head of the README.md; none where there are none."""
        ...

    def row_counts(self, paths: tuple[str, ...]) -> list[int]:
        """Count the rows of parquet files."""
        ...

    def fetch(self, path: str) -> Path:
        """Bring a file onto this machine, if it is not there yet."""
        ...


def open_access(
    repo: str | os.PathLike[str],
    *,
    revision: str | None,
    token: str | None,
    endpoint: str | None,
    notify: Listener,
) -> Access:
    """Find a data set: the folder of that path if there is one, else the hub's data set of that name.

    With ``HF_HUB_OFFLINE`` set, the hub's is looked for in the cache.

    Raises:
        ConfigurationError: There is no such folder, data set or revision, or it may not be seen.
        ServiceUnreachable: The hub does not answer; or offline, and the cache does not have it.
    """
    folder = Path(repo).expanduser()
    if folder.is_dir():
        return _Folder(os.fspath(repo), folder)
    name = os.fspath(repo)
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or "\\" in name:
        raise ConfigurationError(
            "There is no such folder",
            resource=name,
            next_call="check the path, and the folder that this runs in",
        )
    with suppress(NotOnline):
        return _open_online(name, revision, token, endpoint, notify)
    return _open_cached(name, revision)


@attrs.frozen
class _Folder:
    """A folder laid out as a data set on the hub is; also the cache's folder of one commit."""

    repo: str
    path: Path
    revision: str | None = None

    @property
    def partial(self) -> bool:
        return self.revision is not None

    @property
    def files(self) -> tuple[str, ...]:
        found = (Path(top, name) for top, _, names in os.walk(self.path) for name in names)
        return tuple(sorted(path.relative_to(self.path).as_posix() for path in found))

    def card(self) -> Mapping[str, object]:
        return _read_card(self.path / _README)

    def row_counts(self, paths: tuple[str, ...]) -> list[int]:
        return [shards.row_count([self.fetch(path)]) for path in paths]

    def fetch(self, path: str) -> Path:
        return self.path.joinpath(*PurePosixPath(path).parts)


@attrs.frozen
class _Online:
    """A data set on the hub, at one commit."""

    repo: str
    revision: str
    asked_revision: str | None
    sizes: Mapping[str, int]
    endpoint: str
    token: str | None = attrs.field(repr=False)
    notify: Listener = attrs.field(repr=False)

    @property
    def partial(self) -> bool:
        return False

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def card(self) -> Mapping[str, object]:
        if _README not in self.sizes:
            return {}
        # Under the name that was asked for, so that the cache knows that name when offline.
        return _read_card(self._download(_README, self.asked_revision or "main"))

    def row_counts(self, paths: tuple[str, ...]) -> list[int]:
        with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
            return list(pool.map(self._row_count, paths))

    def fetch(self, path: str) -> Path:
        return self._download(path, self.revision)

    def _download(self, path: str, revision: str) -> Path:
        from huggingface_hub import hf_hub_download

        call = partial(
            hf_hub_download,
            self.repo,
            path,
            repo_type=_DATA_SET,
            revision=revision,
            endpoint=self.endpoint,
            token=self.token,
            tqdm_class=_progress(self.notify, f"data set {self.repo}, {path}", self.sizes[path]),
        )
        return Path(str(self._asked(call, path)))

    def _row_count(self, path: str) -> int:
        """Count by the footer: the cached file's, or the last bytes on the hub; of the whole if no part is given."""
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(self.repo, path, revision=self.revision, repo_type=_DATA_SET)
        if isinstance(cached, str):
            return shards.row_count([Path(cached)])
        tail = self._tail(path, _TAIL_BYTES)
        if tail is None:
            return shards.row_count([self.fetch(path)])
        footer = int.from_bytes(tail[-_FOOTER_END:-4], "little") + _FOOTER_END
        if len(tail) < footer <= self.sizes[path]:
            tail = self._tail(path, footer) or tail
        return shards.footer_rows(tail, f"{self.repo}/{path}")

    def _tail(self, path: str, length: int) -> bytes | None:
        size = self.sizes[path]
        return self._asked(partial(self._get_range, path, max(0, size - length), size), path)

    def _get_range(self, path: str, start: int, end: int) -> bytes | None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

        url = hf_hub_url(self.repo, path, repo_type=_DATA_SET, revision=self.revision, endpoint=self.endpoint)
        headers = build_hf_headers(token=self.token)
        headers |= {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        with http_stream_backoff("GET", url, headers=headers, timeout=_timeout_s()) as answer:
            hf_raise_for_status(answer)
            return bytes(answer.read()) if answer.status_code == 206 else None

    def _asked(self, call: Callable[[], _T], path: str) -> _T:
        return asked(call, self.repo, revision=self.asked_revision, file=path)


def _open_online(
    repo: str, revision: str | None, token: str | None, endpoint: str | None, notify: Listener
) -> _Online:
    from huggingface_hub import HfApi, RepoFile

    api = HfApi(endpoint=endpoint, token=token)
    commit = asked(partial(_commit, api.endpoint, repo, revision, token), repo, revision=revision)
    tree = partial(api.list_repo_tree, repo, recursive=True, revision=commit, repo_type=_DATA_SET)
    entries = asked(lambda: list(tree()), repo, revision=revision)
    sizes = {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}
    return _Online(repo, commit, revision, sizes, api.endpoint, token, notify)


def _commit(endpoint: str, repo: str, revision: str | None, token: str | None) -> str:
    """Look up the commit of a revision.

    Not by ``HfApi.dataset_info``, which sends no request again (huggingface_hub 2.4.0, hf_api.py).
    """
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff, validate_repo_id

    validate_repo_id(repo)
    url = f"{endpoint}/api/datasets/{repo}/revision/{quote(revision or 'main', safe='')}"
    answer = http_backoff("GET", url, headers=build_hf_headers(token=token), timeout=_timeout_s())
    hf_raise_for_status(answer)
    info = answer.json()
    if not isinstance(info, dict) or not isinstance(info.get("sha"), str):
        raise UnexpectedAnswer(
            "What answered is not a Hugging Face hub",
            resource=f"data set {repo}",
            next_call="check HF_ENDPOINT, and the proxy between here and it",
        )
    commit: str = info["sha"]
    return commit


def _timeout_s() -> int:
    from huggingface_hub import constants

    return constants.HF_HUB_DOWNLOAD_TIMEOUT


def _open_cached(repo: str, revision: str | None) -> _Folder:
    """Find the newest of the cached commits that ``revision`` names."""
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        repos = frozenset()
    cached = [
        commit
        for each in repos
        if each.repo_type == _DATA_SET and each.repo_id == repo
        for commit in each.revisions
    ]
    wanted = revision or "main"
    named = [each for each in cached if wanted in each.refs or each.commit_hash == wanted]
    if not named and revision is None and len(cached) == 1:
        named = cached
    if not named:
        why = (
            f"HF_HUB_OFFLINE is set, and the cache has no revision {wanted!r} of it"
            if cached
            else ("HF_HUB_OFFLINE is set, and the cache has nothing of it")
        )
        raise ServiceUnreachable(
            "The data set is not in the Hugging Face cache",
            resource=f"data set {repo}",
            why=why,
            next_call="unset HF_HUB_OFFLINE and load it once, or name a folder that holds its files",
        )
    found = max(named, key=lambda commit: commit.last_modified)
    return _Folder(repo, found.snapshot_path, found.commit_hash)


def _read_card(path: Path) -> Mapping[str, object]:
    """Read a README's fields; none where they cannot be read, as the hub itself takes in no such card."""
    from huggingface_hub import metadata_load, repocard

    if not path.is_file():
        return {}
    # The reader of YAML is not imported here, so that nothing of this library can read with it.
    not_yaml = repocard.yaml.YAMLError  # pyright: ignore[reportPrivateImportUsage]
    try:
        return metadata_load(path) or {}
    except (ValueError, OSError, not_yaml):
        return {}


def _progress(notify: Listener, resource: str, size: int) -> type[tqdm]:
    """Make the bar that huggingface_hub is given in place of its own: it shows nothing, and tells the listener."""
    from huggingface_hub.utils import tqdm

    received = 0

    class _Progress(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **(options | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            nonlocal received
            received += int(n or 0)
            notify(DownloadProgress(resource, received_bytes=received, size_bytes=size))

        def update_transfer(self, n: float | None = 1) -> None:
            """What came of a file is told by what is written of it; a second bar is made where this is missing."""

        def set_transfer_postfix_str(self, *args: Any, **options: Any) -> None:
            """No bar is shown."""

    return _Progress
