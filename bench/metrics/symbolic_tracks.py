"""Symbolic metrics of single tracks, by their published definitions; `symbolic` collects, describes and compares them.

Conventions
-----------

* A metric takes `Rolls`, or the `Events` of some of them, and returns float64 [roll, track] (tonal distance: [roll,
  pair]); NaN where it is undefined, as each docstring says. No metric has a gradient. Every metric raises `DataError`
  for an empty set.
* Only steps within `lengths` count. A bar or beat that the length cuts short counts as a whole one.
* A cell sounds where its velocity is above 0; notes are those of `bench.notes.rolls`. Drums are program 128; their
  "pitch" is an instrument, so metrics of pitch are NaN for drums.

MuseGAN: Dong et al., AAAI 2018, arXiv 1709.06298; muspy: Dong et al., ISMIR 2020.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from bench.api import Rolls
from bench.metrics.symbolic_events import Events, of_rolls
from bench.notes.rolls import DRUMS

__all__ = [
    "drum_pattern", "empty_bar_rate", "empty_beat_rate", "groove_consistency", "mean_duration", "notes_per_bar",
    "pairs", "pitch_class_entropy", "pitch_classes_used", "pitch_entropy", "pitch_range", "pitches_used", "polyphony",
    "polyphony_rate", "qualified_notes", "scale_consistency", "tonal_distance", "tonal_matrix", "used_pitch_classes",
]  # fmt: skip

_MAJOR = (0, 2, 4, 5, 7, 9, 11)


@of_rolls
def empty_bar_rate(music: Events) -> Tensor:
    """Compute EB, the share of bars without a sounding cell; a held note sounds.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..1; NaN for a roll of no length.
    """
    return _empty(music, music.bar)


@of_rolls
def empty_beat_rate(music: Events) -> Tensor:
    """Compute the share of beats without a sounding cell.

    muspy counts one beat too many where the music ends on a beat, and counts a beat as sounding in which a note only
    ends.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..1; NaN for a roll of no length.
    """
    return _empty(music, music.steps_per_beat)


@of_rolls
def used_pitch_classes(music: Events) -> Tensor:
    """Compute UPC, the distinct pitch classes (pitch % 12) in a bar, mean over the bars that are not empty.

    Empty bars are left out as in MuseGAN's tables, so that UPC and EB do not measure the same. A held note counts in
    every bar in which it sounds.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..12; NaN for drums and for a silent track.
    """
    bars = max(1, int(music.spans(music.bar).max()))
    classes = (music.count(music.row, (music.step // music.bar, bars), (music.pitch % 12, 12)) > 0).sum(3).double()
    return _melodic(music, classes.sum(2) / (classes > 0).sum(2))


@of_rolls
def qualified_notes(music: Events, least: int | None = None) -> Tensor:
    """Compute QN, the share of notes of at least `least` steps; low where music is fragmented.

    The paper's threshold is 3 steps of 24 a beat, a 32nd note; the published code has 2 steps of 12. At 4 steps a beat
    a threshold of 3 would be a dotted eighth, and ordinary eighths would count as fragments.

    Args:
        music: rolls, or the events of some of them.
        least: steps; by default a 32nd note, but at least 2 steps: 3 at 24 steps a beat, 2 at 12 and at 4.

    Returns:
        float64 [roll, track] in 0..1; NaN for drums and for a track without notes. Values at different steps a beat
        do not compare.
    """
    least = max(2, -(-music.steps_per_beat // 8)) if least is None else least
    row = music.note_row
    return _melodic(music, music.count(row[music.duration >= least]) / music.count(row))


@of_rolls
def drum_pattern(music: Events, pulses: int | None = None) -> Tensor:
    """Compute DP, the share of drum notes that begin on a pulse, without tolerance or shift.

    MuseGAN's 16-beat pattern has 4 pulses a beat, its 8-beat pattern 2; `symbolic_paper` has its tolerance and its
    shift.

    Args:
        music: rolls, or the events of some of them.
        pulses: of a beat; by default the first of 4, 2, 3 that divides the steps of a beat and is fewer, else 1: 4 at
            24, 12 and 8 steps a beat, 2 at 4 and 6.

    Returns:
        float64 [roll, track] in 0..1; NaN for melodic tracks and for drums without a note.
    """
    beat = music.steps_per_beat
    if pulses is None:
        pulses = next((number for number in (4, 2, 3) if beat % number == 0 and beat > number), 1)
    # On a pulse: at a multiple of 1 / pulses of a beat, in whole numbers.
    on_pulse = (music.start * pulses) % beat == 0
    row = music.note_row
    return torch.where(music.drums, music.count(row[on_pulse]) / music.count(row), math.nan)


@of_rolls
def tonal_distance(music: Events) -> Tensor:
    """Compute TD, the distance of two tracks in tonal space: mean over the beats in which both sound.

    The chroma of a beat (sounding cells by pitch class), normalised to sum 1, is mapped by `tonal_matrix`; the distance
    is the L2 norm of the difference. Harte, Sandler and Gasser, AMCMM 2006.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, pair] in 0..2.83 (2 sqrt(2), a tritone), pairs as in `pairs`, melodic tracks only; NaN where two
        tracks never sound in the same beat.
    """
    beats = max(1, int(music.spans(music.steps_per_beat).max()))
    chroma = music.count(music.row, (music.step // music.steps_per_beat, beats), (music.pitch % 12, 12))
    total = chroma.sum(3)
    centroid = chroma / total.clamp(min=1)[..., None] @ tonal_matrix(chroma.device).T
    first, second = torch.tensor(pairs(music), dtype=torch.int64, device=chroma.device).reshape(-1, 2).unbind(1)
    both_sound = (total[:, first] > 0) & (total[:, second] > 0)
    distance: Tensor = torch.linalg.vector_norm(centroid[:, first] - centroid[:, second], dim=3)
    return (distance * both_sound).sum(2) / both_sound.sum(2)


@of_rolls
def polyphony(music: Events) -> Tensor:
    """Compute the pitches that sound at once: mean over the steps in which any sounds.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track], at least 1; NaN for a silent track.
    """
    return music.count(music.row) / (music.sounding > 0).sum(2)


@of_rolls
def polyphony_rate(music: Events, least: int = 2) -> Tensor:
    """Compute the share of all steps in which at least `least` pitches sound, MuseGAN's polyphonicity.

    Args:
        music: rolls, or the events of some of them.
        least: pitches; muspy states the limit 2 but counts steps of more than two, which is `least` = 3.

    Returns:
        float64 [roll, track] in 0..1; NaN for a roll of no length.
    """
    return (music.sounding >= least).sum(2) / music.lengths.double()[:, None]


@of_rolls
def scale_consistency(music: Events) -> Tensor:
    """Compute the share of notes in the major or minor scale that holds most of them.

    A natural minor scale has the pitches of a major one, so 12 scales are tried.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..1; NaN for drums and for a track without notes.
    """
    root, degree = torch.arange(12)[:, None], torch.tensor(_MAJOR)
    scales = torch.zeros(12, 12, dtype=torch.float64).scatter(1, (root + degree) % 12, 1.0).to(music.lengths.device)
    return _melodic(music, (music.classes @ scales.T).amax(2) / music.classes.sum(2))


@of_rolls
def pitch_range(music: Events) -> Tensor:
    """Compute the semitones from the lowest pitch to the highest.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track]; NaN for drums and for a silent track.
    """
    sounds = music.pitches > 0
    lowest, highest = sounds.byte().argmax(2), 127 - sounds.byte().flip(2).argmax(2)
    return _melodic(music, torch.where(sounds.any(2), (highest - lowest).double(), math.nan))


@of_rolls
def pitches_used(music: Events) -> Tensor:
    """Count distinct pitches.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track], 0 for a silent track; NaN for drums.
    """
    return _melodic(music, (music.pitches > 0).sum(2).double())


@of_rolls
def pitch_classes_used(music: Events) -> Tensor:
    """Count distinct pitch classes in the whole roll.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..12, 0 for a silent track; NaN for drums.
    """
    return _melodic(music, (music.classes > 0).sum(2).double())


@of_rolls
def pitch_entropy(music: Events) -> Tensor:
    """Compute the entropy of the pitches of the notes.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track], bits; NaN for drums and for a track without notes.
    """
    return _melodic(music, _entropy(music.pitches))


@of_rolls
def pitch_class_entropy(music: Events) -> Tensor:
    """Compute the entropy of the pitch classes of the notes.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..3.58 bits; NaN for drums and for a track without notes.
    """
    return _melodic(music, _entropy(music.classes))


@of_rolls
def groove_consistency(music: Events) -> Tensor:
    """Compute 1 minus the share of steps at which only one of two neighbouring bars has an onset.

    Wu and Yang, ISMIR 2020. muspy counts one bar too many where the music ends on a bar line.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track] in 0..1, mean over neighbouring bars; NaN for fewer than two bars.
    """
    bars = music.spans(music.bar)
    most = max(1, int(bars.max()))
    start = music.start
    onsets = music.count(music.note_row, (start // music.bar, most), (start % music.bar, music.bar)) > 0
    within = torch.arange(1, most, device=bars.device) < bars[:, None]
    changed = ((onsets[:, :, 1:] != onsets[:, :, :-1]).sum(3) * within[:, None]).sum(2)
    return 1 - changed / (bars.clamp(min=1) - 1).double()[:, None] / music.bar


@of_rolls
def notes_per_bar(music: Events) -> Tensor:
    """Compute notes over bars, empty bars included.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track]; NaN for a roll of no length.
    """
    return music.count(music.note_row) / music.spans(music.bar).double()[:, None]


@of_rolls
def mean_duration(music: Events) -> Tensor:
    """Compute the mean duration of a note.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        float64 [roll, track], beats; NaN for a track without notes.
    """
    row = music.note_row
    steps = torch.bincount(row, music.duration.double(), math.prod(music.shape)).reshape(music.shape)
    return steps / music.count(row) / music.steps_per_beat


def pairs(music: Rolls | Events) -> list[tuple[int, int]]:
    """List the pairs of melodic tracks, the columns of `tonal_distance`.

    Args:
        music: rolls, or the events of some of them.

    Returns:
        Track numbers, the lower one first.
    """
    return list(combinations([track for track, program in enumerate(music.programs) if program != DRUMS], 2))


def tonal_matrix(device: torch.device | str = "cpu") -> Tensor:
    """Return the map from chroma to tonal space: circles of fifths, minor and major thirds, radii 1, 1 and 0.5.

    Args:
        device: where the matrix lies.

    Returns:
        float64 [6, 12]: coordinate, pitch class. Harte, Sandler and Gasser, AMCMM 2006.
    """
    classes = torch.arange(12, dtype=torch.float64, device=device)
    circles = [(1.0, 7 / 6), (1.0, 3 / 2), (0.5, 2 / 3)]
    return torch.stack(
        [radius * turn(classes * step * math.pi) for radius, step in circles for turn in (torch.sin, torch.cos)]
    )


def _empty(music: Events, size: int) -> Tensor:
    return 1 - (music.sounding_in(size) > 0).sum(2) / music.spans(size).double()[:, None]


def _melodic(music: Events, values: Tensor) -> Tensor:
    return torch.where(music.drums, math.nan, values)


def _entropy(counts: Tensor) -> Tensor:
    share = counts / counts.sum(2, keepdim=True)
    bits: Tensor = -torch.xlogy(share, share).sum(2) / math.log(2)
    return bits
