"""What a model's files would do when somebody loads them: looked at, and never loaded.

A model comes from whoever could write into its store. A pickle runs what its maker wrote as it is loaded; so do Python
files beside a model, and the loader that its ``MLmodel`` names. Tensors in safetensors run nothing.

::

    from phi_finetune.model_files import inspect

    report = inspect(model.download("models"))
    report.check()              # raises UntrustedModel where loading it could run somebody's code
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias

import attrs

from phi_finetune._mlmodel import MOST_CHARACTERS, NotUnderstood, Setting, read_mlmodel
from phi_finetune._pickles import MOST_BYTES, can_begin, read_pickles
from phi_finetune._safetensors import BrokenHeader, read_header
from phi_finetune.errors import InvalidParameter, UntrustedModel

__all__ = ["Finding", "Kind", "ModelReport", "inspect"]

Kind: TypeAlias = Literal["pickle", "code", "link", "broken", "unread"]
"""Why a file is not safe: it is loaded as a pickle; it is code, or names some; it leads elsewhere; it is not what its
name says; or it cannot be looked into."""

_HEAD_BYTES = 512
_MOST_JSON_BYTES = 4 * 1024 * 1024
_MOST_FILES = 100_000
_MOST_PICKLES = 16
_MOST_DIRECTORY_BYTES = 16 * 1024 * 1024
_ZIP_END_BYTES = 66_000
"""What ends a zip: where its list of files is, and a comment of 64 kB at most."""
_NAMED = 8

_PICKLE_ENDINGS: Final = (
    *(".pkl", ".pickle", ".bin", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".cloudpickle", ".npz"),
)
_PACKED_PICKLE_ENDINGS: Final = (".pkl", ".pickle", ".joblib")
"""What joblib.dump() writes; PyTorch's own are zips, or not packed."""
_CODE_ENDINGS: Final = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".bat", ".exe")
_PROGRAMS: Final = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")
_PICKLES: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How pickles of protocol 2 and later begin; older ones begin with any of their operations."""
_LOADERS: Final = ("mlflow.", "azureml.evaluate.mlflow.")
"""Loaders that come with MLflow, and with the package that Azure's own models are loaded with."""
_FORMATS: Final = {".safetensors": "safetensors", ".onnx": "onnx", ".gguf": "gguf", ".npy": "numpy"}


@attrs.frozen
class Finding:
    """Why one of a model's files is not safe to load.

    Attributes:
        file: Its path below the model's folder, with slashes.
        kind: What kind of reason it is.
        why: The reason, in words; for a pickle the names that it would import.
    """

    file: str
    kind: Kind
    why: str


