"""The symbolic metrics as published code computes them, errors included, for comparison with published tables only.

Code of MuseGAN (github salu133445/musegan) and pypianoroll 1.0.4, read and, for pypianoroll, run:

* "v1", `v1/musegan/eval/metrics.py`, which computed the tables of arXiv 1709.06298: every bar by itself.
* "v2", `src/musegan/metrics.py`: the whole array at once.
* "pypianoroll", `pypianoroll/metrics.py`.

Errors that they share: a binary roll, so that a note struck again at once is one long note; and `chroma` by a reshape
to (12, -1), which adds up neighbouring semitones (7 of 84 pitches, 10 of 128) instead of pitch classes. Each function
states its own. The correct metrics are those of `symbolic_tracks`, without `paper_`.

Conventions: float64 [roll, track], or [roll, pair] as in `pairs`. The published code averages over the whole set; here
each roll is a set of its own, of as many bars as it has, the last one filled up with silence. NaN as there.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.errors import DataError
from bench.metrics.symbolic_tracks import pairs, tonal_matrix
from bench.notes.rolls import DRUMS

__all__ = [
    "paper_drum_pattern", "paper_empty_bar_rate", "paper_pitches_used", "paper_qualified_notes", "paper_tonal_distance",
    "paper_used_pitch_classes",
]  # fmt: skip

# Steps a bar -> the weights of one period of the mask, as v2 has them.
_V2_PERIODS: dict[int, tuple[float, ...]] = {
    96: (1, 0.1, 0, 0, 0, 0.1), 72: (1, 0.1, 0, 0, 0, 0.1), 64: (1, 0.1, 0, 0.1), 48: (1, 0.1, 0.1), 36: (1, 0.1, 0.1),
    32: (1, 0.1), 24: (1, 0.1, 0.1), 16: (1, 0.1),
}  # fmt: skip
_V1_PERIOD = (1, 0.3, 0, 0, 0, 0.3)


def paper_empty_bar_rate(rolls: Rolls) -> Tensor:
    """Compute v2's "empty bar rate", the share of bars that are NOT empty; v1 has it right.

    pypianoroll's `empty_beat_rate` has the same error.

    Args:
        rolls: the set.

    Returns:
        float64 [roll, track] in 0..1.
    """
    bars, within = _bars(rolls)
    return _mean(bars.any(4).any(3).double(), within)


def paper_pitches_used(rolls: Rolls) -> Tensor:
    """Compute v2's "pitches used per bar", the sounding cells in a bar: a held note counts at every step.

    v1 counts distinct pitches.

    Args:
        rolls: the set.

    Returns:
        float64 [roll, track], mean over all bars.
    """
    bars, within = _bars(rolls)
    return _mean(bars.sum((3, 4)).double(), within)


def paper_used_pitch_classes(rolls: Rolls, code: Literal["v1", "v2"] = "v1") -> Tensor:
    """Compute UPC on groups of neighbouring semitones instead of pitch classes.

    Args:
        rolls: the set.
        code: "v1": distinct groups in a bar, mean over the bars that are not empty. "v2": pairs of step and group in a
            bar, mean over all bars.

    Returns:
        float64 [roll, track]; v1: 0..12, v2: up to 12 times the steps of a bar.
    """
    bars, within = _bars(rolls)
    groups = _grouped(bars) > 0
    if code == "v2":
        return _mean(groups.sum((3, 4)).double(), within)
    return _mean(groups.any(3).sum(3).double(), within & bars.any(4).any(3))


def paper_qualified_notes(rolls: Rolls, code: Literal["v1", "v2"] = "v1") -> Tensor:
    """Compute QN with the threshold of 2 steps that all published code has, where the paper says 3.

    Args:
        rolls: the set.
        code: "v1": the share in each bar, notes cut at the bar line, mean over the bars that are not empty. "v2", which
            pypianoroll has as well: begins and ends are listed step by step, the k-th is paired with the k-th, and
            their distance in *cells* of the flattened roll is compared with 2. A note of one step is a whole row of
            cells long, so nearly every note is qualified. (pypianoroll's stops with an error for a boolean roll, whose
            differences are never negative.)

    Returns:
        float64 [roll, track] in 0..1; NaN for a track without notes.
    """
    if code == "v1":
        bars, within = _bars(rolls)
        before, after = functional.pad(bars, (0, 0, 1, 0))[..., :-1, :], functional.pad(bars, (0, 0, 0, 1))[..., 1:, :]
        begins = bars & ~before
        notes = begins.sum((3, 4)).double()
        return _mean((begins & after).sum((3, 4)) / notes, within & (notes > 0))
    sounds = _sounding(rolls)
    count, tracks, steps, pitches = sounds.shape
    change = functional.pad(sounds.to(torch.int8), (0, 0, 1, 1)).diff(dim=2)
    begin, end = ((change.reshape(-1) == sign).nonzero()[:, 0] for sign in (1, -1))
    row = begin // ((steps + 1) * pitches)
    notes = torch.bincount(row, minlength=count * tracks).double()
    return (torch.bincount(row[end - begin >= 2], minlength=count * tracks) / notes).reshape(count, tracks)


def paper_drum_pattern(rolls: Rolls, code: Literal["v1", "v2"] = "v1") -> Tensor:
    """Compute DP on a mask with a tolerance, for bars of 4/4.

    Args:
        rolls: the set.
        code: "v1": onsets on [1, .3, 0, 0, 0, .3] repeated, the best of 6 shifts, mean over the bars that are not
            empty; made for 96 steps a bar, here for any multiple of 6. A beat that is late as a whole counts as in the
            pattern. "v2": sounding *cells*, held ones included, on a mask with tolerance .1 that depends on the steps
            of a bar. At 16 steps it is [1, .1] repeated: random playing gets .55.

    Returns:
        float64 [roll, track] in 0..1; NaN for melodic tracks; without notes NaN in v1 and 0 in v2.

    Raises:
        DataError: bars of this many steps have no mask.
    """
    drums = torch.tensor([program == DRUMS for program in rolls.programs], device=rolls.device)
    bars, within = _bars(rolls)
    steps = bars.shape[3]
    period = _V1_PERIOD if code == "v1" else _V2_PERIODS.get(steps, ())
    if not period or steps % len(period):
        expected = "a multiple of 6" if code == "v1" else f"one of {', '.join(map(str, sorted(_V2_PERIODS)))}"
        raise DataError(f"bars of {steps} steps have no drum mask in the code of MuseGAN {code}, expected {expected}")
    mask = torch.tensor(period, dtype=torch.float64, device=rolls.device).repeat(steps // len(period))
    if code == "v1":
        onsets = (bars & ~functional.pad(bars, (0, 0, 1, 0))[..., :-1, :]).sum(4).double()
        masks = torch.stack([mask.roll(shift) for shift in range(6)], 1)
        share = _mean((onsets @ masks).amax(3) / onsets.sum(3), within & (onsets.sum(3) > 0))
    else:
        cells = bars.sum(4).double()
        share = ((cells @ mask).sum(2) / cells.sum((2, 3))).nan_to_num(0.0)
    return torch.where(drums, share, math.nan)


def paper_tonal_distance(rolls: Rolls, code: Literal["v1", "v2", "pypianoroll"] = "v1") -> Tensor:
    """Compute TD on groups of neighbouring semitones instead of pitch classes.

    Args:
        rolls: the set.
        code: "v1": mean over the beats of a bar, NaN if a track is silent in one of them; mean over the bars that are
            not NaN. "v2": mean over all beats, NaN if a track is silent in one. "pypianoroll": chroma normalised step
            by step, then summed over the *steps* of a beat with the weights that were meant for pitch classes, and the
            norm over all beats at once, which grows with the root of their number beyond the 2.83 of a tonal distance;
            NaN if a track is silent at one step.

    Returns:
        float64 [roll, pair].

    Raises:
        DataError: "pypianoroll" at other than 12 steps a beat, where its code stops with an error.
    """
    first, second = torch.tensor(pairs(rolls), dtype=torch.int64, device=rolls.device).reshape(-1, 2).unbind(1)
    matrix = tonal_matrix(rolls.device)
    bars, within = _bars(rolls)
    chroma = _grouped(bars).double().reshape(*bars.shape[:3], rolls.beats_per_bar, rolls.steps_per_beat, 12)
    if code == "pypianoroll":
        if rolls.steps_per_beat != 12:
            raise DataError(
                f"{rolls.steps_per_beat} steps a beat, but pypianoroll's tonal distance is defined for 12 only"
            )
        centroid = torch.einsum("is,rtbqsc->rtbqic", matrix, chroma / chroma.sum(5, keepdim=True))
        distance = (centroid[:, first] - centroid[:, second]).square().sum((4, 5))
        return torch.where(within[..., None], distance, 0.0).sum((2, 3)).sqrt()
    beats = chroma.sum(4)
    centroid = beats / beats.sum(4, keepdim=True) @ matrix.T
    distance = torch.linalg.vector_norm(centroid[:, first] - centroid[:, second], dim=4).mean(3)
    return _mean(distance, within & ~distance.isnan() if code == "v1" else within)


def _sounding(rolls: Rolls) -> Tensor:
    """Return which cells sound, bool [roll, track, step, pitch]."""
    return (rolls.velocity.detach() > 0) & rolls.support


def _bars(rolls: Rolls) -> tuple[Tensor, Tensor]:
    """Return which cells sound, bool [roll, track, bar, step, pitch], and which bars a roll has, bool [roll, 1,
    bar].
    """
    size = rolls.steps_per_beat * rolls.beats_per_bar
    sounds = _sounding(rolls)
    bars = functional.pad(sounds, (0, 0, 0, -sounds.shape[2] % size))
    bars = bars.reshape(*sounds.shape[:2], -1, size, sounds.shape[3])
    within = torch.arange(bars.shape[2], device=bars.device) < -(-rolls.lengths[:, None] // size)
    return bars, within[:, None]


def _grouped(bars: Tensor) -> Tensor:
    """Return the published code's "chroma" [..., 12]: sounding cells in 12 runs of neighbouring pitches.

    For 128 pitches, as pypianoroll does it: runs of 10, the last 8 pitches added to every run. Otherwise pitches are
    padded to the next multiple of 12, as v2 does.
    """
    pitches = bars.shape[-1]
    runs = bars[..., :120] if pitches == 128 else functional.pad(bars, (0, -pitches % 12))
    sums: Tensor = runs.reshape(*bars.shape[:-1], 12, -1).sum(-1)
    return sums + bars[..., 120:].sum(-1, keepdim=True) if pitches == 128 else sums


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over bars [roll, track, bar] -> [roll, track] where the mask is true; NaN where it nowhere is."""
    mask = mask.expand_as(values)
    return torch.where(mask, values, 0.0).sum(2) / mask.sum(2)
