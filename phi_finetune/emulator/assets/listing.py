"""Which versions or jobs a list shows, and in what order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TypeVar

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.http import Request

__all__ = ["View", "fits", "newest_first"]

_T = TypeVar("_T")


class View(Enum):
    """Active versions, archived ones, or both."""

    ACTIVE_ONLY = "activeonly"
    ARCHIVED_ONLY = "archivedonly"
    ALL = "all"

    @classmethod
    def of(cls, request: Request) -> View:
        """What a request asks for: active ones unless it says otherwise.

        The client sends ``ActiveOnly`` to workspaces, ``ListViewType.ACTIVE_ONLY`` to registries (wire.md 3).

        Raises:
            ServiceError: 400 for anything else.
        """
        asked = request.query.get("listViewType") or "ActiveOnly"
        for view in cls:
            if asked.lower().removeprefix("listviewtype.").replace("_", "") == view.value:
                return view
        raise ServiceError(400, "UserError", f"The value {asked} of listViewType is not valid.")

    def shows(self, archived: bool) -> bool:
        """Whether the list has room for one that is archived, or is not."""
        return self is View.ALL or archived == (self is View.ARCHIVED_ONLY)


def fits(wanted: str | None, given: Mapping[str, str]) -> bool:
    """Whether properties are those that a request asks for: names, some with a value, as in ``a,b=c``.

    The REST reference of listing jobs has the form; that all of them must be there is assumed.
    """
    for one in (wanted or "").split(","):
        name, equals, value = one.partition("=")
        if name and (name not in given or (equals and given[name] != value)):
            return False
    return True


def newest_first(request: Request, oldest_first: Sequence[_T]) -> Sequence[_T]:
    """Put versions in the order that a request asks for: by time of creation, the newest first (service.md).

    Raises:
        ServiceError: 400 for an order by anything else, which no client asks for.
    """
    order = request.query.get("$orderBy", "createdtime desc").lower().split()
    if order[:1] != ["createdtime"] or order[1:] not in ([], ["asc"], ["desc"]):
        raise ServiceError(400, "UserError", f"The value {' '.join(order)} of $orderBy is not valid.")
    return oldest_first if order[1:] != ["desc"] else oldest_first[::-1]
