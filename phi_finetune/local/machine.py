"""What this machine has: cores, memory, GPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

from phi_finetune.catalog.this_machine import FAMILY, NAME
from phi_finetune.emulator.catalogue import VmSize

__all__ = ["this_machine"]

_GIB = 1024**3


@cache
def this_machine() -> VmSize:
    """This machine as a size, looked at once: its GPUs are those that NVIDIA's driver lists."""
    gpus = _gpus()
    return VmSize(
        name=NAME,
        family=FAMILY,
        vcpus=_cores(),
        memory_gib=round(_memory_bytes() / _GIB, 1),
        gpus=len(gpus),
        gpu_memory_gib=gpus[0] if gpus else None,
        price_usd_per_hour=0.0,
        low_priority_price=None,
        exempt=True,
        retired_on=None,
        low_priority_capable=False,
    )


def _cores() -> int:
    """The cores that this process may use, which a container or a batch system may have made fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpus() -> list[float]:
    """The memory of each GPU in GiB; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    question = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(question, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = [row.strip() for row in done.stdout.splitlines()]
    return [round(int(row) / 1024, 1) for row in rows if row.isdigit()] if done.returncode == 0 else []
