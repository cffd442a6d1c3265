"""Data sets of the Hugging Face hub: which files a split is, which of them hold the rows wanted, and fetching those."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from phi_finetune.chat_dataset.hub_access import Access, open_access
from phi_finetune.chat_dataset.hub_files import FileFormat, SplitFiles, choose, rows_by_card
from phi_finetune.errors import InvalidParameter, ServiceUnreachable

if TYPE_CHECKING:
    from phi_finetune.chat_dataset.dataset import SplitName
    from phi_finetune.events import Event
    from phi_finetune.protocols import Listener

__all__ = ["HubSplit", "HubSplits", "resolve", "rows_of_percent"]


@attrs.frozen
class HubSplit:
    """One split's files, on this machine.

    Attributes:
        name: What the split is called in the repository, such as ``"train_sft"``.
        format: What its files are.
        paths: The files, in the order of their rows; of parquet, only as many as hold the rows wanted.
        rows: How many of their first rows are wanted; None for all, and where only reading tells (``percent`` of
            files that are not parquet).
        percent: What share of the rows is wanted, where only reading tells how many there are; see
            :func:`rows_of_percent`. None otherwise.
    """

    name: str
    format: FileFormat
    paths: tuple[Path, ...]
    rows: int | None = None
    percent: float | None = None


@attrs.frozen
class HubSplits:
    """What a repository came to.

    Attributes:
        repo: Its name, or the folder in its place.
        revision: The commit that the files are of; None for a folder.
        license: What its card says of its licence, such as ``"mit"``; None where it says nothing.
        splits: The splits found.
    """

    repo: str
    revision: str | None
    license: str | None
    splits: Mapping[SplitName, HubSplit] = attrs.field(hash=False)


def resolve(
    repo: str | os.PathLike[str],
    *,
    splits: Mapping[SplitName, str] | None = None,
    revision: str | None = None,
    token: str | None = None,
    percent: float | None = None,
    rows: int | None = None,
    on_event: Listener | None = None,
    endpoint: str | None = None,
) -> HubSplits:
    """Find a data set on the hub, and fetch the files that hold the rows wanted into the hub's cache.

    Only the files of the splits wanted are fetched, and of parquet files only those that hold the rows wanted: their
    footers, asked for by range, say which. The commit is looked up once, so all files are of the same one.

    Follows huggingface_hub: ``HF_ENDPOINT`` names a mirror, ``HF_HUB_OFFLINE=1`` uses what the cache has, ``HF_HOME``
    moves the cache, and the stored login signs in. Its own retries are the only ones.

    Args:
        repo: The data set's name, such as ``"HuggingFaceH4/ultrachat_200k"``; or a folder laid out as on the hub.
            A folder of that path goes before a name, as in ``datasets``.
        splits: What each split is called in the repository: ``{"train": "train_sft"}``. A split of a configuration
            that is not the default is ``"<configuration>/<split>"``; a pattern of paths is taken too. Without it,
            ``train`` is the split of that name, or else ``train_sft``; in the same way ``validation`` (``valid``,
            ``val``, ``dev``) and ``test``, where there are such.
        revision: A branch, a tag or a commit; the newest commit of the main branch, unless given.
        token: A token that may read the data set; the stored login, unless given.
        percent: How much of each split to take from its start, above 0 and up to 100. Rounded as ``datasets``
            rounds ``split="train[:5%]"``.
        rows: How many rows of each split to take from its start, in place of ``percent``; all where there are fewer.
        on_event: Hears of each part of a file that came (:class:`~phi_finetune.events.DownloadProgress`).
        endpoint: The hub's address, in place of ``HF_ENDPOINT``.

    Raises:
        ConfigurationError: There is no such data set, folder or revision; it is private or gated and the token does
            not open it; or the cache cannot be written.
        InvalidData: No split can be made out, more than one may be meant, a file of it is missing or is not what
            its name says.
        InvalidParameter: ``percent`` or ``rows`` is out of range or comes to no row, both are given, ``splits``
            maps no train split, or ``repo`` cannot be a name.
        ServiceUnreachable: The hub does not answer or is too busy; or offline, and the cache has not all of it.
        ServiceError: The hub answered with another error.
        UnexpectedAnswer: What answered is no hub.
    """
    _check_portion(percent, rows)
    access = open_access(repo, revision=revision, token=token, endpoint=endpoint, notify=on_event or _ignore)
    card = access.card()
    chosen = choose(access.repo, access.files, card, splits, partial=access.partial)
    found: dict[SplitName, HubSplit] = {
        ours: _fetched(access, card, split, percent, rows) for ours, split in chosen.items()
    }
    return HubSplits(access.repo, access.revision, _license(card), found)


def rows_of_percent(total: int, percent: float) -> int:
    """Give how many rows ``percent`` of ``total`` is, as ``datasets`` rounds it.

    To the nearest row, and a half to the even one (datasets 5.2.0, arrow_reader.py, ``_pct_to_abs_closest``: what
    ``split="train[:5%]"`` does).
    """
    return round(percent * total / 100.0)


def _ignore(_event: Event) -> None:
    pass


def _check_portion(percent: float | None, rows: int | None) -> None:
    if percent is not None and rows is not None:
        raise InvalidParameter(
            "percent and rows were both given", name="rows", value=rows, allowed="one of the two, or none"
        )
    if percent is not None and not 0 < percent <= 100:
        raise InvalidParameter(
            f"{percent} percent cannot be taken", name="percent", value=percent, allowed="above 0, up to 100"
        )
    if rows is not None and rows < 1:
        raise InvalidParameter(f"{rows} rows cannot be taken", name="rows", value=rows, allowed="1 or more")


def _license(card: Mapping[str, object]) -> str | None:
    given = card.get("license")
    names = [each for each in (given if isinstance(given, list) else [given]) if isinstance(each, str)]
    return ", ".join(names) or None


def _fetched(
    access: Access, card: Mapping[str, object], split: SplitFiles, percent: float | None, rows: int | None
) -> HubSplit:
    if split.format != "parquet" or (percent is None and rows is None):
        _check_complete(access, split)
        paths = tuple(access.fetch(path) for path in split.files)
        return HubSplit(split.name, split.format, paths, rows=rows, percent=percent)
    if percent is not None:
        counts = access.row_counts(split.files)
        rows = _portion(access, split, _total(access, card, split, counts), percent)
        return _leading(access, split, iter(counts), rows)
    assert rows is not None
    return _leading(access, split, (access.row_counts((path,))[0] for path in split.files), rows)


def _leading(access: Access, split: SplitFiles, counts: Iterator[int], rows: int) -> HubSplit:
    """Fetch as many files as hold the first rows; the rest is not counted."""
    paths: list[Path] = []
    held = 0
    for path, count in zip(split.files, counts, strict=False):
        paths.append(access.fetch(path))
        held += count
        if held >= rows:
            return HubSplit(split.name, split.format, tuple(paths), rows=rows)
    _check_complete(access, split)
    return HubSplit(split.name, split.format, tuple(paths), rows=held)


def _total(access: Access, card: Mapping[str, object], split: SplitFiles, counts: list[int]) -> int:
    if not split.absent:
        return sum(counts)
    by_card = rows_by_card(card, split.name)
    if by_card is None:
        _check_complete(access, split)
        return sum(counts)
    return by_card


def _portion(access: Access, split: SplitFiles, total: int, percent: float) -> int:
    rows = rows_of_percent(total, percent)
    if rows < 1:
        raise InvalidParameter(
            f"{percent} % of the {total} rows of {split.name} is no row",
            resource=access.repo,
            name="percent",
            value=percent,
            allowed="what comes to a row or more, up to 100",
            next_call="take more, or say rows= instead",
        )
    return rows


def _check_complete(access: Access, split: SplitFiles) -> None:
    """Refuse a split of which the cache has not all files, where all are needed."""
    if not split.absent:
        return
    raise ServiceUnreachable(
        f"The Hugging Face cache has not all of the split {split.name!r}",
        resource=f"data set {access.repo}",
        why=f"HF_HUB_OFFLINE is set, and {', '.join(split.absent[:10])} was not fetched before",
        next_call="unset HF_HUB_OFFLINE and load it once, or take the share that was taken before",
    )
