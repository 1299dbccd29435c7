"""Metrics: pure functions from sets to numbers, one a clip or roll where possible.

Plugins may rely on the names below, and on `bench.metrics.audibility.audibility`, `bench.metrics.edits.edits` and the
metrics of single tracks in `bench.metrics.symbolic`.
"""

from bench.metrics.alignment import alignment_hash, misaligned
from bench.metrics.distance import distances, fad_infinity, frechet, kad, split_half_floor
from bench.metrics.embeddings import Embedding
from bench.metrics.learning import view_change
from bench.metrics.speech import pesq, speech_quality, stoi
from bench.metrics.styles import style_purity
from bench.metrics.symbolic import (
    describe,
    drum_pattern,
    empty_bar_rate,
    features,
    groove_consistency,
    notes_per_bar,
    overall,
    overlapped_area,
    pitch_class_entropy,
    pitch_range,
    polyphony,
    qualified_notes,
    random_notes,
    scale_consistency,
    shuffled_tracks,
    tonal_distance,
    used_pitch_classes,
)

__all__ = [
    "Embedding",
    "alignment_hash",
    "describe",
    "distances",
    "drum_pattern",
    "empty_bar_rate",
    "fad_infinity",
    "features",
    "frechet",
    "groove_consistency",
    "kad",
    "misaligned",
    "notes_per_bar",
    "overall",
    "overlapped_area",
    "pesq",
    "pitch_class_entropy",
    "pitch_range",
    "polyphony",
    "qualified_notes",
    "random_notes",
    "scale_consistency",
    "shuffled_tracks",
    "speech_quality",
    "split_half_floor",
    "stoi",
    "style_purity",
    "tonal_distance",
    "used_pitch_classes",
    "view_change",
]
