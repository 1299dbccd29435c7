"""Symbolic metrics by track, right as they are defined: what `symbolic` gathers, describes and compares.

Conventions
-----------
* A metric takes `Rolls`, or the `Events` of some of them, and gives float64 [roll, track] (tonal distance:
  [roll, pair]); NaN where it is undefined, which each docstring says. Nothing here has a gradient. Raises `DataError`
  for an empty set.
* Only steps within `lengths` count. A bar or a beat that the length cuts short counts as one.
* A cell sounds where its velocity is above 0; notes are those of `bench.notes.rolls`. Drums are program 128; a drum
  "pitch" names an instrument, so what is about pitch is NaN for drums.

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
    """EB [roll, track]: the share of bars without a sounding cell, held notes included. NaN for a roll of no length."""
    return _empty(music, music.bar)


@of_rolls
def empty_beat_rate(music: Events) -> Tensor:
    """[roll, track]: the share of beats without a sounding cell. NaN for a roll of no length.

    muspy counts one beat too many where the music ends on a beat, and takes a beat for sounding in which a note ends
    at once.
    """
    return _empty(music, music.steps_per_beat)


@of_rolls
def used_pitch_classes(music: Events) -> Tensor:
    """UPC [roll, track]: distinct pitch classes (pitch % 12) in a bar, 0..12, mean over the bars that are not empty.

    Empty bars are left out as in MuseGAN's tables, so that UPC and EB do not measure the same. A held note counts in
    every bar in which it sounds. NaN for drums and for a silent track.
    """
    bars = max(1, int(music.spans(music.bar).max()))
    classes = (music.count(music.row, (music.step // music.bar, bars), (music.pitch % 12, 12)) > 0).sum(3).double()
    return _melodic(music, classes.sum(2) / (classes > 0).sum(2))


@of_rolls
def qualified_notes(music: Events, least: int | None = None) -> Tensor:
    """QN [roll, track]: the share of notes of at least `least` steps. NaN for drums and for a track without notes.

    It shows music that is cut to pieces. The paper's threshold is 3 steps of 24 a beat, a 32nd note; the published code
    has 2 steps of 12. By default `least` is a 32nd note, and 2 steps where the grid is too coarse for it, since no note
    is shorter than one: 3 steps at 24 a beat, 2 at 12, and 2 (an eighth note) at 4. There 3 steps would be a dotted
    eighth, and ordinary eighths would count as fragments. Values at different steps a beat do not compare.
    """
    least = max(2, -(-music.steps_per_beat // 8)) if least is None else least
    row = music.note_row
    return _melodic(music, music.count(row[music.duration >= least]) / music.count(row))


@of_rolls
def drum_pattern(music: Events, pulses: int | None = None) -> Tensor:
    """DP [roll, track]: the share of drum notes that begin on a pulse, `pulses` of them a beat.

    NaN for melodic tracks and for drums without a note. MuseGAN's 16-beat pattern has 4 pulses a beat, its 8-beat
    pattern 2. By default 4 where the grid is finer than that, else 2, 3 or 1, always fewer than the steps of a beat:
    4 at 24, 12 and 8 steps a beat, 2 at 4 and 6. Neither a tolerance nor a shift: see `symbolic_paper` for those.
    """
    beat = music.steps_per_beat
    if pulses is None:
        pulses = next((number for number in (4, 2, 3) if beat % number == 0 and beat > number), 1)
    # On a pulse: at a multiple of 1 / pulses of a beat, in whole numbers.
    on = (music.start * pulses) % beat == 0
    row = music.note_row
    return torch.where(music.drums, music.count(row[on]) / music.count(row), math.nan)


@of_rolls
def tonal_distance(music: Events) -> Tensor:
    """TD [roll, pair]: distance of two tracks in Harte's tonal space, mean over the beats in which both sound, 0..2.83.

    A beat's chroma (sounding cells by pitch class) is normalised to sum 1 and mapped by `tonal_matrix`; L2 norm of the
    difference. The largest distance, 2 sqrt(2), is a tritone's. The pairs are those of `pairs`: melodic tracks only.
    NaN where two tracks never sound in the same beat. Harte, Sandler and Gasser, AMCMM 2006.
    """
    beats = max(1, int(music.spans(music.steps_per_beat).max()))
    chroma = music.count(music.row, (music.step // music.steps_per_beat, beats), (music.pitch % 12, 12))
    total = chroma.sum(3)
    centroid = chroma / total.clamp(min=1)[..., None] @ tonal_matrix(chroma.device).T
    first, second = torch.tensor(pairs(music), dtype=torch.int64, device=chroma.device).reshape(-1, 2).unbind(1)
    both = (total[:, first] > 0) & (total[:, second] > 0)
    apart: Tensor = torch.linalg.vector_norm(centroid[:, first] - centroid[:, second], dim=3)
    return (apart * both).sum(2) / both.sum(2)


@of_rolls
def polyphony(music: Events) -> Tensor:
    """[roll, track]: pitches that sound at once, mean over the steps in which any does. NaN for a silent track."""
    return music.count(music.row) / (music.sounding > 0).sum(2)


@of_rolls
def polyphony_rate(music: Events, least: int = 2) -> Tensor:
    """[roll, track]: the share of all steps in which at least `least` pitches sound. NaN for a roll of no length.

    MuseGAN's polyphonicity. muspy calls the limit 2 and then counts steps of more than two: `least` = 3.
    """
    return (music.sounding >= least).sum(2) / music.lengths.double()[:, None]


@of_rolls
def scale_consistency(music: Events) -> Tensor:
    """[roll, track]: the share of notes in the major or minor scale that holds most of them.

    NaN for drums and for a track without notes. A natural minor scale has the pitches of a major one: 12 scales.
    """
    root, degree = torch.arange(12)[:, None], torch.tensor(_MAJOR)
    scales = torch.zeros(12, 12, dtype=torch.float64).scatter(1, (root + degree) % 12, 1.0).to(music.lengths.device)
    return _melodic(music, (music.classes @ scales.T).amax(2) / music.classes.sum(2))


@of_rolls
def pitch_range(music: Events) -> Tensor:
    """[roll, track]: semitones from the lowest pitch to the highest. NaN for drums and for a silent track."""
    used = music.pitches > 0
    lowest, highest = used.byte().argmax(2), 127 - used.byte().flip(2).argmax(2)
    return _melodic(music, torch.where(used.any(2), (highest - lowest).double(), math.nan))


@of_rolls
def pitches_used(music: Events) -> Tensor:
    """[roll, track]: distinct pitches. NaN for drums, 0 for a silent track."""
    return _melodic(music, (music.pitches > 0).sum(2).double())


@of_rolls
def pitch_classes_used(music: Events) -> Tensor:
    """[roll, track]: distinct pitch classes in the whole roll, 0..12. NaN for drums, 0 for a silent track."""
    return _melodic(music, (music.classes > 0).sum(2).double())


@of_rolls
def pitch_entropy(music: Events) -> Tensor:
    """[roll, track]: entropy of the notes' pitches, bits. NaN for drums and for a track without notes."""
    return _melodic(music, _entropy(music.pitches))


