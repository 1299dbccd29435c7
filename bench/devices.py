"""Devices that stages run on: processors or accelerators. torch is imported only when accelerators are looked up.

`--device auto` uses accelerators where there are any, `cpu` none, `cuda` all of them, `cuda:N` that one. Results may
depend on the device in their last digits only. The device is therefore not part of a stage's key, records name the
device that was used, and the regression gate never compares records of different devices.
"""

from __future__ import annotations

import contextlib
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
    "first",
    "host_memory_gb",
    "name_of",
    "selected",
]

CPU = "cpu"
_GIB = 2**30
_USABLE = 0.9  # share of an accelerator's memory; the rest is fragmentation and other processes
CONTEXT_GB = 0.5  # memory that CUDA reserves for each process, measured on an H200
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
    """Return every accelerator that torch can use here.

    Returns:
        The accelerators, in torch's order; empty without CUDA.
    """
    if "torch" not in sys.modules and sys.platform == "linux" and not any(map(glob.glob, _DEVICE_FILES)):
        return ()  # without importing torch, which takes seconds
    import torch

    if not torch.cuda.is_available():
        return ()
    properties = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Accelerator(f"cuda:{i}", p.name, p.total_memory / _GIB) for i, p in enumerate(properties))


def selected(device: str) -> tuple[Accelerator, ...]:
    """Return the accelerators that stages may use.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The accelerators; empty for processors.

    Raises:
        UsageError: There is no such device.
    """
    check_name(device)
    if device == CPU:
        return ()
    available = accelerators()
    if device == "auto":
        return available
    matching = tuple(accelerator for accelerator in available if device in ("cuda", accelerator.device))
    if not matching:
        listed = ", ".join(accelerator.device for accelerator in available) or "none (torch finds none)"
        raise UsageError(
            f"--device {device}: there is no such accelerator, expected one of {listed}, or --device auto or cpu"
        )
    return matching


def check_name(device: str) -> None:
    """Check the form of a device's name, without torch and whatever devices there are.

    Args:
        device: The name.

    Raises:
        UsageError: It is not one of auto, cpu, cuda and cuda:N.
    """
    if not _FORMS.fullmatch(device):
        raise UsageError(f"--device {device}: expected auto, cpu, cuda or cuda:N")


def first(device: str) -> str:
    """Return the device for work in this process.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The first accelerator that may be used, or "cpu".

    Raises:
        UsageError: There is no such device.
    """
    return next((accelerator.device for accelerator in selected(device)), CPU)


def name_of(device: str) -> str | None:
    """Return the name of a device in records.

    Args:
        device: "cpu" or "cuda:N".

    Returns:
        The accelerator's name; None for processors.
    """
    if device == CPU:
        return None
    import torch

    return str(torch.cuda.get_device_name(device))


def host_memory_gb() -> float:
    """Return the memory of this machine, or of the container that this process runs in.

    Returns:
        GB.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = ""
        with contextlib.suppress(OSError):  # another version of control groups, or none: no limit to be told
            text = Path(file).read_text(encoding="ascii").strip()
        if text.isdigit():
            total = min(total, int(text))
    return total / _GIB


@dataclass(frozen=True)
class Placement:
    """Decides whether a stage fits: accelerators by their memory, the host by its own."""

    accelerators: tuple[Accelerator, ...]
    memory_gb: float  # of the host

    def device_for(self, needed_gb: float, used_gb: Mapping[str, float]) -> str | None:
        """Return the device for one more stage: the accelerator with the most free memory, or the processor.

        A stage that exceeds every accelerator gets an empty one to itself, because its stated memory is an estimate.
        Without accelerators, and for a stage that needs none of their memory, the device is the processor.

        Args:
            needed_gb: Accelerator memory of the stage, without CUDA's own.
            used_gb: Device -> memory that is reserved there already.

        Returns:
            The device; None where the stage must wait.
        """
        if not self.accelerators or needed_gb <= 0:
            return CPU
        free_gb = {
            accelerator.device: _USABLE * accelerator.memory_gb - used_gb.get(accelerator.device, 0.0)
            for accelerator in self.accelerators
        }
        best = max(free_gb, key=lambda device: free_gb[device])
        if free_gb[best] >= needed_gb + CONTEXT_GB:
            return best
        empty = [accelerator.device for accelerator in self.accelerators if not used_gb.get(accelerator.device)]
        too_large = all(_USABLE * accelerator.memory_gb < needed_gb + CONTEXT_GB for accelerator in self.accelerators)
        return empty[0] if too_large and empty else None

    def holds(self, needed_gb: float, used_gb: Iterable[float]) -> bool:
        """Return whether the host's memory suffices for one more stage; the first always fits.

        Args:
            needed_gb: Memory of the stage.
            used_gb: Memory of each running stage.

        Returns:
            Whether it fits.
        """
        reserved = list(used_gb)
        return not reserved or sum(reserved) + needed_gb <= self.memory_gb
