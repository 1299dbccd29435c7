"""Scale recordings so that they do not clip: after filters, rooms and other changes of level."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.sound.levels import energy

__all__ = ["as_loud", "limited"]

_SILENT = 1e-20  # energy of a clip without sound


def limited(audio: Tensor) -> Tensor:
    """Scale each clip down so far that it peaks at 1 at most. The factor counts as a constant.

    Args:
        audio: [clip, channel, sample].

    Returns:
        [clip, channel, sample], within -1..1.
    """
    if not audio.shape[-1]:
        return audio
    peak = audio.detach().abs().amax((1, 2), keepdim=True)
    return (audio / peak.clamp_min(1.0)).clamp(-1.0, 1.0)


def as_loud(audio: Tensor, reference: Tensor) -> Tensor:
    """Scale each clip to the energy of another, less where it would clip. The factor counts as a constant.

    Args:
        audio: [clip, channel, sample].
        reference: [clip, channel, sample].

    Returns:
        [clip, channel, sample], within -1..1; silence stays silent.
    """
    present, wanted = energy(audio.detach()), energy(reference.detach())
    gain = torch.where(present > _SILENT, (wanted / present.clamp_min(_SILENT)).sqrt(), 1.0)
    return limited(audio * gain)
