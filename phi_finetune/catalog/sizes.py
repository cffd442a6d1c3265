"""Machine sizes: what each has, which quota it counts against, and about what it costs."""

from __future__ import annotations

from datetime import date
from functools import cache

import attrs

from phi_finetune.catalog import _rows
from phi_finetune.catalog._rows import Source

__all__ = ["GpuSize", "all_sizes", "find"]


@attrs.frozen
class GpuSize:
    """A machine size that Azure Machine Learning offers, or offered.

    Attributes:
        name: Azure's name, such as ``"Standard_NC24ads_A100_v4"``.
        family: The quota that its cores count against, as Azure names it. Azure's own services differ in case
            and spaces; compare without either.
        vcpus: Cores.
        memory_gib: Memory of the machine, in GiB.
        gpus: GPUs; 0 for a size without any. A size with a part of a GPU counts as 1.
        gpu_model: ``"A100"``, ``"T4"`` and so on; None without GPUs.
        gpu_memory_gib: Memory of one GPU (or of the part that the size has), in GiB; None without GPUs.
        price_usd_per_hour: An estimate: the list price of one dedicated Linux machine in East US, in US
            dollars an hour; None if not known.
        low_priority_usd_per_hour: The same for low priority, rougher still; None if not known.
        exempt_from_reserve: Whether an online deployment on it is spared the quota's reserve of 20 % more
            machines (Azure documentation, "Managed online endpoints VM SKU list", 2026-01).
        retired_on: The day from which Azure no longer runs it; None while no such day is known.
        size_source: Where the hardware, the family and the retirement come from.
        price_source: Where the prices come from; None without prices.
    """

    name: str
    family: str
    vcpus: int
    memory_gib: float
    gpus: int
    gpu_model: str | None
    gpu_memory_gib: float | None
    price_usd_per_hour: float | None
    low_priority_usd_per_hour: float | None
    exempt_from_reserve: bool
    retired_on: date | None
    size_source: Source | None
    price_source: Source | None

    def is_retired(self, today: date) -> bool:
        """Whether Azure has stopped running this size on the given day."""
        return self.retired_on is not None and self.retired_on <= today


def all_sizes() -> tuple[GpuSize, ...]:
    """Every size in the catalog, retired ones and those without GPUs included."""
    return tuple(_by_name().values())


def find(name: str) -> GpuSize | None:
    """The size of a name, in any case; None if the catalog does not hold it, which says nothing about Azure.

    Args:
        name: Azure's name of the size, such as ``"Standard_NC24ads_A100_v4"``.
    """
    return _by_name().get(name.strip().lower())


@cache
def _by_name() -> dict[str, GpuSize]:
    sizes = [_size(row) for row in _rows.read("sizes.csv")]
    return {size.name.lower(): size for size in sizes}


def _size(row: dict[str, str]) -> GpuSize:
    return GpuSize(
        name=row["name"],
        family=row["family"],
        vcpus=int(row["vcpus"]),
        memory_gib=float(row["memory_gib"]),
        gpus=int(row["gpus"]),
        gpu_model=row["gpu_model"] or None,
        gpu_memory_gib=_number(row["gpu_memory_gib"]),
        price_usd_per_hour=_number(row["usd_per_hour"]),
        low_priority_usd_per_hour=_number(row["usd_per_hour_low_priority"]),
        exempt_from_reserve=row["exempt_from_reserve"] == "yes",
        retired_on=date.fromisoformat(row["retired_on"]) if row["retired_on"] else None,
        size_source=_rows.source(row["size_source"]),
        price_source=_rows.source(row["price_source"]),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
