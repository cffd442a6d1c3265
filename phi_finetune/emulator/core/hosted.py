"""Things with a name and a host of their own, as endpoints of both kinds are: found, reserved, and let go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from phi_finetune.emulator.core.errors import ServiceError
from phi_finetune.emulator.core.operations import Operation

if TYPE_CHECKING:
    from phi_finetune.emulator.cloud import Cloud

__all__ = ["Hosted"]


class _Thing(Protocol):
    name: str
    operation: Operation

    @property
    def host(self) -> str: ...


_T = TypeVar("_T", bound=_Thing)


class Hosted(ABC, Generic[_T]):
    """All things of a kind in one cloud, by their names in any case."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._endpoints: dict[str, _T] = {}
        self._reserved: set[str] = set()
        self._resting: dict[str, datetime] = {}

    @abstractmethod
    def missing(self, name: str) -> ServiceError:
        """What is answered where there is none of a name: 404."""

    def owns_host(self, host: str) -> bool:
        """Whether one of them answers on this host."""
        return self.on_host(host) is not None

    def on_host(self, host: str) -> _T | None:
        """The one that answers on a host."""
        # A door asks while other threads make endpoints, hence the copy that all() gives.
        return next((one for one in self.all() if one.host == host), None)

    def reserve(self, name: str) -> None:
        """Let a name belong to somebody else in the region."""
        self._reserved.add(name.lower())

    def all(self) -> tuple[_T, ...]:
        """Every one, the oldest first."""
        return tuple(self._endpoints.values())

    def find(self, name: str) -> _T:
        """The one of a name, in any case.

        Raises:
            ServiceError: 404 where there is none.
        """
        found = self._endpoints.get(name.lower())
        if found is None:
            raise self.missing(name)
        return found

    def _is_resting(self, name: str) -> bool:
        """Whether the name of one that was deleted cannot be used again yet."""
        now = self._cloud.clock.now()
        return self._resting.get(name.lower(), now) > now

    def _let_go(self, one: _T) -> datetime:
        """Forget one whose deletion is done, and let its name rest; when that was."""
        self._endpoints.pop(one.name.lower(), None)
        _, gone = one.operation.progress.entered[-1]
        self._resting[one.name.lower()] = gone + self._cloud.settings.endpoint_name_rest
        return gone
