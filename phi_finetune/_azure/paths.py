"""Names in URLs, and fields in answers: neither is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from phi_finetune.errors import InvalidParameter, UnexpectedAnswer

__all__ = ["required", "segment"]


def segment(name: str) -> str:
    """A name as one segment of a URL's path, so that no name can lead to another resource.

    Raises:
        InvalidParameter: It is empty, or a dot or two, which mean the folder itself or the one above.
    """
    if name.strip(".") and name.strip():
        return quote(name, safe="")
    raise InvalidParameter(
        f"{name!r} is no name", name="name", value=name, allowed="a name with something besides dots"
    )


def required(body: Mapping[str, Any], key: str, resource: str) -> Any:
    """A field that an answer must have.

    Raises:
        UnexpectedAnswer: It lacks it.
    """
    if body.get(key) is not None:
        return body[key]
    raise UnexpectedAnswer(
        "Azure's answer lacks something that it always has",
        resource=resource,
        why=f"there is no {key!r} in it",
        next_call="call again; if it stays, open a support case",
    )
