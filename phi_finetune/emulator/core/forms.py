"""How a test names requests: ``"PUT */jobs/*"``."""

from __future__ import annotations

from fnmatch import fnmatchcase

__all__ = ["fits"]


def fits(form: str, method: str, where: str) -> bool:
    """Whether a request is of a form: the method, then a pattern over its host and path.

    ``*`` stands for any method, and for anything in host and path, slashes included. Case does not matter.
    """
    wanted, _, pattern = form.partition(" ")
    return wanted in ("*", method) and fnmatchcase(where.lower(), pattern.lower())
