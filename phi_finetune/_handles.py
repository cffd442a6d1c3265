"""How an object holds its workspace's handle: outside equality, hash, repr and pickles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client

__all__ = ["WithoutHandle"]


class WithoutHandle:
    """Pickles without the handle; ``workspace.attach(it)`` gives it back one.

    A class of this kind declares the field ``_client`` itself, outside equality and repr: type checkers know no
    other way to see it as a keyword of the constructor.
    """

    _client: Client | None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_client": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Frozen, so the object is as good as its copy; and only a pickle should lose the handle.
        return self

    def attached_to(self, client: Client) -> Self:
        """The same, with another handle."""
        revived = object.__new__(type(self))
        vars(revived).update({**vars(self), "_client": client})
        return revived
