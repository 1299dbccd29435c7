"""The device check: a plugin creates every tensor on its data's device. Needs no accelerator.

While the plugin processes data on the processor, every tensor that its code, or bench's, creates without `device=` is
placed on torch's device "meta", which stores no values: the first operation that combines it with data, or reads it,
fails. On a machine with an accelerator the same operation would fail, with data there and the new tensor on the
processor. Tensors that libraries create are exempt: PyTorch's own optimisers keep their counters on the processor.
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

_NO_VALUES = "meta"
_FACTORIES = frozenset(
    {
        torch.arange, torch.as_tensor, torch.bartlett_window, torch.blackman_window, torch.empty, torch.eye,
        torch.fft.fftfreq, torch.fft.rfftfreq, torch.full, torch.hamming_window, torch.hann_window,
        torch.kaiser_window, torch.linspace, torch.logspace, torch.normal, torch.ones, torch.rand, torch.randint,
        torch.randn, torch.randperm, torch.scalar_tensor, torch.tensor, torch.tril_indices, torch.triu_indices,
        torch.zeros,
    }
)  # fmt: skip


@contextmanager
def require_data_device(plugin: Any, doing: str) -> Iterator[None]:
    """Fail the check if the plugin or bench creates a tensor without `device=` inside the block and uses it.

    Args:
        plugin: The plugin, whose package's code is watched beside bench's.
        doing: The method that runs, for the error.

    Returns:
        A context manager.

    Raises:
        AssertionError: Such a tensor was used; the message has the last line that created one.
    """
    mode = _WithoutDevice(plugin)
    try:
        with mode:
            yield
    except (Skipped, BenchError, AssertionError):
        raise
    except Exception as error:
        if not mode.last or _NO_VALUES not in str(error):
            raise
        raise AssertionError(
            f"{doing} creates a tensor without device= ({mode.last}), expected the device of the data: "
            f"{str(error).splitlines()[0]}"
        ) from error


class _WithoutDevice(TorchFunctionMode):
    """Places tensors that are created without a device on one that stores no values."""

    def __init__(self, plugin: Any) -> None:
        super().__init__()
        self._packages = {"bench", type(plugin).__module__.partition(".")[0]}
        self.last = ""  # file:line that created one

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        arguments = dict(kwargs or {})
        if (
            func in _FACTORIES
            and arguments.get("device") is None
            and not (func is torch.as_tensor and _is_tensor(args))
        ):
            frame = sys._getframe(1)
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package in self._packages and not _builds_a_module(frame):
                arguments["device"] = _NO_VALUES
                self.last = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        return func(*args, **arguments)


def _builds_a_module(frame: FrameType | None) -> bool:
    """Return whether a network is being built, which is moved to the device as a whole afterwards."""
    while frame is not None:
        if frame.f_code.co_name == "__init__" and isinstance(frame.f_locals.get("self"), nn.Module):
            return True
        frame = frame.f_back
    return False


def _is_tensor(args: Any) -> bool:
    return bool(args) and isinstance(args[0], torch.Tensor)