@of_rolls
def pitch_class_entropy(music: Events) -> Tensor:
    """[roll, track]: entropy of the notes' pitch classes, 0..3.58 bits. NaN for drums and for a track without notes."""
    return _melodic(music, _entropy(music.classes))


@of_rolls
def groove_consistency(music: Events) -> Tensor:
    """[roll, track]: 1 minus the share of steps at which one bar has an onset and the next has none, or the reverse.

    Mean over neighbouring bars; NaN for fewer than two bars. Wu and Yang, ISMIR 2020. muspy counts one bar too many
    where the music ends on a bar line.
    """
    bars = music.spans(music.bar)
    most = max(1, int(bars.max()))
    start = music.start
    onsets = music.count(music.note_row, (start // music.bar, most), (start % music.bar, music.bar)) > 0
    inside = torch.arange(1, most, device=bars.device) < bars[:, None]
    changed = ((onsets[:, :, 1:] != onsets[:, :, :-1]).sum(3) * inside[:, None]).sum(2)
    return 1 - changed / (bars.clamp(min=1) - 1).double()[:, None] / music.bar


@of_rolls
def notes_per_bar(music: Events) -> Tensor:
    """[roll, track]: notes over bars, the empty ones included. NaN for a roll of no length."""
    return music.count(music.note_row) / music.spans(music.bar).double()[:, None]


@of_rolls
def mean_duration(music: Events) -> Tensor:
    """[roll, track]: mean duration of a note, beats. NaN for a track without notes."""
    row = music.note_row
    steps = torch.bincount(row, music.duration.double(), math.prod(music.shape)).reshape(music.shape)
    return steps / music.count(row) / music.steps_per_beat


def pairs(music: Rolls | Events) -> list[tuple[int, int]]:
    """The pairs of melodic tracks, the lower index first: the columns of `tonal_distance`."""
    return list(combinations([track for track, program in enumerate(music.programs) if program != DRUMS], 2))


def tonal_matrix(device: torch.device | str = "cpu") -> Tensor:
    """float64 [6, 12]: pitch classes on the circles of fifths, minor and major thirds; radii 1, 1 and 0.5."""
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
