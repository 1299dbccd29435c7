"""Quality (PESQ) and intelligibility (STOI) of protected recordings of speech, one value a clip.

Conventions: both sets are `Clips` of the same ids, shape, rate and lengths; the results are float64 [clip]. The first
20 seconds of each recording are measured, without padding and with the channels averaged. Both measures need more than
a second of speech: shorter recordings are repeated up to 1.25 s. Values are NaN where they cannot be computed: silence,
less than 0.1 s, an error of the library, a clip left out by `limit`. Both measures are slow, so `limit` clips, evenly
spread over the set, represent all of it.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.api import Clips
from bench.errors import DataError
from bench.sound.resampling import resample

__all__ = ["pesq", "speech_quality", "stoi"]

_LEAST_SECONDS = 0.1  # a shorter recording, repeated, is a tone and not speech
_TILED_SECONDS = 1.25
_MOST_SECONDS = 20.0  # ITU-T P.862 was fitted to 8 to 12 s; its code can hold only 50 utterances
_NARROW, _WIDE = 8_000, 16_000
_TOO_SHORT = 1e-5  # pystoi's result where it has too few frames


def speech_quality(clean: Clips, protected: Clips, limit: int | None = 128) -> dict[str, Tensor]:
    """Compute `pesq` and `stoi`.

    The sampling error of a mean over `limit` clips is a clip's spread over sqrt(limit): on spoken digits at 27 dB, 0.07
    of PESQ and 0.002 of STOI.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        limit: number of clips measured, evenly spread over the set; None: all of them.

    Returns:
        Name -> float64 [clip]; all NaN where the package of that name is not installed.

    Raises:
        DataError: the two sets do not pair.
    """
    return {"pesq": pesq(clean, protected, limit), "stoi": stoi(clean, protected, limit)}


def pesq(clean: Clips, protected: Clips, limit: int | None = None) -> Tensor:
    """Compute PESQ, the perceptual evaluation of speech quality, as a mean opinion score (MOS-LQO).

    At 8 kHz narrow band (ITU-T P.862.1, at most 4.549), at 16 kHz wide band (P.862.2, at most 4.644; the two scales do
    not compare); other rates are resampled to 16 kHz, lower ones too.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        limit: number of clips measured, evenly spread over the set; None: all of them.

    Returns:
        About 1 to 4.6, [clip]; all NaN without the package `pesq`.

    Raises:
        DataError: the two sets do not pair.
    """
    if importlib.util.find_spec("pesq") is None:
        return _unknown(clean, protected)
    from pesq import PesqError
    from pesq import pesq as measure

    rate = clean.rate if clean.rate in (_NARROW, _WIDE) else _WIDE
    mode = "nb" if rate == _NARROW else "wb"

    def pesq_or_nan(reference: np.ndarray, degraded: np.ndarray) -> float:
        value = float(measure(rate, reference, degraded, mode, on_error=PesqError.RETURN_VALUES))
        return value if value > 0 else math.nan  # its errors, such as no utterance found, are negative numbers

    return _measured(clean, protected, limit, rate, pesq_or_nan)


def stoi(clean: Clips, protected: Clips, limit: int | None = None) -> Tensor:
    """Compute STOI, the short-time objective intelligibility (Taal et al. 2011).

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        limit: number of clips measured, evenly spread over the set; None: all of them.

    Returns:
        At most 1, [clip]. NaN where less than 0.4 s of the recording lies within 40 dB of its loudest frame; all NaN
        without the package `pystoi`.

    Raises:
        DataError: the two sets do not pair.
    """
    if importlib.util.find_spec("pystoi") is None:
        return _unknown(clean, protected)
    from pystoi import stoi as measure

    def stoi_or_nan(reference: np.ndarray, degraded: np.ndarray) -> float:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Not enough STFT frames", category=RuntimeWarning)
            value = float(measure(reference, degraded, clean.rate))
        return math.nan if value == _TOO_SHORT else value

    return _measured(clean, protected, limit, clean.rate, stoi_or_nan)


def _measured(
    clean: Clips, protected: Clips, limit: int | None, rate: int, measure: Callable[[Any, Any], float]
) -> Tensor:
    """Apply `measure` to reference and degraded, float64 arrays at `rate`, of evenly spread clips."""
    values = _unknown(clean, protected)
    count = len(clean) if limit is None else min(limit, len(clean))
    for clip in torch.linspace(0, len(clean) - 1, count).round().long().tolist():
        length = min(int(clean.lengths[clip]), round(_MOST_SECONDS * clean.rate))
        if length < _LEAST_SECONDS * clean.rate:
            continue
        sounds = torch.stack([clips.audio[clip, :, :length].detach().mean(0) for clips in (clean, protected)]).cpu()
        if not (sounds.isfinite().all() and sounds.any(1).all()):
            continue
        times = max(1, math.ceil(_TILED_SECONDS * clean.rate / length))
        reference, degraded = resample(sounds.double(), clean.rate, rate).repeat(1, times).numpy()
        values[clip] = measure(reference, degraded)
    return values.to(clean.device)


def _unknown(clean: Clips, protected: Clips) -> Tensor:
    """Check that the two sets pair; return NaN for every clip."""
    if clean.ids != protected.ids or clean.rate != protected.rate or clean.audio.shape != protected.audio.shape:
        raise DataError("clean and protected clips do not match, expected the same ids, shape and rate")
    if not torch.equal(clean.lengths.cpu(), protected.lengths.cpu()):
        raise DataError("clean and protected clips do not match: their lengths differ, expected the same")
    return torch.full((len(clean),), math.nan, dtype=torch.float64)
