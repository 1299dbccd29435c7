"""Random transposition: every roll of a batch is moved to another key.

The usual augmentation of symbolic models (Huang et al., "Music Transformer", ICLR 2019). A pattern that is tied to a
pitch, such as a look-ahead code, differs in every key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Rolls
from bench.notes.rolls import DRUMS


@dataclass(frozen=True)
class Transpose(Adaptation[Rolls]):
    """Transpose all tracks but drums by one interval, reduced where a note would leave the range of pitches.

    Attributes:
        semitones: largest interval in either direction.
    """

    domains = ("midi",)
    sweep = ("semitones", 1, 6)
    paper = "Huang et al. 2019, ICLR"

    semitones: int = 5

    def __post_init__(self) -> None:
        if self.semitones < 0:
            raise ValueError(f"semitones = {self.semitones}, expected 0 or more, such as 5")

    def augment(self, batch: Rolls, rng: Generator) -> Rolls:
        melodic = torch.tensor([program != DRUMS for program in batch.programs], device=batch.device)
        pitch = torch.arange(batch.velocity.shape[3], device=batch.device)
        is_used = (batch.velocity.detach() > 0)[:, melodic].any(2).any(1)  # [roll, pitch]
        lowest = torch.where(is_used, pitch, len(pitch)).amin(1)
        highest = torch.where(is_used, pitch, -1).amax(1)
        draw = torch.randint(2 * self.semitones + 1, (len(batch),), generator=rng, device=rng.device).to(batch.device)
        interval = (draw - self.semitones).maximum(-lowest).minimum(len(pitch) - 1 - highest)
        source = pitch - interval[:, None, None] * melodic[:, None]  # [roll, track, pitch]
        in_range = ((source >= 0) & (source < len(pitch)))[:, :, None]
        source_index = source.clamp(0, len(pitch) - 1)[:, :, None].expand_as(batch.velocity)

        def transposed(cells: Tensor) -> Tensor:
            return cells.gather(3, source_index) * in_range

        return replace(batch, velocity=transposed(batch.velocity), onset=transposed(batch.onset))
