"""What this machine trains on: its processor, or a GPU."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import attrs

__all__ = ["Hardware", "processor", "this_machine"]

_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})


@attrs.frozen
class Hardware:
    """What there is to train on.

    Attributes:
        device: ``"cpu"``, or ``"cuda"`` for a GPU.
        name: What it calls itself.
        gpus: GPUs; 0 for none.
        memory_bytes: Memory of one GPU, the smallest; without one, what of the machine's memory is free.
        bf16: Whether it calculates with 16-bit brain floats itself.
        deepspeed: Whether DeepSpeed is installed, which several GPUs can train with.
    """

    device: Literal["cpu", "cuda"]
    name: str
    gpus: int
    memory_bytes: int
    bf16: bool
    deepspeed: bool = False


def this_machine() -> Hardware:
    """What this machine has; a GPU is seen where torch is installed and sees it."""
    try:
        import torch
    except ImportError:
        return processor()
    if not torch.cuda.is_available():
        return processor()
    facts = torch.cuda.get_device_properties(0)
    gpus = torch.cuda.device_count()
    return Hardware(
        "cuda",
        facts.name,
        gpus,
        min(int(torch.cuda.get_device_properties(number).total_memory) for number in range(gpus)),
        torch.cuda.is_bf16_supported(),
        deepspeed=find_spec("deepspeed") is not None,
    )


def processor(*, whole: bool = False) -> Hardware:
    """This machine without its GPUs.

    Args:
        whole: Whether to give all the memory that a process could get here if nothing else ran, in place of what is
            free now.
    """
    flags: set[str] = set()
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags" and not flags:
                flags = set(value.split())
            if key.strip() == "model name":
                name = value.strip()
    return Hardware("cpu", name, 0, _whole_memory() if whole else _free_memory(), bool(flags & _BF16_FLAGS))


def _free_memory() -> int:
    """The memory that a process can still get: the machine's free memory, or less where a container limits it."""
    free = _machines_memory()
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        left = int(limit.read_text(encoding="ascii")) - int(used.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return free
    return max(0, min(free, left))


def _whole_memory() -> int:
    whole = _machines_memory("MemTotal:")
    try:
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or no limit: "max"
        return whole


def _machines_memory(kind: str = "MemAvailable:") -> int:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(kind):
                return int(line.split()[1]) * 1024
    if hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 0
