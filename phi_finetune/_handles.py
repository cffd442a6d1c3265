"""How an object holds its workspace's handle: outside equality, hash, repr and pickles."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from phi_finetune._azure.client import Client
    from phi_finetune.protocols import RetryPolicy

__all__ = ["WithoutHandle", "kept"]


def kept(client: Client | None) -> Client | None:
    """The handle as an object keeps it: what a call was limited to ends with the call."""
    return None if client is None else client.outside_calls()


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

    def with_options(self, *, timeout: timedelta | None = None, retries: RetryPolicy | None = None) -> Self:
        """The same, whose calls have limits of their own; so have those of whatever they give.

        Args:
            timeout: How long each call may take in all: requests, their retries, and waits. None leaves it as it
                is, which is without such a limit from the start. A call that takes a ``timeout`` itself ends at the
                earlier of the two.
            retries: When to send a request again, instead of the policy that ``connect()`` was given. None leaves it
                as it is.

        Raises:
            ConfigurationError: It is not attached to a workspace.
            InvalidParameter: The timeout is not above 0.
        """
        from phi_finetune._azure.client import attached

        client = attached(self._client, "object")
        return self.attached_to(client.with_options(timeout=timeout, retries=retries))

    def _limited(self, timeout: timedelta | None = None) -> Self:
        """The same for one call, which begins now and may take so long; it must not be given to anybody."""
        from phi_finetune._azure.client import attached

        about: str | None = getattr(self, "resource", None)
        return self.attached_to(attached(self._client, "object", timeout, about))

    def attached_to(self, client: Client) -> Self:
        """The same, with another handle."""
        revived = object.__new__(type(self))
        vars(revived).update({**vars(self), "_client": client})
        return revived
