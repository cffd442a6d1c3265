"""The way out: what would go on billing is deleted, with more patience than anything else has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from phi_finetune.errors import PhiFinetuneError

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client

__all__ = ["DELETE_TIMEOUT", "delete_surely"]

DELETE_TIMEOUT: Final = timedelta(hours=1)
"""How long to wait until something is gone. On the way out it is this, whatever limit the call before it had."""


def delete_surely(
    client: Client,
    delete: Callable[[Client], object],
    *,
    resource: str,
    next_call: str,
    limited: bool = False,
) -> None:
    """Delete something and see it gone, whatever the retry policy; one interruption does not keep it from that.

    A Ctrl-C, an exit or a listener's error meanwhile is raised after the deletion was begun anew, unheard by the
    listener, and seen through. A second one ends it.

    Args:
        client: The handle.
        delete: Deletes it through the handle that it is given, and sees it gone.
        resource: What it deletes.
        next_call: The call that deletes it, where this could not.
        limited: The limit of the call that is going on holds; or else this has time of its own.

    Raises:
        PhiFinetuneError: It may still be there; ``costs`` and ``next_call`` are about that.
    """
    try:
        _delete(client.for_leaving(limited=limited), delete, resource, next_call)
    except PhiFinetuneError:
        raise
    except BaseException as stopped:
        try:
            _delete(client.for_leaving(quiet=True, limited=limited), delete, resource, next_call)
        except BaseException as second:
            stopped.add_note(f"{_bills(resource)}. Next: {next_call}")
            if isinstance(second, PhiFinetuneError):
                raise stopped from None
            second.add_note(f"{_bills(resource)}. Next: {next_call}")
            raise
        if isinstance(stopped, KeyboardInterrupt):
            # What the first deletion noted, that it may go on, is past.
            stopped.__notes__ = []
        stopped.add_note(f"{resource} was deleted all the same")
        raise


def _delete(client: Client, delete: Callable[[Client], object], resource: str, next_call: str) -> None:
    try:
        delete(client)
    except PhiFinetuneError as error:
        error.costs = _bills(resource)
        error.next_call = next_call
        raise


def _bills(resource: str) -> str:
    return f"{resource} may still be there, and bill"
