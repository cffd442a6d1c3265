"""Which files of a repository on the Hugging Face hub belong to which split: by their names and by the card alone.

A split is named by the card's ``configs``, where there are any (Hugging Face hub documentation, "Manual
configuration"), and else by the file names that ``datasets`` writes, ``data/<split>-00000-of-00003-<hash>.parquet``,
by a folder of the split's name, or by the file's own name. Two splits are never put together: ``datasets``
5.2.0 does that silently with ``data/train_sft.parquet`` and ``data/train_gen.parquet`` (data.md 7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from phi_finetune.errors import InvalidData, InvalidParameter

if TYPE_CHECKING:
    from phi_finetune.chat_dataset.dataset import SplitName

__all__ = ["FileFormat", "SplitFiles", "choose", "find_splits", "refused", "rows_by_card"]

FileFormat: TypeAlias = Literal["parquet", "json-lines", "json", "csv"]
"""What the ending of a file's name says of it; a ``.json`` file may hold lines all the same."""

_FORMATS: Final[Mapping[str, FileFormat]] = {
    "parquet": "parquet",
    "jsonl": "json-lines",
    "ndjson": "json-lines",
    "json": "json",
    "csv": "csv",
}
_FILE = re.compile(
    r"(?P<stem>.+?)\.(?P<ending>parquet|(?:jsonl|ndjson|json|csv)(?:\.(?:gz|bz2|xz|zst))?)", re.IGNORECASE
)
_SHARD = re.compile(r"(?P<split>.+?)-(?P<index>\d{5})-of-(?P<count>\d{5})(?:-[0-9A-Za-z]+)?")
_NO_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""What ``datasets`` writes beside the data (datasets 5.2.0, config.py)."""
_NAMES: Final[Mapping[SplitName, tuple[str, ...]]] = {
    "train": ("train",),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test",),
}
_SUPERVISED = "_sft"
"""How HuggingFaceH4's data sets mark the rows that end with an answer, beside ``_gen`` and ``_prefs``."""


@attrs.frozen
class SplitFiles:
    """The files of one split.

    Attributes:
        name: The split's name, as the repository has it; ``"<configuration>/<split>"`` for one of a
            configuration that is not the default.
        files: Their paths in the repository, in the order of their rows.
        absent: The shards after those that are not at hand, by the start of their names.
    """

    name: str
    files: tuple[str, ...]
    absent: tuple[str, ...] = ()

    @property
    def format(self) -> FileFormat:
        """What the files are: all of them the same."""
        return _format(self.files[0])


def find_splits(files: Iterable[str], card: Mapping[str, object]) -> dict[str, SplitFiles]:
    """Sort a repository's data files into splits, by name.

    Args:
        files: Every path in the repository, with slashes.
        card: The fields at the head of the repository's README.md.
    """
    data = sorted(path for path in files if _is_data(path))
    found = _by_card(data, card) or _by_name(data)
    return {name: SplitFiles(name, tuple(paths)) for name, paths in sorted(found.items())}


def choose(
    repo: str,
    files: Iterable[str],
    card: Mapping[str, object],
    wanted: Mapping[SplitName, str] | None,
    *,
    partial: bool = False,
) -> dict[SplitName, SplitFiles]:
    """Find the files of the train, validation and test splits, and check that each split is whole.

    Args:
        repo: The repository, for errors.
        files: Every path in it.
        card: The fields of its card.
        wanted: The repository's name of each split, or a pattern of paths such as ``"data/train-*.parquet"``.
            Without it, ``train`` is the split of that name, or else ``train_sft``; in the same way
            ``validation`` (``valid``, ``val``, ``dev``) and ``test``, where there are such.
        partial: Whether the last shards of a split may be absent, as in a cache that holds what was wanted.

    Raises:
        InvalidData: There are no data files, no such split, more than one that may be meant, files of
            two formats in it, or a part of it is missing.
        InvalidParameter: ``wanted`` maps no train split, or a name that this library has not.
    """
    paths = list(files)
    splits = find_splits(paths, card)
    if not splits:
        raise refused(repo, "no-data-files", "it has no parquet, JSON or CSV file")
    chosen: dict[SplitName, SplitFiles]
    if wanted is None:
        chosen = _by_habit(repo, splits)
    else:
        _check_wanted(wanted)
        chosen = {ours: _named(repo, splits, paths, ours, theirs) for ours, theirs in wanted.items()}
    for split in chosen.values():
        _check_one_format(repo, split)
    return {ours: _without_gaps(repo, split, partial=partial) for ours, split in chosen.items()}


