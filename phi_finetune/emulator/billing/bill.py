"""A bill: a row for each thing that ran, and their sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

__all__ = ["Bill", "Charge", "Kind"]

Kind = Literal["cluster", "deployment", "job", "serverless endpoint"]

_COLUMNS = ("resource", "kind", "size", "machines", "started", "ended", "hours", "USD/hour", "USD")
_NUMBERS = ("machines", "hours", "USD/hour", "USD")


@dataclass(frozen=True)
class Charge:
    """Machines of one size that one thing held for a time. A thing whose number of machines changed has more
    than one. The hosting of a fine-tuned model by a serverless endpoint counts as one machine.

    Attributes:
        resource: A cluster's name, a deployment as ``endpoint/deployment``, a step on serverless compute as
            ``job/step``, or the name of a job that waits for machines, or of a serverless endpoint.
        kind: What it is.
        size: The machine size; empty for a job that waits for machines, and for a serverless endpoint.
        machines: How many machines; 0 for a job that waits for them.
        started: Since when, in UTC.
        ended: Until when, in UTC; None while it runs.
        hours: How long so far.
        price_usd_per_hour: The price of one machine in US dollars an hour, of the emulator's own list, which
            is an estimate for East US; None where none is known.
        ending: Whether it runs, and something under way will end it: its deletion, a cancellation, or, for a
            cluster that keeps no nodes, its idle time.
    """

    resource: str
    kind: Kind
    size: str
    machines: int
    started: datetime
    ended: datetime | None
    hours: float
    price_usd_per_hour: float | None
    ending: bool

    @property
    def cost_usd(self) -> float | None:
        """What it has cost so far in US dollars; None where the price is not known."""
        if self.machines == 0:
            return 0.0
        if self.price_usd_per_hour is None:
            return None
        return self.machines * self.hours * self.price_usd_per_hour


@dataclass(frozen=True)
class Bill:
    """What ran until now, the oldest first. As text it is a table."""

    rows: Sequence[Charge]

    @property
    def total_usd(self) -> float | None:
        """The sum in US dollars; None where the price of a row is not known."""
        costs = [row.cost_usd for row in self.rows]
        known = [cost for cost in costs if cost is not None]
        return sum(known, 0.0) if len(known) == len(costs) else None

    @property
    def running(self) -> Sequence[Charge]:
        """What bills now."""
        return tuple(row for row in self.rows if row.ended is None)

    @property
    def leaks(self) -> Sequence[Charge]:
        """What bills now and goes on, since nothing under way will end it. A job that runs is among it."""
        return tuple(row for row in self.running if not row.ending)

    def __str__(self) -> str:
        if not self.rows:
            return "nothing ran"
        total = ("total", *[""] * (len(_COLUMNS) - 2), _number(self.total_usd, 2))
        cells = [_COLUMNS, *(_cells(row) for row in self.rows), total]
        widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS))]
        return "\n".join(_line(line, widths) for line in cells)


def _cells(row: Charge) -> tuple[str, ...]:
    return (
        row.resource,
        row.kind,
        row.size or "-",
        str(row.machines),
        f"{row.started:%Y-%m-%d %H:%M}",
        f"{row.ended:%Y-%m-%d %H:%M}" if row.ended else "ending" if row.ending else "still running",
        _number(row.hours, 2),
        _number(row.price_usd_per_hour, 3) if row.size else "-",
        _number(row.cost_usd, 2),
    )


def _number(number: float | None, digits: int) -> str:
    return "unknown" if number is None else f"{number:.{digits}f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if title in _NUMBERS else cell.ljust(width)
        for title, cell, width in zip(_COLUMNS, cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()
