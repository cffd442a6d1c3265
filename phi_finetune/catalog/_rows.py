"""Reads the tables of this package."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

import attrs

__all__ = ["Source", "read", "source"]


@attrs.frozen
class Source:
    """Where a fact comes from.

    Attributes:
        title: What was read, and how far it can be trusted.
        observed_on: When it was read: a year, a month or a day, as ``2026``, ``2026-07`` or ``2026-07-23``.
    """

    title: str
    observed_on: str


def read(file_name: str) -> list[dict[str, str]]:
    """The rows of a table of this package, texts by column name."""
    text = resources.files("phi_finetune.catalog").joinpath(file_name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def source(key: str) -> Source | None:
    """The source that a row names by its key; None for an empty key."""
    return _sources()[key] if key else None


@cache
def _sources() -> dict[str, Source]:
    return {row["key"]: Source(row["title"], row["observed_on"]) for row in read("sources.csv")}
