"""Pieces of music cut into windows of equal length, and their tracks gathered into the five of MuseGAN.

The five are drums, piano, guitar, bass and strings, by the families of General MIDI; strings are all other programs
(Dong et al., MuseGAN, AAAI 2018). A note held over the seam of two windows is in both: in the second it begins at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from bench.api import Rolls
from bench.notes.midi import DRUMS
from bench.notes.rolls import Notes, grid

__all__ = [
    "LOWEST", "PITCHES", "PROGRAMS", "TRACKS", "Window", "cut", "families", "folded", "in_turn", "joined",
    "rolls_of", "stacked",
]  # fmt: skip

LOWEST, PITCHES = 24, 84  # C1..B7, the range of MuseGAN

TRACKS = ("drums", "piano", "guitar", "bass", "strings")
PROGRAMS = (DRUMS, 0, 24, 32, 48)
_FAMILIES = {0: 1, 3: 2, 4: 3}  # General MIDI programs // 8 -> track; all others are strings


def families(programs: Sequence[int]) -> Tensor:
    """Map programs to the five tracks of MuseGAN.

    Args:
        programs: General MIDI 0..127, or 128 for drums, one a track.

    Returns:
        int64 [track], an index into `TRACKS`.
    """
    return torch.tensor([0 if program == DRUMS else _FAMILIES.get(program // 8, 4) for program in programs])


def cut(notes: Notes, steps: int) -> Notes:
    """Cut the notes of one piece into windows.

    Args:
        notes: of one piece; what ends before step 0 is left out.
        steps: of a window; the first one begins at step 0.

    Returns:
        Notes whose roll is the number of the window. Starts count from the beginning of the window; the start of a note
        held over the seam is negative, and its duration whole.
    """
    notes = notes[notes.end > 0]
    first = notes.start.clamp(min=0) // steps
    count = (notes.end - 1) // steps - first + 1
    note = torch.repeat_interleave(torch.arange(len(notes)), count)
    window = first[note] + torch.arange(len(note)) - (count.cumsum(0) - count)[note]
    return replace(notes[note], roll=window, start=notes.start[note] - window * steps)


def joined(parts: Sequence[Notes]) -> Notes:
    """Concatenate lists of notes, in order.

    Args:
        parts: any number of lists, also none.
    """
    empty = torch.zeros(0, dtype=torch.int64)
    every = [*parts, Notes(empty, empty, empty, empty, empty, torch.zeros(0))]
    return Notes(*(torch.cat([getattr(part, name) for part in every]) for name in Notes.__dataclass_fields__))


def stacked(windows: Sequence[Notes]) -> Notes:
    """Make one list of the notes of windows.

    Args:
        windows: the notes of each.

    Returns:
        All notes, those of the n-th window in roll n.
    """
    return joined([replace(notes, roll=torch.full_like(notes.roll, n)) for n, notes in enumerate(windows)])


def folded(notes: Notes, lowest: int, pitches: int) -> Notes:
    """Move notes outside a range into it by octaves.

    Args:
        notes: the notes.
        lowest: the lowest pitch of the range.
        pitches: its size, an octave at least.
    """
    below = (lowest - notes.pitch + 11).clamp(min=0).div(12, rounding_mode="floor")
    above = (notes.pitch - lowest - pitches + 12).clamp(min=0).div(12, rounding_mode="floor")
    return replace(notes, pitch=notes.pitch + 12 * below - 12 * above)


class Window(NamedTuple):
    """A window of a piece.

    Attributes:
        name: its id.
        group: its piece.
        notes: of this window alone, starts counted from its beginning.
        tempo: beats a minute.
    """

    name: str
    group: str
    notes: Notes  # of this window alone, starts counted from its beginning
    tempo: float  # beats a minute


def rolls_of(
    windows: Sequence[Window], steps: int, steps_per_beat: int, tracks: tuple[str, ...], programs: tuple[int, ...]
) -> Rolls:
    """Build a set from windows of 4/4.

    Args:
        windows: the windows.
        steps: of a window.
        steps_per_beat: steps a quarter note.
        tracks: names of the tracks.
        programs: of the tracks.

    Returns:
        Rolls of `PITCHES` pitches from `LOWEST` on; notes outside are folded into them.
    """
    notes = folded(stacked([window.notes for window in windows]), LOWEST, PITCHES)
    velocity, onset = grid(notes, len(windows), len(tracks), steps, LOWEST, PITCHES)
    return Rolls(
        velocity=velocity,
        onset=onset,
        programs=programs,
        ids=tuple(window.name for window in windows),
        groups=tuple(window.group for window in windows),
        lengths=torch.full((len(windows),), steps),
        tempo=torch.tensor([window.tempo for window in windows]),
        steps_per_beat=steps_per_beat,
        lowest=LOWEST,
        tracks=tracks,
    )


def in_turn(pieces: Sequence[Sequence[Window]], wanted: int) -> list[Window]:
    """Take the first window of every piece, then the second of every piece that has one, and so on.

    Args:
        pieces: the windows of each piece.
        wanted: how many windows, 0 for all.
    """
    most = max(map(len, pieces), default=0)
    order = [piece[turn] for turn in range(most) for piece in pieces if turn < len(piece)]
    return order[: wanted or None]
