"""Keep the state of a long training in one file, and take it up again: weights, an optimiser's moments, the step."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["keep", "take_up"]


def keep(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, spent: float) -> None:
    """Write the state of a training; an interruption leaves the last state whole.

    Args:
        file: where to, as safetensors.
        model: Its weights; tied ones are written once for each of their names.
        optimizer: Of the model's parameters.
        step: Updates done.
        spent: Processor time so far, seconds.
    """
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for parameter, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{parameter}.{name}": value for name, value in values.items()}
    part = file.with_suffix(".part")
    # Tied weights share memory, which the format refuses.
    content = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    save_file(content, part, {"step": str(step), "spent": str(spent)})
    part.replace(file)


def take_up(file: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Read the state of a training into its model and optimiser, if there is one.

    Args:
        file: that `keep` wrote; where it is missing nothing is changed.
        model: of the same architecture, changed in place.
        optimizer: of its parameters, changed in place.

    Returns:
        Updates done, and processor time spent in seconds.
    """
    from safetensors import safe_open

    if not file.is_file():
        return 0, 0.0
    weights: dict[str, Tensor] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    with safe_open(file, "pt") as content:
        facts = content.metadata()
        for key in content.keys():  # noqa: SIM118 (it is no mapping)
            kind, _, name = key.partition(".")
            if kind == "model":
                weights[name] = content.get_tensor(key)
            else:
                parameter, _, name = name.partition(".")
                moments.setdefault(int(parameter), {})[name] = content.get_tensor(key)
    model.load_state_dict(weights)
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(facts["step"]), float(facts["spent"])
