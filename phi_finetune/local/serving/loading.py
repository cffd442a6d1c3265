"""Loading the model that a server answers with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from phi_finetune.errors import PhiFinetuneError
from phi_finetune.local import libraries
from phi_finetune.local.generate import Generator, Sampling
from phi_finetune.local.model import find_model, gather
from phi_finetune.model_files import inspect

__all__ = ["load"]

_MOST_CHARACTERS: Final = 500


def load(folder: Path) -> Generator | str:
    """Load the model of a folder, in Hugging Face's form or in MLflow's; why not, where it cannot be.

    Only the model itself is loaded, never code that lies beside it, and no pickle.
    """
    try:
        found = find_model(folder)
        report = inspect(found)
        # transformers runs a model's own code only where it is told to, and it is not.
        attrs.evolve(report, findings=tuple(one for one in report.findings if one.kind != "code")).check()
        with _whole(folder, found) as whole:
            return _load(whole)
    except PhiFinetuneError as error:
        return _line(f"{error.what}: {error.why}")
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError) as error:
        return _line(f"{type(error).__name__}: {error}")


@contextmanager
def _whole(folder: Path, found: Path) -> Iterator[Path]:
    """The model with its tokenizer: Azure's MLflow folders have that beside it."""
    if not (folder / "data" / "tokenizer").is_dir():
        yield found
        return
    with TemporaryDirectory(dir=folder.parent, prefix=".loading-") as scratch:
        gather(folder, Path(scratch))
        yield Path(scratch)


def _load(folder: Path) -> Generator:
    from jinja2 import TemplateError
    from safetensors import SafetensorError

    libraries.load(libraries.ANSWERING)
    try:
        generator = Generator.load(folder)
        generator.begin([{"role": "user", "content": "Hello"}], Sampling())
    except SafetensorError as error:
        raise ValueError(f"its weights cannot be read: {error}") from None
    except TemplateError as error:
        raise ValueError(f"its chat template cannot be used: {error}") from None
    return generator


def _line(text: str) -> str:
    return " ".join(text.split())[:_MOST_CHARACTERS]
