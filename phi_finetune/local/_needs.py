"""The check that the extra ``local`` is installed."""

from __future__ import annotations

from importlib.util import find_spec

from phi_finetune.errors import MissingDependency

__all__ = ["require"]


def require(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``local``, before anything long begins.

    Raises:
        MissingDependency: One of them is not installed; the error has the command that installs it.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise MissingDependency(
            f"Training on this machine needs {', '.join(missing)}",
            next_call='pip install "phi-finetune[local]"',
        )