def rows_by_card(card: Mapping[str, object], split: str) -> int | None:
    """Give the rows of a split as the card's ``dataset_info`` has them; None where it says nothing.

    ``datasets`` writes these counts when it uploads, and checks them when it loads (datasets 5.2.0,
    ``verify_splits``).
    """
    for info in _listed(card.get("dataset_info")):
        if not isinstance(info, Mapping):
            continue
        name = info.get("config_name", "default")
        for each in _listed(info.get("splits")):
            if isinstance(each, Mapping) and split in (each.get("name"), f"{name}/{each.get('name')}"):
                count = each.get("num_examples")
                return count if isinstance(count, int) else None
    return None


def refused(
    repo: str, rule: str, why: str, *, file: str | None = None, next_call: str | None = None
) -> InvalidData:
    """Give the error for a repository whose files cannot be used as they are.

    Args:
        repo: The repository.
        rule: A key of :data:`~phi_finetune.chat_dataset.rules.RULES`.
        why: What of this repository breaks it.
        file: The file in it, if one is to blame.
        next_call: What to do; what the rule says of it, unless given.
    """
    from phi_finetune.chat_dataset.rules import RULES

    return InvalidData(
        f"The data set {repo} is refused ({rule})",
        resource=repo,
        why=why,
        next_call=next_call or RULES[rule].remedy,
        file=file or repo,
        rule=rule,
    )


def _format(path: str) -> FileFormat:
    match = _FILE.fullmatch(path)
    assert match is not None, "only data files are sorted into splits"
    return _FORMATS[match["ending"].lower().partition(".")[0]]


def _is_data(path: str) -> bool:
    *folders, name = path.split("/")
    if any(part.startswith((".", "_")) for part in (*folders, name)):
        return False
    return name not in _NO_DATA and _FILE.fullmatch(name) is not None


