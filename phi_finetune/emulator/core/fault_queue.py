"""What goes wrong: queued one by one, each met once and in order, or drawn at a rate."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from phi_finetune.emulator.core.faults import TWELVE_KINDS, Fault, OperationFault, RequestFault
from phi_finetune.emulator.core.http import Request

__all__ = ["Faults"]

_F = TypeVar("_F", bound=Fault)


@dataclass
class _Rate:
    probability: float
    kinds: Sequence[RequestFault]
    rng: random.Random

    def draw(self, request: Request) -> RequestFault | None:
        if self.rng.random() >= self.probability:
            return None
        possible = [kind for kind in self.kinds if kind.meets(request)]
        return self.rng.choice(possible) if possible else None


class Faults:
    """What goes wrong in one cloud."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []
        self._rate: _Rate | None = None

    def next(self, fault: Fault, *, times: int = 1) -> None:
        """Queue a fault, to be met ``times`` times."""
        self._queue.extend([fault] * times)

    def at_rate(
        self, probability: float, *, seed: int = 0, kinds: Sequence[RequestFault] = TWELVE_KINDS
    ) -> None:
        """Let every request from now on meet a fault with a probability, until :meth:`stop`.

        The same requests in the same order meet the same faults for one seed. A queued fault goes first. What
        is drawn is never unmet; a body that can't be halved (:class:`HalfBody`) comes whole.

        Args:
            probability: From 0 to 1.
            seed: Of what is drawn.
            kinds: What is drawn from, evenly, among those whose ``on`` fits the request. The default is the
                twelve kinds of reliability.md 1.3: 429 with and without Retry-After, 503, 500, 502, a reset
                connection, a read timeout, a refused connection, an expired token, half a JSON, a body cut
                short, and an answer that is lost after the request was carried out.

        Raises:
            ValueError: The probability is outside 0 to 1.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"a probability is from 0 to 1, not {probability!r}")
        self._rate = _Rate(probability, tuple(kinds), random.Random(seed))

    def stop(self) -> None:
        """Let no more faults be drawn; those that are queued stay."""
        self._rate = None

    def take(self, kind: type[_F]) -> _F | None:
        """The first queued fault of a kind, which is thereby met; None where there is none."""
        for fault in self._queue:
            if isinstance(fault, kind):
                self._queue.remove(fault)
                return fault
        return None

    def find(self, request: Request) -> RequestFault | None:
        """The fault of this request: the first queued one, or one that is drawn; None where there is none."""
        for fault in self._queue:
            if isinstance(fault, RequestFault) and fault.meets(request):
                return fault
        return self._rate.draw(request) if self._rate else None

    def take_operation(self, kind: str) -> OperationFault | None:
        """The first queued fault of an operation, which is thereby met; None where there is none."""
        for fault in self._queue:
            if isinstance(fault, OperationFault) and fault.concerns(kind):
                self._queue.remove(fault)
                return fault
        return None

    def met(self, fault: Fault) -> None:
        """Strike a fault off the queue; one that was drawn is not on it."""
        if fault in self._queue:
            self._queue.remove(fault)

    @property
    def unmet(self) -> tuple[Fault, ...]:
        """The faults that are still waiting."""
        return tuple(self._queue)
