"""The machine sizes of every emulated region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phi_finetune.emulator.catalogue._data import load

__all__ = ["VmSize", "vm_sizes"]


@dataclass(frozen=True)
class VmSize:
    """A machine size; memory in GiB, prices in US dollars an hour, None where a number is not known or not
    there.

    ``gpu_memory_gib`` is that of one GPU, ``exempt`` spares a deployment the reserve of 20 % (pain.md, "The
    20 % quota rule"), ``retired_on`` is the ISO date from which Azure neither lists nor runs the size. That
    every size can be had as low priority is assumed.
    """

    name: str
    family: str
    vcpus: int
    memory_gib: float
    gpus: int
    gpu_memory_gib: float | None
    price_usd_per_hour: float | None
    low_priority_price: float | None
    exempt: bool
    retired_on: str | None
    low_priority_capable: bool = True


def vm_sizes() -> list[VmSize]:
    """Every size, the retired ones included; those have ``retired_on`` set."""
    data = load("vm_sizes.json")
    return [_size(dict(zip(data["columns"], row, strict=True)), data) for row in data["sizes"]]


def _size(row: dict[str, Any], data: dict[str, Any]) -> VmSize:
    retired = data["retired"]
    return VmSize(
        name=row["name"],
        family=row["family"],
        vcpus=row["vcpus"],
        memory_gib=row["memory_gib"],
        gpus=row["gpus"],
        gpu_memory_gib=row["gpu_memory_gib"],
        price_usd_per_hour=row["dedicated"],
        low_priority_price=row["low_priority"],
        exempt=row["name"] in data["exempt"],
        retired_on=retired.get(row["name"], retired.get(row["family"])),
    )
