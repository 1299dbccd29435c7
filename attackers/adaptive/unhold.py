"""Shortened held notes: in a track of one note at a time, each note ends where the next begins.

The response to HarmonyCloak's mode "hold", which makes the dominant pitch of a bar sound throughout the bar. Two traces
reveal it: a track that begins one note at a time has several that sound together, and a pitch that is first struck in
the middle of its bar has a soft note before that.

A track of a roll counts as one that plays one note at a time if a share `share` of the steps where it begins notes
begin just one. The noise itself begins a second one in many bars, so the share must not be near 1. Tracks of chords
stay as they are, since a held note may be genuine there. Drums have no durations, so their notes become one step long.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Adaptation, Rolls
from bench.notes.note_edits import medians, to_rolls
from bench.notes.rolls import DRUMS, Notes, notes_of


@dataclass(frozen=True)
class Unhold(Adaptation[Rolls]):
    """In monophonic tracks, remove soft overlapping notes and end each note where the next begins.

    Attributes:
        share: a track counts as monophonic if at least this share of its steps with onsets has a single one.
        softer: overlapping notes are removed below this share of the track's median velocity.
    """

    domains = ("midi",)
    preprocess = True

    share: float = 0.6
    softer: float = 0.5

    def __post_init__(self) -> None:
        if not (0.0 < self.share <= 1.0 and 0.0 <= self.softer <= 1.0):
            raise ValueError(
                f"share = {self.share}, softer = {self.softer}: expected more than 0 up to 1, and 0..1, "
                "such as 0.6 and 0.5"
            )

    def transform(self, data: Rolls, rng: Generator) -> Rolls:
        notes = notes_of(data)
        tracks, steps = data.velocity.shape[1:3]
        onset_count = _onset_counts(notes, data)
        single = (onset_count == 1).sum(2) >= self.share * (onset_count > 0).sum(2)  # [roll, track]
        drums = torch.tensor([program == DRUMS for program in data.programs], device=data.device)
        single = (single & ~drums)[notes.roll, notes.track]
        drum = drums[notes.track]

        median = medians(notes.velocity, notes.roll * tracks + notes.track)
        keep = ~(single & (notes.velocity < self.softer * median) & _overlaps(notes, data))
        notes, single, drum = notes[keep], single[keep], drum[keep]
        is_loudest = _loudest(notes, tracks, steps) | ~single
        notes, single, drum = notes[is_loudest], single[is_loudest], drum[is_loudest]

        duration = torch.where(single, torch.minimum(notes.duration, _until_next(notes, data)), notes.duration)
        duration = torch.where(drum, 1, duration)
        velocity = data.velocity[notes.roll, notes.track, notes.start, notes.pitch - data.lowest]
        shortened_notes = replace(notes, duration=duration, velocity=velocity)
        return to_rolls(shortened_notes, data)


def _onset_counts(notes: Notes, data: Rolls) -> Tensor:
    """Count the notes that begin: int64 [roll, track, step]."""
    count, tracks, steps, _ = data.velocity.shape
    cell = (notes.roll * tracks + notes.track) * steps + notes.start
    return torch.bincount(cell, minlength=count * tracks * steps).view(count, tracks, steps)


def _overlaps(notes: Notes, data: Rolls) -> Tensor:
    """Tell which notes sound together with another of their track: bool [note]."""
    is_polyphonic = (data.velocity.detach() > 0).sum(3) > 1
    count_before = functional.pad(is_polyphonic.cumsum(2), (1, 0))  # [roll, track, step]: such steps before each
    return count_before[notes.roll, notes.track, notes.end] > count_before[notes.roll, notes.track, notes.start]


def _loudest(notes: Notes, tracks: int, steps: int) -> Tensor:
    """Select the loudest, or first of equals, of the notes that begin together in a track: bool [note]."""
    cell = (notes.roll * tracks + notes.track) * steps + notes.start
    order = notes.velocity.argsort(descending=True, stable=True)
    order = order[cell[order].argsort(stable=True)]
    is_first = torch.ones_like(order, dtype=torch.bool)
    is_first[1:] = cell[order][1:] != cell[order][:-1]
    return torch.zeros_like(is_first).scatter(0, order, is_first)


def _until_next(notes: Notes, data: Rolls) -> Tensor:
    """Count the steps to the next onset of the same track: int64 [note]."""
    steps = data.velocity.shape[2]
    step = torch.arange(steps, device=data.device)
    onset_step = torch.where(_onset_counts(notes, data) > 0, step, steps)
    next_onset = functional.pad(onset_step, (0, 1), value=steps)[..., 1:].flip(2).cummin(2).values.flip(2)
    return next_onset[notes.roll, notes.track, notes.start] - notes.start