@attrs.frozen
class ModelReport:
    """What a model's files are.

    Attributes:
        formats: The formats that were recognised, in order of the alphabet: ``"gguf"``, ``"mlflow"``, ``"numpy"``,
            ``"onnx"``, ``"pickle"``, ``"safetensors"``.
        findings: Whatever could run code when the model is loaded, or cannot be told; by file.
    """

    formats: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def safe(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def check(self, *, trust: bool = False) -> Self:
        """Give the report back if the model may be loaded.

        Args:
            trust: True says that the model's maker is trusted, whatever was found.

        Raises:
            UntrustedModel: Something was found, and the maker is not said to be trusted.
        """
        if trust or self.safe:
            return self
        raise UntrustedModel(
            "Loading the model could run code that came with it",
            why=self.describe(),
            next_call="load it with trust=True if you trust whoever made it, or have it saved as safetensors",
            findings=tuple(f"{one.file}: {one.why}" for one in self.findings),
        )

    def describe(self) -> str:
        """Give the findings in one line, the first few of them in words."""
        if self.safe:
            return "nothing was found"
        told = [f"{one.file}: {one.why}" for one in self.findings[:_NAMED]]
        more = len(self.findings) - len(told)
        return "; ".join([*told, f"and {more} more"] if more else told)


def inspect(folder: str | os.PathLike[str]) -> ModelReport:
    """Look at a model's files. None is loaded, unpacked or run, and of none is more than its beginning read.

    A report without findings does not say that the model is good, only that loading it runs no code of its maker's.

    Args:
        folder: Where the files are.

    Raises:
        InvalidParameter: It is no folder, cannot be read, or has more than 100,000 files.
    """
    top = Path(folder)
    try:
        looked = [_look(path, path.relative_to(top).as_posix()) for path in _files(top)]
    except OSError as error:
        raise InvalidParameter(
            "The model's files cannot be read",
            why=error.strerror,
            name="folder",
            value=str(folder),
            allowed="a folder with files that can be read",
        ) from None
    findings = sorted((finding for found in looked for finding in found.findings), key=lambda one: one.file)
    return ModelReport(tuple(sorted({found.format for found in looked if found.format})), tuple(findings))


@attrs.frozen
class _Looked:
    """What was seen of a file: its format, if it is one of a model's, and what is wrong with it."""

    format: str = ""
    findings: tuple[Finding, ...] = ()


def _files(top: Path) -> Iterator[Path]:
    if not top.is_dir():
        raise InvalidParameter("There is no such folder", name="folder", value=str(top), allowed="a folder")
    count = 0
    for folder, folders, files in os.walk(top, onerror=_raise):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted([*links, *files]):
            count += 1
            if count > _MOST_FILES:
                raise InvalidParameter(
                    "The folder has too many files", name="folder", value=str(top), allowed=f"{_MOST_FILES:,}"
                )
            yield Path(folder) / name


def _raise(error: OSError) -> None:
    raise error


def _look(path: Path, name: str) -> _Looked:
    if path.is_symlink() or not path.is_file():
        return _found(name, "link", "it is a link or no file at all, and was not followed")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    lower = path.name.lower()
    if lower == "mlmodel":
        return _look_at_mlmodel(path, name)
    if lower.endswith(_CODE_ENDINGS) or head.startswith(_PROGRAMS):
        return _found(name, "code", "it is a program, which a loader can run")
    if lower.endswith("config.json"):
        return _look_at_config(path, name)
    if lower.endswith(".safetensors"):
        return _look_at_tensors(path, name)
    return _look_at_content(path, name, lower, head)


def _look_at_content(path: Path, name: str, lower: str, head: bytes) -> _Looked:
    """Look at a file whose name does not say what it is, or is not to be believed."""
    if head.startswith(b"PK"):
        return _look_at_zip(path, name)
    if head.startswith(_PACKED) or head[257:262] == b"ustar":
        return _found(name, "unread", "it is packed, and was not looked into")
    if head.startswith(b"\x89HDF"):
        return _found(name, "unread", "it is HDF5, in which Keras keeps code, and was not looked into")
    if head.startswith(b"\x93NUMPY"):
        return _look_at_array(name, head)
    if lower.endswith(_PACKED_PICKLE_ENDINGS) and _is_deflated(head):
        return _found(name, "unread", "it is packed, and was not looked into")
    if head.startswith(b"GGUF"):
        return _Looked("gguf")
    if head.startswith(_PICKLES) or (lower.endswith(_PICKLE_ENDINGS) and can_begin(head)):
        with path.open("rb") as file:
            return _found(name, "pickle", _imports(file.read(MOST_BYTES)), "pickle")
    return _Looked(_FORMATS.get(path.suffix.lower(), ""))


def _look_at_array(name: str, head: bytes) -> _Looked:
    """An array of objects is a pickle; its header, a Python literal, may quote the type in either way."""
    length = int.from_bytes(head[8:10] if head[6:7] == b"\x01" else head[8:12], "little")
    words = re.findall(rb"""(["'])(.*?)\1""", head[10 : 12 + length])
    if any(b"O" in word or b"obj" in word for _quote, word in words):
        return _found(name, "pickle", "its array is of objects", "pickle")
    return _Looked("numpy")


def _is_deflated(head: bytes) -> bool:
    """Whether it is zlib's format, in which joblib packs its pickles."""
    if head[:1] != b"x":
        return False
    try:
        zlib.decompressobj().decompress(head, _HEAD_BYTES)
    except zlib.error:
        return False
    return True


def _imports(data: bytes) -> str:
    content = read_pickles(data)
    names = ", ".join(ascii(one)[1:-1][:80] for one in content.imports[:_NAMED])
    told = f"it is loaded as a pickle, which would import {names or 'nothing that can be read off it'}"
    more = len(content.imports) - _NAMED
    told += f" and {more} more" if more > 0 else ""
    return told if content.whole else f"{told}; it could not be read to its end"


def _look_at_zip(path: Path, name: str) -> _Looked:
    """PyTorch's files are zips with a pickle in them; nothing is unpacked to the disk."""
    pickles: list[Finding] = []
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as packed:
            members = [one for one in packed.infolist() if one.filename.lower().endswith((".pkl", ".pickle"))]
            for member in members[:_MOST_PICKLES]:
                with packed.open(member) as file:
                    pickles.append(Finding(name, "pickle", _imports(file.read(MOST_BYTES))))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError):
        return _found(name, "unread", "it is a zip that cannot be looked into")
    if pickles:
        return _Looked("pickle", tuple(pickles))
    return _found(name, "unread", "it is a zip, and was not unpacked")


