"""Metrics of multi-track music as in MuseGAN and muspy, for whole sets of rolls at once.

* Metrics by track, float64 [roll, track] (`tonal_distance`: [roll, pair]), from `symbolic_tracks`, which states their
  conventions. A bar is `beats_per_bar * steps_per_beat` steps.
* `paper_*`: the same as published code computes them, errors included, from `symbolic_paper`.
* `overall` treats a piece as a whole, as muspy does; `describe` is the column of a table.
* `random_notes` and `shuffled_tracks`, the reference rows of every table, and `features` and `overlapped_area`, which
  compare sets, from `symbolic_sets`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.api import Rolls
from bench.metrics.symbolic_events import Events, events, merged
from bench.metrics.symbolic_paper import (
    paper_drum_pattern,
    paper_empty_bar_rate,
    paper_pitches_used,
    paper_qualified_notes,
    paper_tonal_distance,
    paper_used_pitch_classes,
)
from bench.metrics.symbolic_sets import features, overlapped_area, random_notes, shuffled_tracks
from bench.metrics.symbolic_tracks import (
    drum_pattern,
    empty_bar_rate,
    empty_beat_rate,
    groove_consistency,
    mean_duration,
    notes_per_bar,
    pairs,
    pitch_class_entropy,
    pitch_classes_used,
    pitch_entropy,
    pitch_range,
    pitches_used,
    polyphony,
    polyphony_rate,
    qualified_notes,
    scale_consistency,
    tonal_distance,
    tonal_matrix,
    used_pitch_classes,
)

__all__ = [
    "describe", "drum_pattern", "empty_bar_rate", "empty_beat_rate", "features", "groove_consistency", "mean_duration",
    "notes_per_bar", "overall", "overlapped_area", "pairs", "paper_drum_pattern", "paper_empty_bar_rate",
    "paper_pitches_used", "paper_qualified_notes", "paper_tonal_distance", "paper_used_pitch_classes",
    "pitch_class_entropy", "pitch_classes_used", "pitch_entropy", "pitch_range", "pitches_used", "polyphony",
    "polyphony_rate", "qualified_notes", "random_notes", "scale_consistency", "shuffled_tracks", "tonal_distance",
    "tonal_matrix", "used_pitch_classes",
]  # fmt: skip

_TRACK_METRICS = {
    "EB": empty_bar_rate,
    "UPC": used_pitch_classes,
    "QN": qualified_notes,
    "polyphony": polyphony,
    "notes a bar": notes_per_bar,
}


def describe(rolls: Rolls) -> dict[str, float]:
    """Average all metrics over the set, for tables.

    Args:
        rolls: the set. A track without a name of its own is called "track 0" and so on.

    Returns:
        Name -> mean over the rolls in which the metric is defined, NaN where there is none: "EB[bass]",
        "polyphony[bass]", "notes a bar[bass]" for every track, "UPC[bass]" and "QN[bass]" for melodic ones, "DP" if
        there are drums, "TD[bass-piano]" for every pair of melodic tracks (names in alphabetical order), and all that
        `overall` has.

    Raises:
        DataError: the set is empty.
    """
    metrics = _joined([_by_track(block, _names(rolls)) | _piece_metrics(block) for block in events(rolls)])
    return {name: float(values.nanmean()) for name, values in metrics.items()}


def overall(rolls: Rolls) -> dict[str, Tensor]:
    """Compute the metrics of muspy: pitch for the melodic tracks as one, time for all tracks as one.

    Args:
        rolls: the set.

    Returns:
        Name of the metric, with spaces -> float64 [roll]; NaN where the metric has it.

    Raises:
        DataError: the set is empty.
    """
    return _joined([_piece_metrics(block) for block in events(rolls)])


def _piece_metrics(block: Events) -> dict[str, Tensor]:
    melodic = merged(block)
    everything = merged(block, drums=True) if bool(block.drums.any()) else melodic
    metrics = {
        "pitch range": pitch_range(melodic),
        "pitches used": pitches_used(melodic),
        "pitch classes used": pitch_classes_used(melodic),
        "pitch entropy": pitch_entropy(melodic),
        "pitch class entropy": pitch_class_entropy(melodic),
        "scale consistency": scale_consistency(melodic),
        "polyphony": polyphony(melodic),
        "polyphony rate": polyphony_rate(melodic),
        "empty beat rate": empty_beat_rate(everything),
        "empty bar rate": empty_bar_rate(everything),
        "groove consistency": groove_consistency(everything),
    }
    return {name: values[:, 0] for name, values in metrics.items()}


def _by_track(block: Events, names: list[str]) -> dict[str, Tensor]:
    metrics = {
        f"{metric}[{name}]": values
        for metric, compute in _TRACK_METRICS.items()
        for name, values, drums in zip(names, compute(block).unbind(1), block.drums.tolist(), strict=True)
        if not (drums and metric in ("UPC", "QN"))
    }
    if bool(block.drums.any()):
        metrics["DP"] = drum_pattern(block)[:, block.drums].flatten()
    for (first, second), values in zip(pairs(block), tonal_distance(block).unbind(1), strict=True):
        metrics[f"TD[{'-'.join(sorted((names[first], names[second])))}]"] = values
    return metrics


def _joined(blocks: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the metrics of blocks of rolls."""
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def _names(rolls: Rolls) -> list[str]:
    """Return a name for each track; "track N" where it has none of its own."""
    track_names = rolls.tracks or ("",) * len(rolls.programs)
    return [
        name if name and track_names.count(name) == 1 else f"track {track}" for track, name in enumerate(track_names)
    ]
