"""Deduplication: an item that is nearly the same as an earlier one is left out.

Copies teach nothing new and are learnt by heart (Lee et al., "Deduplicating training data makes language models
better", ACL 2022). A defender who publishes several protected versions of a recording, or one motif in many items, is
answered by it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from bench.api import Adaptation, Clips, Data, Rolls, check_range
from bench.sound.bands import band_levels

_BANDS = 32


@dataclass(frozen=True)
class Deduplicate(Adaptation[Data]):
    """Leave out each item whose similarity to an earlier item is at least `similarity`.

    Clips are compared by their levels in bands and frames, less the mean of each band; rolls by the cells that sound,
    whatever their velocity. The similarity is the cosine, at the same position in time. Silent items stay.

    Attributes:
        similarity: more than 0 to 1; less takes more items for copies.
    """

    domains = ("audio", "midi")
    sweep = ("similarity", 0.99, 0.8)
    paper = "Lee et al. 2022, ACL (Deduplicating training data makes language models better)"

    similarity: float = 0.95

    def __post_init__(self) -> None:
        check_range(self, "similarity", above=0, most=1)

    def transform(self, data: Clips | Rolls, rng: Generator) -> Clips | Rolls:
        rows = _rows(data)
        rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        copies = (rows @ rows.T >= self.similarity - 1e-5).tril(-1)
        return data.select((~copies.any(1)).nonzero()[:, 0])


def _rows(data: Clips | Rolls) -> Tensor:
    """Return what is compared: float32 [item, feature]."""
    if isinstance(data, Rolls):
        return (data.velocity.detach() > 0).flatten(1).float()
    levels, inside = band_levels(data, _BANDS)
    mean = (levels * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True).clamp_min(1)
    return ((levels - mean) * inside).flatten(1)
