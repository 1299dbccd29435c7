"""The weights that ship with SymphonyNet: the size "small", pretrained on folk songs (`pretrain.py`, `songs/`)."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import DataError

from .encoding import PITCHES

SONGS = Path(__file__).parent / "songs"
BAR = 16  # steps of a measure of the songs


def load(network: nn.Module, bar: int) -> None:
    """Copy the shipped weights into a network of the same width, layers and heads.

    Of tables of another size (more tracks, another measure, merged pitches) the rows are copied that both have.

    Args:
        network: changed in place.
        bar: steps of its measures.

    Raises:
        DataError: the installation lacks the weights.
    """
    own = network.state_dict()
    with torch.no_grad():
        for name, value in _shipped().items():
            shape = (len(own[name]), len(value), bar)
            into, rows = _shared_rows(name, shape, own[name].device)
            own[name][into] = value.to(own[name].device)[rows]


def _shared_rows(name: str, shape: tuple[int, int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the rows of a network's parameter, and the rows of the shipped one that mean the same.

    Args:
        name: of the parameter.
        shape: rows of the network's, rows of the shipped one, steps of the network's measures.
        device: of the rows.
    """
    own, shipped, bar = shape
    if ".event." not in name:
        rows = torch.arange(min(own, shipped), device=device)
        return rows, rows
    # The opening of a measure, positions in it, pitches; merged pitches follow.
    positions, pitches = torch.arange(1 + min(bar, BAR), device=device), torch.arange(PITCHES, device=device)
    return torch.cat([positions, 1 + bar + pitches]), torch.cat([positions, 1 + BAR + pitches])


@functools.cache
def _shipped() -> dict[str, Tensor]:
    """Read the shipped weights, in float32."""
    from safetensors.torch import load_file

    file = SONGS / "model.safetensors"
    if not file.is_file():
        raise DataError(f"symphonynet: no {file}: the installation of bench is incomplete; expected its weights there")
    return {name: value.float() for name, value in load_file(file).items()}
