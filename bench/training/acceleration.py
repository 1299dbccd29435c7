"""Support for large models on accelerators: bfloat16 autocast, recomputed layers, differentiable recurrent layers.

`precision = "auto"` is bfloat16 on an accelerator and float32 on processors, where bfloat16 is slower. It applies to
the training loss alone: weights, gradients, optimiser states and every quality stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

__all__ = ["Precision", "autocast", "differentiable_recurrence", "recompute_layers", "uses_bfloat16"]

Precision: TypeAlias = Literal["float32", "bfloat16", "auto"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which matrix products are computed in bfloat16, where `precision` asks for it.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 on an accelerator alone.
        device: The model's device.

    Returns:
        The context manager.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device))


def uses_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Return whether `autocast` computes in bfloat16 on a device.

    Args:
        precision: As in `autocast`.
        device: The model's device.

    Returns:
        Whether it does.
    """
    return precision == "bfloat16" or (precision == "auto" and device.type != "cpu")


def recompute_layers(model: Any) -> None:
    """Make a Transformers model recompute its layers in the backward pass, which saves their activations' memory.

    Args:
        model: A model of Transformers; changed in place.
    """
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


@contextmanager
def differentiable_recurrence(model: nn.Module) -> Iterator[None]:
    """Make recurrent layers of a model in evaluation mode differentiable, inside the block.

    cuDNN keeps what a gradient needs in training mode alone ("cudnn RNN backward can only be called in training mode").
    Layers without dropout compute the same in both modes, and are set to training mode inside the block. For layers
    with dropout cuDNN is switched off.

    Args:
        model: The model.

    Returns:
        A context manager.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.RNNBase) and not layer.training]
    if any(layer.dropout for layer in layers):
        with torch.backends.cudnn.flags(enabled=False):
            yield
        return
    for layer in layers:
        layer.training = True
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
