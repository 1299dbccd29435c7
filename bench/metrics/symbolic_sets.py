"""Compare sets of rolls: features of a roll, the overlap of two sets, and the reference rows of tables.

`random_notes` and `shuffled_tracks` are rows of every table of symbolic metrics beside the real set. A metric that does
not separate them from the real set cannot evaluate a model either: MuseGAN's tonal distance changes by only 0.02 to 0.1
when the tracks of different songs are combined.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Generator, Tensor

from bench.api import Rolls
from bench.errors import DataError
from bench.metrics.symbolic_events import Events, events
from bench.metrics.symbolic_tracks import (
    drum_pattern,
    empty_bar_rate,
    mean_duration,
    notes_per_bar,
    polyphony,
    qualified_notes,
    tonal_distance,
    used_pitch_classes,
)
from bench.notes.rolls import DRUMS, grid, notes_of

__all__ = ["features", "overlapped_area", "random_notes", "shuffled_tracks"]

_ROUNDS = 100  # most redraws of notes that overlap another
_ROWS = 200  # most rows of either set for an overlapped area
_POINTS = 1024  # at which its densities are evaluated


def features(rolls: Rolls) -> Tensor:
    """Describe each roll by features in 0..1, for distances between sets of rolls.

    In this order, each for all tracks, or for the melodic ones (*): EB; QN*; UPC / 12*; notes a bar n as n / (n + 4);
    polyphony p as p / (p + 1); mean duration d in beats as d / (d + 1); the histograms of the notes' pitch classes
    [12]* and of their positions in the bar [step]; then DP of drums, and TD / (2 sqrt(2)) of pairs. x / (x + c) is the
    logistic function of log x, so that equal ratios count alike and no feature is unbounded.

    Args:
        rolls: The set. Two sets are comparable where their tracks, bars and steps a beat are the same.

    Returns:
        float32 [roll, feature]. Undefined shares and distances (QN, DP, TD) are 0.5, the middle of their range; in a
        silent track EB is 1 and all else 0.

    Raises:
        DataError: The set is empty.
    """
    return torch.cat([_features(block) for block in events(rolls)])


def overlapped_area(a: Tensor, b: Tensor) -> float:
    """Compare the distances from a to b with those within a.

    Euclidean distances of all pairs within a, and of all pairs of a and b; a Gaussian kernel density (Scott's rule) of
    each; the area under the lower of the two. Yang and Lerch, Neural Computing and Applications 2020, for one feature
    or for a vector of them.

    Args:
        a: the reference, [n] or [n, feature].
        b: what is compared with it, [m] or [m, feature]. At most 200 rows of either set are used, evenly spread.

    Returns:
        The area in 0..1: 1 where b is like more of a, 0 where nothing is alike. Where all distances of one kind are the
        same number, 1 if those of both kinds are that number, else 0.

    Raises:
        DataError: fewer than 3 rows of a, no row of b, features that do not fit, or values that are not finite.
    """
    from scipy.stats import gaussian_kde

    a, b = (rows.detach().double().cpu().reshape(len(rows), -1) for rows in (a, b))
    if len(a) < 3 or len(b) < 1 or a.shape[1] != b.shape[1]:
        raise DataError(
            f"rows of shape {tuple(a.shape)} and {tuple(b.shape)}, expected at least 3 and 1 rows of equal width"
        )
    if not bool(a.isfinite().all() & b.isfinite().all()):
        raise DataError("rows hold NaN or infinity, expected finite features")
    a, b = (rows[torch.linspace(0, len(rows) - 1, min(len(rows), _ROWS)).round().long()] for rows in (a, b))
    distances_within, distances_between = torch.nn.functional.pdist(a), torch.cdist(a, b).flatten()
    if float(distances_within.std()) < 1e-9 or float(distances_between.std()) < 1e-9:
        return float(
            bool((distances_within - distances_between.mean()).abs().max() < 1e-9 and distances_between.std() < 1e-9)
        )
    densities = [gaussian_kde(distances.numpy()) for distances in (distances_within, distances_between)]
    margin = 4 * max(math.sqrt(float(density.covariance[0, 0])) for density in densities)
    everything = torch.cat([distances_within, distances_between])
    points = torch.linspace(float(everything.min()) - margin, float(everything.max()) + margin, _POINTS).double()
    lower = torch.stack([torch.from_numpy(density(points.numpy())) for density in densities]).amin(0)
    return float(torch.trapezoid(lower, points))


def random_notes(rolls: Rolls, rng: Generator) -> Rolls:
    """Move every note to a random pitch and onset; durations, velocities and the number of notes are unchanged.

    The pitch of a note is uniform over the pitches that the set uses (for drums, those of drums; for melodic tracks,
    those of melodic ones), its onset over all steps from which it still fits into the roll. A note that overlaps
    another of its track and pitch is drawn again, up to 100 times; then `grid` cuts the earlier note.

    Args:
        rolls: The set.
        rng: Random numbers.

    Returns:
        Rolls in the shape of `rolls`.
    """
    notes = notes_of(rolls)
    device = notes.roll.device
    drums = torch.tensor([program == DRUMS for program in rolls.programs], device=device)[notes.track]
    used_pitches = [torch.bincount(notes.pitch[drums == kind]).nonzero()[:, 0] for kind in (False, True)]
    pools = torch.cat(used_pitches)
    first, size = drums * len(used_pitches[0]), torch.where(drums, len(used_pitches[1]), len(used_pitches[0]))
    onsets = rolls.lengths[notes.roll] - notes.duration + 1
    steps = rolls.velocity.shape[2] + 1
    start, pitch = notes.start.clone(), notes.pitch.clone()
    redraw = torch.arange(len(notes), device=device)
    for _ in range(_ROUNDS):
        uniform = torch.rand(2, len(redraw), generator=rng, device=rng.device, dtype=torch.float64).to(device)
        start[redraw] = (uniform[0] * onsets[redraw]).long()
        pitch[redraw] = pools[first[redraw] + (uniform[1] * size[redraw]).long()]
        key = ((notes.roll * len(rolls.programs) + notes.track) * 128 + pitch) * steps
        order = (key + start).argsort()
        # A note overlaps if an earlier one still sounds: compare with the running maximum of earlier ends.
        end = (key + start + notes.duration)[order].cummax(0)[0]
        redraw = order[1:][(key + start)[order][1:] < end[:-1]]
        if len(redraw) == 0:
            break
    count, tracks, length, pitches = rolls.velocity.shape
    new_notes = replace(notes, start=start, pitch=pitch)
    velocity, onset = grid(new_notes, count, tracks, length, rolls.lowest, pitches)
    return replace(rolls, velocity=velocity, onset=onset)


def shuffled_tracks(rolls: Rolls, rng: Generator) -> Rolls:
    """Combine tracks of different rolls: no two tracks of a roll come from the same roll, and none is used twice.

    Args:
        rolls: the set.
        rng: random numbers.

    Returns:
        Rolls that keep their first track and their length; a longer track is cut, a shorter one ends early.

    Raises:
        DataError: fewer rolls than tracks.
    """
    count, tracks = rolls.velocity.shape[:2]
    if count < tracks:
        raise DataError(f"{count} rolls of {tracks} tracks, expected at least as many rolls as tracks")
    # With the rolls in a random cyclic order, track t of a roll comes from the roll t places later.
    ring = torch.randperm(count, generator=rng, device=rng.device).to(rolls.device)
    slot = ring.argsort()
    source = ring[(slot[:, None] + torch.arange(tracks, device=rolls.device)) % count]
    track = torch.arange(tracks, device=rolls.device)
    within = rolls.support
    onset = rolls.onset[source, track]
    return replace(rolls, velocity=rolls.velocity[source, track] * within, onset=onset & within)


def _features(block: Events) -> Tensor:
    melodic = ~block.drums
    classes = block.classes[:, melodic]
    onsets = block.count(block.note_row, (block.start % block.bar, block.bar))
    per_bar, together, lasting = notes_per_bar(block), polyphony(block), mean_duration(block)
    columns = [
        empty_bar_rate(block).nan_to_num(1.0),
        qualified_notes(block)[:, melodic].nan_to_num(0.5),
        used_pitch_classes(block)[:, melodic].nan_to_num(0.0) / 12,
        (per_bar / (per_bar + 4)).nan_to_num(0.0),
        (together / (together + 1)).nan_to_num(0.0),
        (lasting / (lasting + 1)).nan_to_num(0.0),
        (classes / classes.sum(2, keepdim=True)).nan_to_num(0.0).flatten(1),
        (onsets / onsets.sum(2, keepdim=True)).nan_to_num(0.0).flatten(1),
        drum_pattern(block)[:, block.drums].nan_to_num(0.5),
        tonal_distance(block).nan_to_num(math.sqrt(2)) / math.sqrt(8),
    ]
    return torch.cat(columns, 1).float()
