"""Which device stages run on: processors, or an accelerator. No torch until somebody asks for one.

`--device auto` takes accelerators where there are any, `cpu` none, `cuda` all of them, `cuda:N` that one. What a plugin
computes may not depend on it in meaning; digits do. So the device is no part of a stage's key, records say which one
made them, and the regression gate never compares records of different devices.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UsageError

__all__ = [
    "CPU",
    "Accelerator",
    "Placement",
    "accelerators",
    "check_name",
    "chosen",
    "first",
    "host_memory_gb",
    "name_of",
]

CPU = "cpu"
_GIB = 2**30
_USABLE = 0.9  # of an accelerator's memory: the rest is fragmentation and what others hold
CONTEXT_GB = 0.5  # what CUDA holds for each process, measured on an H200
# What the drivers of accelerators leave in /dev: NVIDIA's (of Jetson boards and WSL too) and AMD's.
_DEVICE_FILES = ("/dev/nvidia*", "/dev/nvhost*", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
_FORMS = re.compile(r"auto|cpu|cuda(:\d+)?")


@dataclass(frozen=True)
class Accelerator:
    """One accelerator of this machine."""

    device: str  # "cuda:0"
    name: str
    memory_gb: float


def accelerators() -> tuple[Accelerator, ...]:
    """Every accelerator that torch can use here."""
    if "torch" not in sys.modules and sys.platform == "linux" and not any(map(glob.glob, _DEVICE_FILES)):
        return ()  # without importing torch, which takes seconds
    import torch

    if not torch.cuda.is_available():
        return ()
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Accelerator(f"cuda:{i}", p.name, p.total_memory / _GIB) for i, p in enumerate(properties))


def chosen(device: str) -> tuple[Accelerator, ...]:
    """The accelerators that stages may use; none means that they run on processors.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        UsageError: there is no such device.
    """
    check_name(device)
    if device == CPU:
        return ()
    available = accelerators()
    if device == "auto":
        return available
    matching = tuple(each for each in available if device in ("cuda", each.device))
    if not matching:
        listed = ", ".join(each.device for each in available) or "none that torch can use"
        raise UsageError(f"--device {device}: accelerators here: {listed}; give --device auto or --device cpu")
    return matching


def check_name(device: str) -> None:
    """Raise `UsageError` for what is no name of a device, whatever there is here; without torch."""
    if not _FORMS.fullmatch(device):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N")


def first(device: str) -> str:
    """The device for work that is done in this process: the first accelerator that may be used, or "cpu"."""
    return next((each.device for each in chosen(device)), CPU)


def name_of(device: str) -> str | None:
    """What a record calls a device: the accelerator's name, None for processors."""
    if device == CPU:
        return None
    import torch

    return str(torch.cuda.get_device_name(device))


def host_memory_gb() -> float:
    """The memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total / _GIB


@dataclass(frozen=True)
class Placement:
    """Where stages fit: accelerators by their memory, the machine by its own."""

    accelerators: tuple[Accelerator, ...]
    memory_gb: float  # of the machine

    def device_for(self, needed_gb: float, used_gb: Mapping[str, float]) -> str | None:
        """The device for one more stage: the accelerator with the most room, processors, or None for "not now".

        A stage that no accelerator could ever hold gets an empty one to itself: what it says of its memory is an
        estimate. Without accelerators, and for a stage that needs none of their memory, the device is the processor.

        Args:
            needed_gb: accelerator memory of the stage, without CUDA's own.
            used_gb: device -> what is reserved there already.
        """
        if not self.accelerators or needed_gb <= 0:
            return CPU
        room = {each.device: _USABLE * each.memory_gb - used_gb.get(each.device, 0.0) for each in self.accelerators}
        best = max(room, key=lambda device: room[device])
        if room[best] >= needed_gb + CONTEXT_GB:
            return best
        empty = [each.device for each in self.accelerators if not used_gb.get(each.device)]
        too_large = all(_USABLE * each.memory_gb < needed_gb + CONTEXT_GB for each in self.accelerators)
        return empty[0] if too_large and empty else None

    def holds(self, needed_gb: float, used_gb: Iterable[float]) -> bool:
        """Whether the machine's memory holds one more stage; the first always fits."""
        reserved = list(used_gb)
        return not reserved or sum(reserved) + needed_gb <= self.memory_gb
