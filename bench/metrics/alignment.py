"""Check that perturbations are paired with the right clips.

A loader that shuffles between crafting and adding noise, or noise looked up by batch number, gives a set that seems
protected and is not; it is the most common error of published unlearnable examples. Two checks: a hash over pairs of
name and signal that does not depend on their order, and a comparison of each protected clip with the originals of all
others.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from bench.api import Clips, Data

__all__ = ["alignment_hash", "misaligned"]

_COMPARED = 256  # most clips compared, evenly spread: the similarity matrix grows with the square
_STRANGER, _MARGIN = 0.7, 0.2  # least correlation with another original, and its margin over the clip's own


def alignment_hash(data: Data) -> str:
    """Hash the triples of name, label and signal, whatever their order.

    Args:
        data: The set. Signals are rounded to 16 bits, as they are published.

    Returns:
        32 hexadecimal digits; others if any two items are swapped.
    """
    pcm = (data.signal.detach() * 32768.0).round().clamp(-32768, 32767).to(torch.int16).cpu().numpy()
    labels = data.labels.tolist() if data.labels is not None else [None] * len(data)
    lines = sorted(
        f"{name} {label} {hashlib.sha256(item.tobytes()).hexdigest()}"
        for name, label, item in zip(data.ids, labels, pcm, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]


def misaligned(clean: Clips, protected: Clips) -> list[tuple[str, str]]:
    """Find protected clips that contain another clip's recording, by correlation.

    In a swapped set each recording is matched once. A template added to a whole class may resemble one recording too,
    but then all clips of the class match it, which is not reported.

    Args:
        clean: The recordings; at most 256 of them, evenly spread, are compared.
        protected: The same ids in the same order.

    Returns:
        Pairs (id, id of the clip whose recording it contains); empty where all are paired rightly.
    """
    index = torch.linspace(0, len(clean) - 1, min(_COMPARED, len(clean)), device=clean.device).round().long()
    originals, copies = (_normalised(clips.audio[index]) for clips in (clean, protected))
    similar = (copies @ originals.T).abs()
    similarity_to_own = similar.diagonal()
    best, best_match = similar.max(1)
    strange = (best > _STRANGER) & (best > similarity_to_own + _MARGIN)
    counts = torch.bincount(best_match[strange], minlength=len(index))[best_match]
    strangers = (strange & (counts == 1)).nonzero()[:, 0].tolist()
    return [(clean.ids[int(index[i])], clean.ids[int(index[int(best_match[i])])]) for i in strangers]


def _normalised(audio: Tensor) -> Tensor:
    flat = audio.detach().flatten(1)
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return flat / length.clamp_min(1e-9)
