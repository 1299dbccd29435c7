"""Whether noise still lies on the clip that it was made for: the commonest error of published unlearnable examples.

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
    """Hash the triples name, label, sound of a set.

    Args:
        data: clips, taken at 16 bits as they are published, or rolls.

    Returns:
        32 hexadecimal digits, the same in any order of the items, another if any pair is swapped.
    """
    whole = (data.signal.detach() * 32768.0).round().clamp(-32768, 32767).to(torch.int16).cpu().numpy()
    labels = data.labels.tolist() if data.labels is not None else [None] * len(data)
    lines = sorted(
        f"{name} {label} {hashlib.sha256(item.tobytes()).hexdigest()}"
        for name, label, item in zip(data.ids, labels, whole, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def misaligned(clean: Clips, protected: Clips) -> list[tuple[str, str]]:
    """Find clips that hold the recording of another clip, by correlation.

    A template that was added to a whole class may look like one recording too, but to all of its clips; it is not
    reported.

    Args:
        clean: the set.
        protected: the same ids in the same order. At most 256 clips are compared, evenly spread.

    Returns:
        Pairs (name, the name of the clip whose recording it holds); empty where every clip holds its own.
    """
    index = torch.linspace(0, len(clean) - 1, min(_COMPARED, len(clean)), device=clean.device).round().long()
    originals, copies = (_normalised(clips.audio[index]) for clips in (clean, protected))
    similar = (copies @ originals.T).abs()
    own = similar.diagonal()
    best, at = similar.max(1)
    strange = (best > _STRANGER) & (best > own + _MARGIN)
    found = torch.bincount(at[strange], minlength=len(index))[at]
    strangers = (strange & (found == 1)).nonzero()[:, 0].tolist()
    return [(clean.ids[int(index[i])], clean.ids[int(index[int(at[i])])]) for i in strangers]


def _normalised(audio: Tensor) -> Tensor:
    flat = audio.detach().flatten(1)
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return flat / length.clamp_min(1e-9)
