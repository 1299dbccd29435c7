"""Divide pieces of music into windows of equal length, and merge their tracks into the five of MuseGAN.

The five are drums, piano, guitar, bass and strings, by the families of General MIDI; all other programs are strings
(Dong et al., MuseGAN, AAAI 2018). A note that lasts beyond the end of a window is also in the next one, where it begins
at 0.
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

BEATS = 4  # in a bar
_LONGEST = 1 << 15  # most beats of a file
_FINEST = 24  # most steps a beat

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
        notes: Notes of one piece; those that end before step 0 are left out.
        steps: Steps of a window; the first one begins at step 0.

    Returns:
        Notes whose roll is the number of the window. Starts count from the beginning of the window; a note that began
        in an earlier window has a negative start and its whole duration.
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
        parts: Any number of lists, also none.

    Returns:
        One list.
    """
    empty = torch.zeros(0, dtype=torch.int64)
    with_empty = [*parts, Notes(empty, empty, empty, empty, empty, torch.zeros(0))]
    return Notes(*(torch.cat([getattr(part, name) for part in with_empty]) for name in Notes.__dataclass_fields__))


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
        notes: The notes.
        lowest: The lowest pitch of the range.
        pitches: Its size, an octave at least.

    Returns:
        The notes.
    """
    octaves_up = (lowest - notes.pitch + 11).clamp(min=0).div(12, rounding_mode="floor")
    octaves_down = (notes.pitch - lowest - pitches + 12).clamp(min=0).div(12, rounding_mode="floor")
    return replace(notes, pitch=notes.pitch + 12 * octaves_up - 12 * octaves_down)


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


def in_turn(pieces: Sequence[Sequence[Window]], count: int) -> list[Window]:
    """Take the first window of every piece, then the second of every piece that has one, and so on.

    Args:
        pieces: The windows of each piece.
        count: How many windows, 0 for all.

    Returns:
        At most `count` windows.
    """
    most = max(map(len, pieces), default=0)
    order = [piece[turn] for turn in range(most) for piece in pieces if turn < len(piece)]
    return order[: count or None]


def windows_of(notes: Notes, piece: str, tempo: float, digits: int, most: int | None = None) -> list[Window]:
    """Name the windows of one piece that have notes, in the order of the hashes of their names.

    Args:
        notes: Notes of the piece, their roll the number of the window, as `cut` gives them.
        piece: Its name, the group of every window.
        tempo: Beats a minute.
        digits: Digits of the number in a window's name.
        most: How many windows; None for all.

    Returns:
        The windows.
    """
    names = {number: f"{piece}-{number:0{digits}d}" for number in set(notes.roll.tolist())}
    order = sorted(names, key=lambda number: unit_hash(names[number]))[:most]
    return [Window(names[number], piece, notes[notes.roll == number], tempo) for number in order]


def rolls_in_turn(
    pieces: Sequence[Sequence[Window]],
    count: int,
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
        count: how many windows, 0 for all.
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
    windows = in_turn(pieces, count)
    if len(windows) < max(count, 1):
        raise DataError(
            f"{source}: {count} {split} rolls, but there are {len(windows)} windows of {bars} bars in {len(pieces)} "
            f"{unit}: expected at most that, or 0 for all"
        )
    return rolls_of(windows, bars * BEATS * steps_per_beat, steps_per_beat, tracks, programs)


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
        file: Its path.

    Returns:
        Its notes.

    Raises:
        DataError: The file cannot be read or is longer.
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
        raise UsageError(f"{min(rolls)} rolls, expected 0 (all) or more")