def _check_directory(path: Path) -> None:
    """Refuse a zip whose own list of files would fill the memory.

    Raises:
        ValueError: It would, or there is none.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ZIP_END_BYTES))
        end = file.read()
    short, long = end.rfind(b"PK\x05\x06"), end.rfind(b"PK\x06\x06")
    if short < 0 or (long < 0 and b"PK\x06\x07" in end):
        raise ValueError("the zip has no list of files")
    size = int.from_bytes(end[short + 12 : short + 16], "little")
    if long >= 0:
        size = int.from_bytes(end[long + 40 : long + 48], "little")
    if size > _MOST_DIRECTORY_BYTES:
        raise ValueError("the zip has a very long list of files")


def _look_at_tensors(path: Path, name: str) -> _Looked:
    try:
        read_header(path)
    except BrokenHeader as broken:
        return _found(name, "broken", str(broken), "safetensors")
    return _Looked("safetensors")


def _look_at_config(path: Path, name: str) -> _Looked:
    """transformers runs the code that ``auto_map`` and ``custom_pipelines`` of a config name, where it is told to."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_JSON_BYTES + 1)
        config: Any = json.loads(text) if len(text) <= _MOST_JSON_BYTES else None
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        return _found(name, "broken", "it is too long, or no JSON object")
    named = [key for key in ("auto_map", "custom_pipelines") if config.get(key)]
    return _found(name, "code", f"it names code of its own ({', '.join(named)})") if named else _Looked()


def _look_at_mlmodel(path: Path, name: str) -> _Looked:
    try:
        with path.open("rb") as file:
            settings = read_mlmodel(file.read(MOST_CHARACTERS + 1).decode())
    except (NotUnderstood, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, NotUnderstood) else "it is not UTF-8"
        return _found(name, "unread", f"{why}; what it has loaded cannot be told", "mlflow")
    whys = [why for setting in settings if (why := _runs(setting))]
    return _Looked("mlflow", tuple(Finding(name, "code", why) for why in whys))


def _runs(setting: Setting) -> str:
    """What code a setting of a flavor has run; empty where none."""
    if setting.path[0] != "flavors" or len(setting.path) < 3:
        return ""
    value = setting.value.strip("'\"")
    shown = ascii(value)[1:-1][:80]
    if setting.path[-1] == "loader_module" and not value.startswith(_LOADERS):
        return f"it is loaded by {shown}, which MLflow does not bring"
    if setting.path[-1] in ("code", "model_code_path") and value.lower() not in ("null", "~", ""):
        return f"it has code of its own loaded from {shown}"
    return ""


def _found(name: str, kind: Kind, why: str, recognised: str = "") -> _Looked:
    return _Looked(recognised, (Finding(name, kind, why),))
