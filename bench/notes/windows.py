"""Pieces of music cut into windows of equal length, and their tracks gathered into the five of MuseGAN.

The five are drums, piano, guitar, bass and strings, by the families of General MIDI; strings are all other programs
(Dong et al., MuseGAN, AAAI 2018). A note held over the seam of two windows is in both: in the second it begins at 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from bench.api import Rolls
from bench.errors import DataError, UsageError
from bench.files import printable
from bench.notes.midi import DRUMS, Score, read_score
from bench.notes.pitches import LOWEST, PITCHES
from bench.notes.rolls import Notes, grid
from bench.seeds import unit_hash

__all__ = [
    "BEATS", "LOWEST", "PITCHES", "PROGRAMS", "TRACKS", "Window", "cut", "families", "folded", "in_split", "in_turn",
    "joined", "read_piece", "require_sizes", "rolls_in_turn", "rolls_of", "stacked", "windows_of",
]  # fmt: skip

T = TypeVar("T")

BEATS = 4  # of a bar
_LONGEST = 1 << 15  # beats of a file
_FINEST = 24  # steps a beat

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


def windows_of(notes: Notes, piece: str, tempo: float, digits: int, most: int | None = None) -> list[Window]:
    """Name the windows of one piece that hold notes, in the order of the hashes of their names.

    Args:
        notes: of the piece, their roll the number of the window, as `cut` gives them.
        piece: its name, the group of every window.
        tempo: beats a minute.
        digits: of the number in a window's name.
        most: how many windows; None for all.
    """
    names = {number: f"{piece}-{number:0{digits}d}" for number in set(notes.roll.tolist())}
    order = sorted(names, key=lambda number: unit_hash(names[number]))[:most]
    return [Window(names[number], piece, notes[notes.roll == number], tempo) for number in order]


def rolls_in_turn(
    pieces: Sequence[Sequence[Window]],
    wanted: int,
    bars: int,
    steps_per_beat: int,
    tracks: tuple[str, ...],
    programs: tuple[int, ...],
    *,
    split: str,
    source: str,
    unit: str,
) -> Rolls:
    """Build the set of one split: a window of every piece, then a second one, and so on.

    Args:
        pieces: the windows of each piece.
        wanted: how many windows, 0 for all.
        bars: of a window, in 4/4.
        steps_per_beat: steps a quarter note.
        tracks: names of the tracks.
        programs: of the tracks.
        split: its name, for the error.
        source: where the pieces come from, for the error.
        unit: what a piece is called, for the error, such as "songs".

    Returns:
        Rolls, as `rolls_of` makes them.

    Raises:
        DataError: the pieces have fewer windows than wanted, or none.
    """
    chosen = in_turn(pieces, wanted)
    if len(chosen) < max(wanted, 1):
        raise DataError(
            f"{source}: {wanted} {split} rolls, but there are {len(chosen)} windows of {bars} bars in {len(pieces)} "
            f"{unit}; ask for at most that, or 0 for all"
        )
    return rolls_of(chosen, bars * BEATS * steps_per_beat, steps_per_beat, tracks, programs)


def in_split(items: Iterable[T], name: Callable[[T], str], shares: Mapping[str, float], split: str) -> list[T]:
    """Choose the items of a split by the hashes of their names.

    Args:
        items: all items.
        name: item -> the name that is hashed.
        shares: split -> upper end of its hashes, 0..1, ascending.
        split: one of them.

    Returns:
        The items, in the order of their hashes.
    """
    lower = max((share for share in shares.values() if share < shares[split]), default=0.0)
    hashed = sorted(((unit_hash(name(item)), item) for item in items), key=lambda pair: pair[0])
    return [item for value, item in hashed if lower <= value < shares[split]]


def read_piece(file: Path) -> Score:
    """Read a MIDI file of at most 32,768 beats.

    Args:
        file: its path.

    Raises:
        DataError: the file cannot be read or is longer.
    """
    score = read_score(file)
    if score.length > _LONGEST * score.ticks_per_beat:
        beats = score.length // score.ticks_per_beat
        raise DataError(f"{printable(file)}: {beats} beats, expected at most {_LONGEST}")
    return score


def require_sizes(bars: int, steps_per_beat: int, *rolls: int) -> None:
    """Check the parameters of a data set of windows.

    Args:
        bars: of a window.
        steps_per_beat: steps a quarter note.
        rolls: how many windows of each split, 0 for all.

    Raises:
        UsageError: one of them is out of range.
    """
    if bars < 1 or not 1 <= steps_per_beat <= _FINEST:
        raise UsageError(f"bars = {bars}, steps_per_beat = {steps_per_beat}: expected 1 or more, 1 to {_FINEST}")
    if min(rolls) < 0:
        raise UsageError("a count of rolls is below 0, expected 0 (all) or more")
