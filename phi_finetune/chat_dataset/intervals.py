"""Means, shares and ratios of a sample, each with the interval that the true figure of the whole is likely in."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

__all__ = ["Figure", "mean", "percentile", "ratio", "share"]

_Z = 1.959963984540054  # of 100 intervals this many standard errors wide either way, 95 hold the true figure


@attrs.frozen
class Figure:
    """A figure with its 95 % interval; for an exact one, both ends are the figure itself.

    Attributes:
        value: The figure.
        low: The lower end.
        high: The upper end.
    """

    value: float
    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether it was counted, and not estimated."""
        return self.low == self.high

    def times(self, factor: float) -> Figure:
        """Give a multiple of it."""
        return Figure(self.value * factor, self.low * factor, self.high * factor)

    def widened(self, error: float) -> Figure:
        """Give it with an interval for a measure that may itself be off by a share ``error``."""
        return Figure(self.value, self.low * (1 - error), self.high * (1 + error))


def mean(values: Sequence[float], whole: int) -> Figure:
    """The mean of ``whole`` numbers, of which ``values`` is a random sample or all; 0 for none."""
    n = len(values)
    if n == 0:
        return Figure(0.0, 0.0, 0.0)
    middle = sum(values) / n
    if n >= whole:
        return Figure(middle, middle, middle)
    variance = sum((value - middle) ** 2 for value in values) / max(1, n - 1)
    reach = _Z * math.sqrt(variance / n * _left(n, whole))
    return Figure(middle, max(0.0, middle - reach), middle + reach)


def share(hits: int, n: int, whole: int) -> Figure:
    """The share of ``whole`` rows that are so, of which ``hits`` in a random sample of ``n`` are (Wilson)."""
    if n == 0:
        return Figure(0.0, 0.0, 0.0)
    part = hits / n
    if n >= whole:
        return Figure(part, part, part)
    seen = n / _left(n, whole)  # a sample of most of the whole tells more than its size
    middle = (part + _Z**2 / (2 * seen)) / (1 + _Z**2 / seen)
    reach = _Z / (1 + _Z**2 / seen) * math.sqrt(part * (1 - part) / seen + _Z**2 / (4 * seen**2))
    return Figure(part, max(0.0, middle - reach), min(1.0, middle + reach))


def ratio(parts: Sequence[float], wholes: Sequence[float], whole: int) -> Figure:
    """The sum of ``parts`` over that of ``wholes``, from pairs that are a random sample of ``whole`` pairs.

    The interval is taken on the scale of logarithms, and is the wider the fewer parts there are: few long rows
    may carry much of the sum. Where there is no part at all, its upper end is the share of rows that may have one.
    """
    n, total = len(wholes), sum(wholes)
    if total == 0:
        return Figure(0.0, 0.0, 0.0)
    value = sum(parts) / total
    if n >= whole:
        return Figure(value, value, value)
    if value == 0:
        return Figure(0.0, 0.0, share(0, n, whole).high)
    spread = sum((part - value * each) ** 2 for part, each in zip(parts, wholes, strict=True)) / max(1, n - 1)
    error = math.sqrt(spread / n * _left(n, whole)) / (total / n)
    counted = max(1, sum(1 for part in parts if part) - 1)
    student = _Z * (1 + (_Z**2 + 1) / (4 * counted))  # of Student's t, the first term beyond the normal
    # Beyond this the interval tells nothing, and the exponential would not be a number.
    factor = math.exp(min(student * error / value, 50.0))
    return Figure(value, value / factor, value * factor)


def percentile(ordered: Sequence[float], share_below: float) -> float:
    """The value that a share of the numbers lies below, between the two nearest by their distance, as numpy."""
    place = (len(ordered) - 1) * share_below
    lower = math.floor(place)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (place - lower)


def _left(n: int, whole: int) -> float:
    """How much less a sample without return varies than one with it."""
    return (whole - n) / max(1, whole - 1)
