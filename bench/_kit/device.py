"""The device check: no plugin makes a tensor that is not on its data's device. Needs no accelerator.

While the plugin works on data of the processor, every tensor that its code, or bench's, makes without `device=` lands
on torch's device "meta", which holds no values: the first operation that mixes it with data, or reads it, fails. On a
machine with an accelerator it would be the same operation, with data there and the new tensor on the processor.
Libraries may do as they like: PyTorch's own optimisers keep their counters on the processor.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bench._kit.case import Skipped
from bench.errors import BenchError

_ELSEWHERE = "meta"
_MAKERS = frozenset(
    {
        torch.arange, torch.as_tensor, torch.bartlett_window, torch.blackman_window, torch.empty, torch.eye,
        torch.fft.fftfreq, torch.fft.rfftfreq, torch.full, torch.hamming_window, torch.hann_window,
        torch.kaiser_window, torch.linspace, torch.logspace, torch.normal, torch.ones, torch.rand, torch.randint,
        torch.randn, torch.randperm, torch.scalar_tensor, torch.tensor, torch.tril_indices, torch.triu_indices,
        torch.zeros,
    }
)  # fmt: skip


@contextmanager
def elsewhere(plugin: Any, doing: str) -> Iterator[None]:
    """Inside the block, tensors that the plugin or bench make without `device=` hold no values.

    Raises:
        AssertionError: one of them was used; the sentence names the last line that made such a tensor.
    """
    mode = _Elsewhere(plugin)
    try:
        with mode:
            yield
    except (Skipped, BenchError, AssertionError):
        raise
    except Exception as error:
        if not mode.last or _ELSEWHERE not in str(error):
            raise
        raise AssertionError(
            f"{doing} makes a tensor without device= ({mode.last}), which on an accelerator is not where the data is: "
            f"{str(error).splitlines()[0]}"
        ) from error


class _Elsewhere(TorchFunctionMode):
    """Sends tensors that are made without a device to one that holds no values."""

    def __init__(self, plugin: Any) -> None:
        super().__init__()
        self._packages = {"bench", type(plugin).__module__.partition(".")[0]}
        self.last = ""  # file:line that made one

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if func in _MAKERS and given.get("device") is None and not (func is torch.as_tensor and _is_tensor(args)):
            frame = sys._getframe(1)
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package in self._packages and not _builds_a_module(frame):
                given["device"] = _ELSEWHERE
                self.last = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        return func(*args, **given)


def _builds_a_module(frame: FrameType | None) -> bool:
    """Whether a network is being built: it is moved to the device when it is whole."""
    while frame is not None:
        if frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), nn.Module):
            return True
        frame = frame.f_back
    return False


def _is_tensor(args: Any) -> bool:
    return bool(args) and isinstance(args[0], torch.Tensor)
