"""A linear probe's directions are projected out of the raw samples of every clip.

Perturbations of classes are often linearly separable in the raw samples, where recordings of speech or music are not.
The attacker trains a linear classifier on the published clips and projects the clips onto what it does not use.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from bench.api import Adaptation, Clips, check_range
from bench.training.classification import labels


@dataclass(frozen=True)
class ProjectOut(Adaptation[Clips]):
    """Project the weights of a regularised linear classifier out of every clip.

    The classifier is ridge regression on one-hot labels, in its dual form: one system of as many equations as clips.

    Attributes:
        ridge: weight of the regulariser, relative to the mean energy of a clip.
    """

    domains = ("audio",)
    requires = ("labels",)
    sweep = ("ridge", 10.0, 0.1)
    paper = "Sandoval-Segura et al. 2023, NeurIPS (What can we learn from unlearnable datasets?)"

    ridge: float = 1.0

    def __post_init__(self) -> None:
        check_range(self, "ridge", above=0)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        sound = data.audio.flatten(1).double()
        level = sound.norm(dim=1, keepdim=True).clamp_min(1e-10)
        rows = sound / level
        target = torch.nn.functional.one_hot(labels(data), len(data.classes)).double()
        target = target - target.mean(0)
        gram = rows @ rows.T
        identity = torch.eye(len(rows), dtype=gram.dtype, device=gram.device)
        weights = rows.T @ torch.linalg.solve(gram + self.ridge * identity, target)  # [sample, class]
        basis = _basis(weights)
        clean = (rows - rows @ basis @ basis.T) * level
        return data.with_audio(clean.float().view_as(data.audio).clamp(-1.0, 1.0) * data.support)


def _basis(directions: Tensor) -> Tensor:
    """Compute an orthonormal basis of the span of columns, [sample, direction]."""
    left, scale, _ = torch.linalg.svd(directions, full_matrices=False)
    basis: Tensor = left[:, scale > 1e-9 * scale.max().clamp_min(1e-30)]
    return basis
