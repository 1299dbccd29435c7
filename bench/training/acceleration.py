"""What large models need on an accelerator: half the bits where they suffice, and gradients that cuDNN refuses.

`precision = "auto"` is bfloat16 on an accelerator and float32 on processors, where bfloat16 is slower. Only the loss in
training is computed so: weights, gradients, optimiser states and every quality stay float32.
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
    """Compute matrix products inside the block in bfloat16, where that is asked for.

    Args:
        precision: "float32", "bfloat16", or "auto": bfloat16 on an accelerator alone.
        device: where the model is.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(precision, device))


def uses_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether `autocast` computes in bfloat16 there."""
    return precision == "bfloat16" or (precision == "auto" and device.type != "cpu")


def recompute_layers(model: Any) -> None:
    """Have a model of Transformers compute its layers again for the gradient, instead of keeping what they computed."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


@contextmanager
def differentiable_recurrence(model: nn.Module) -> Iterator[None]:
    """Let recurrent layers be differentiated while the model is in evaluation mode, inside the block.

    cuDNN keeps what a gradient needs in training mode alone ("cudnn RNN backward can only be called in training mode").
    Layers without dropout compute the same in both modes, and are in training mode inside the block. For others cuDNN
    is switched off.
    """
    layers = [each for each in model.modules() if isinstance(each, nn.RNNBase) and not each.training]
    if any(each.dropout for each in layers):
        with torch.backends.cudnn.flags(enabled=False):
            yield
        return
    for each in layers:
        each.training = True
    try:
        yield
    finally:
        for each in layers:
            each.training = False
