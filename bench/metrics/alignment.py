"""Check that perturbations are paired with the right clips: the commonest error of published unlearnable examples.

A loader that shuffles between making noise and adding it, or noise looked up by batch number, gives a set that looks
protected and is not. Two checks: a hash of which sound belongs to which name, that no order changes, and a comparison
of each protected clip with the others' originals.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from bench.api import Clips, Data

__all__ = ["alignment_hash", "misaligned"]

_COMPARED = 256  # clips, evenly over the set: every clip with every other is a product of two matrices
_STRANGER, _MARGIN = 0.7, 0.2  # a stranger correlates that much, and by so much better than its own original


def alignment_hash(data: Data) -> str:
    """Hash the triples of name, label and sound: independent of their order, another one if any pair is swapped.

    Args:
        data: the set. Sound is taken at 16 bits, as it is published.

    Returns:
        32 hexadecimal digits.
    """
    whole = (data.signal.detach() * 32768.0).round().clamp(-32768, 32767).to(torch.int16).cpu().numpy()
    labels = data.labels.tolist() if data.labels is not None else [None] * len(data)
    lines = sorted(
        f"{name} {label} {hashlib.sha256(item.tobytes()).hexdigest()}"
        for name, label, item in zip(data.ids, labels, whole, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def misaligned(clean: Clips, protected: Clips) -> list[tuple[str, str]]:
    """Find protected clips that hold another clip's recording, by correlation.

    In a swapped set every stranger is found once; a template that was added to a whole class may look like one
    recording too, but to all of them.

    Args:
        clean: the recordings; at most 256 of them, evenly spread, are compared.
        protected: the same ids in the same order.

    Returns:
        Pairs (id, id of the clip whose recording it holds); empty where every clip is its own.
    """
    index = torch.linspace(0, len(clean) - 1, min(_COMPARED, len(clean)), device=clean.device).round().long()
    originals, copies = (_normalised(clips.audio[index]) for clips in (clean, protected))
    similar = (copies @ originals.T).abs()
    own = similar.diagonal()
    best, at = similar.max(1)
    strange = (best > _STRANGER) & (best > own + _MARGIN)
    counts = torch.bincount(at[strange], minlength=len(index))[at]
    strangers = (strange & (counts == 1)).nonzero()[:, 0].tolist()
    return [(clean.ids[int(index[i])], clean.ids[int(index[int(at[i])])]) for i in strangers]


def _normalised(audio: Tensor) -> Tensor:
    flat = audio.detach().flatten(1)
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return flat / length.clamp_min(1e-9)
