"""Models of the Hugging Face hub: those that this machine's cache has, and others where there is network.

huggingface_hub asks, and its settings hold: ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_HUB_CACHE``, the stored login.
Weights in safetensors, settings and the tokenizer are fetched; pickles and code stay where they are.
"""

from __future__ import annotations

import re
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Final

from phi_finetune.chat_dataset.hub_errors import MODEL, NotOnline, asked
from phi_finetune.errors import ConfigurationError, ServiceUnreachable
from phi_finetune.local.model import is_whole

__all__ = ["files_of", "from_hub", "is_hub_id"]

_WANTED: Final = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_UNWANTED: Final = ("*/*", "consolidated*")
"""What lies in folders is for other programs, and ``consolidated`` is Mistral's name for the same weights again."""
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


def is_hub_id(name: object) -> bool:
    """Whether this is a text such as ``"microsoft/phi-4"``, and there is no such folder here."""
    return isinstance(name, str) and _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def from_hub(name: str, *, revision: str | None = None) -> Path:
    """The folder in the Hugging Face cache with a model, which is fetched where the cache has it not, or not whole.

    Args:
        name: The model, by its name on the hub.
        revision: A branch, a tag or a commit; None for the main branch, as it was when it was fetched.

    Raises:
        ConfigurationError: The cache has it not and there is no network; there is no such model or revision, it is
            gated or private, its weights are not in safetensors, or the cache cannot be written.
        InvalidParameter: The hub knows no such names.
        ServiceUnreachable: The hub is busy.
        ServiceError: The hub answered with another error.
        UnexpectedAnswer: What answered is no hub.
    """
    cached = _cached(name, revision)
    if cached is not None:
        return cached
    folder = _fetched(name, revision)
    if is_whole(folder):
        return folder
    raise ConfigurationError(
        "The model has not all that it takes",
        resource=f"model {name}",
        why="config.json or weights in safetensors are missing",
        next_call="name a model whose weights are in safetensors; pickles are not fetched",
    )


def files_of(folder: Path) -> dict[str, Path]:
    """The files that a model in the cache consists of, by name; others may have been fetched by somebody else."""
    return {path.name: path for path in sorted(folder.iterdir()) if path.is_file() and _is_wanted(path.name)}


def _is_wanted(name: str) -> bool:
    return any(fnmatch(name, one) for one in _WANTED) and not any(fnmatch(name, one) for one in _UNWANTED)


def _cached(name: str, revision: str | None) -> Path | None:
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = _snapshot(name, revision, local=True)
    except (LocalEntryNotFoundError, HFValidationError):  # of the latter it is told when the hub is asked
        return None
    return folder if is_whole(folder) else None


def _snapshot(name: str, revision: str | None, *, local: bool) -> Path:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        name,
        revision=revision,
        allow_patterns=list(_WANTED),
        ignore_patterns=list(_UNWANTED),
        local_files_only=local,
    )
    return Path(folder)


def _fetched(name: str, revision: str | None) -> Path:
    fetch = partial(_snapshot, name, revision, local=False)
    try:
        return asked(fetch, name, revision=revision, kind=MODEL)
    except NotOnline:
        why: str | None = "HF_HUB_OFFLINE is set"
    except ServiceUnreachable as error:
        if error.status_code is not None:
            raise
        why = f"the hub could not be reached: {error.why}"
    raise ConfigurationError(
        f"{name} is no folder here, is not in the Hugging Face cache, and cannot be fetched",
        resource=f"model {name}",
        why=why,
        next_call=f"`hf download {name}` where there is network, or give a folder that has the model",
    )