def _by_name(files: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in files:
        found.setdefault(_split_of(path), []).append(path)
    return found


def _split_of(path: str) -> str:
    """The split that a path names: by its shard's name, else its folder's, else its own."""
    *folders, name = path.split("/")
    if folders and folders[0] == "data":
        del folders[0]
    match = _FILE.fullmatch(name)
    stem = name if match is None else match["stem"]
    shard = _SHARD.fullmatch(stem)
    if shard is not None:
        return "/".join([*folders, shard["split"]])
    return "/".join(folders) if folders else stem


def _by_card(files: Sequence[str], card: Mapping[str, object]) -> dict[str, list[str]]:
    """What the card's ``configs`` say; the splits of the default one, or of the only one, come without its name."""
    configs = [each for each in _listed(card.get("configs")) if isinstance(each, Mapping)]
    found: dict[str, list[str]] = {}
    for config in configs:
        name = str(config.get("config_name", "default"))
        plain = len(configs) == 1 or name == "default" or config.get("default") is True
        root = str(config.get("data_dir") or "").strip("/")
        for split, patterns in _patterns(config.get("data_files")):
            full = [f"{root}/{pattern}" if root else pattern for pattern in patterns]
            paths = [path for path in files if any(_matches(path, pattern) for pattern in full)]
            held = found.setdefault(split if plain else f"{name}/{split}", [])
            held += [path for path in paths if path not in held]
    return {name: paths for name, paths in found.items() if paths}


def _patterns(data_files: object) -> Iterator[tuple[str, list[str]]]:
    """Each split's patterns, in any of the forms that the hub takes."""
    if isinstance(data_files, Mapping):
        for split, paths in data_files.items():
            yield str(split), [str(path) for path in _listed(paths)]
        return
    loose = []
    for each in _listed(data_files):
        if isinstance(each, Mapping):
            yield str(each.get("split", "train")), [str(path) for path in _listed(each.get("path"))]
        else:
            loose.append(str(each))
    if loose:
        yield "train", loose


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _matches(path: str, pattern: str) -> bool:
    """Whether a path is of a pattern, in which ``*`` stays within a folder and ``**`` goes through many."""
    return _matches_parts(path.split("/"), pattern.removeprefix("./").split("/"))


def _matches_parts(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(_matches_parts(path[skipped:], pattern[1:]) for skipped in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _matches_parts(path[1:], pattern[1:])


def _by_habit(repo: str, splits: Mapping[str, SplitFiles]) -> dict[SplitName, SplitFiles]:
    chosen: dict[SplitName, SplitFiles] = {}
    for ours, names in _NAMES.items():
        for tier in (names, tuple(f"{name}{_SUPERVISED}" for name in names)):
            found = [split for split in splits.values() if split.name in tier]
            found = found or [split for split in splits.values() if split.name.rpartition("/")[2] in tier]
            if len(found) > 1:
                why = f"its {ours} split may be any of {_told([split.name for split in found])}"
                raise refused(repo, "unclear-split", why, next_call=_how_to_map(splits))
            if found:
                chosen[ours] = found[0]
                break
    if "train" not in chosen:
        why = f"no split of it is named train; it has {_told(splits)}"
        raise refused(repo, "no-such-split", why, next_call=_how_to_map(splits))
    return chosen


def _check_wanted(wanted: Mapping[SplitName, str]) -> None:
    unknown = [name for name in wanted if name not in _NAMES]
    if not unknown and "train" in wanted:
        return
    what = f"splits has no split {unknown[0]!r} to map to" if unknown else "splits maps no train split"
    raise InvalidParameter(
        what,
        name="splits",
        value=dict(wanted),
        allowed="train, and if there are such, validation and test",
        next_call='map them: splits={"train": "train_sft", "test": "test_sft"}',
    )


def _named(
    repo: str, splits: Mapping[str, SplitFiles], paths: Sequence[str], ours: SplitName, theirs: str
) -> SplitFiles:
    if theirs in splits:
        return splits[theirs]
    matching = sorted(path for path in paths if _is_data(path) and _matches(path, theirs))
    if matching:
        return SplitFiles(theirs, tuple(matching))
    why = f"no split, and no file, of it is named {theirs!r} (for {ours}); it has {_told(splits)}"
    raise refused(repo, "no-such-split", why, next_call=_how_to_map(splits))


def _check_one_format(repo: str, split: SplitFiles) -> None:
    other = next((path for path in split.files if _format(path) != split.format), None)
    if other is not None:
        why = f"{split.files[0]} and {other} are both named as its split {split.name!r}"
        mapping = f'name one kind: splits={{"train": "**/*.{split.files[0].rpartition(".")[2]}"}}'
        raise refused(repo, "mixed-formats", why, file=other, next_call=mapping)


def _without_gaps(repo: str, split: SplitFiles, *, partial: bool) -> SplitFiles:
    """Refuse a set of shards whose own names say that one is missing, or is there twice.

    Args:
        repo: The repository, for errors.
        split: The split.
        partial: Whether the last shards may be absent; they are then named in the result.
    """
    sets: dict[str, dict[int, str]] = {}
    counts: dict[str, int] = {}
    for path in split.files:
        match = _FILE.fullmatch(path)
        shard = None if match is None else _SHARD.fullmatch(match["stem"])
        if shard is None:
            continue
        stem, index, count = shard["split"], int(shard["index"]), int(shard["count"])
        seen = sets.setdefault(stem, {})
        if index in seen or counts.setdefault(stem, count) != count:
            other = seen.get(index) or next(iter(seen.values()))
            why = (
                f"{other} and {path} are not parts of one set, and both are named as its split {split.name!r}"
            )
            mapping = "name the right ones by a pattern in splits="
            raise refused(repo, "unclear-split", why, file=path, next_call=mapping)
        seen[index] = path
    absent = [
        f"{stem}-{index:05d}-of-{counts[stem]:05d}"
        for stem, seen in sets.items()
        for index in range(counts[stem])
        if index not in seen
    ]
    if not absent:
        return split
    if partial and len(sets) == 1 and all(max(seen) + 1 == len(seen) for seen in sets.values()):
        return attrs.evolve(split, absent=tuple(absent))
    why = f"its split {split.name!r} lacks {_told(absent)}"
    raise refused(repo, "missing-shards", why, file=absent[0])


def _told(names: Iterable[str]) -> str:
    listed = list(names)
    rest = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    return ", ".join(listed[:10]) + rest


def _how_to_map(splits: Mapping[str, SplitFiles]) -> str:
    likely = next((name for name in splits if "train" in name), next(iter(splits)))
    return f'say which: splits={{"train": "{likely}"}}'
