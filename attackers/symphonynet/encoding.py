"""Multi-track multi-instrument repeatable (MMR) tokens of rolls: measures, positions, notes.

Liu et al., "Symphony Generation with Permutation Invariant Language Model", ISMIR 2022, section 3. Every measure opens
with a token of its own, every position in it where something begins with another, then come the notes that begin
there. Four fields a token: event (measure, position, or pitches), duration, track, instrument; the last three are of
notes alone. Notes of one position, track and duration whose pitches a merge joins are one token (`bpe.py`).

Three coordinates a token, for the positional embedding: its order among the notes of its own track and position, the
position, the measure. None of them depends on the order in which tracks are listed, which is what the paper calls
permutation invariance.

The whole set at once: sorts and scatters, no loop over notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from bench.api import Rolls
from bench.sound.rolls import DRUMS, Notes, grid, notes_of

from . import bpe

PITCHES = 128
INSTRUMENTS = DRUMS + 1  # General MIDI programs, and drums
LONGEST = 64  # steps; what lasts longer is cut there
MEASURES = 64  # embeddings of the measure's number, which then begins anew
MEASURE = 0  # the event that opens a measure; positions follow, then pitches, then merges
_KINDS = 3  # measure, position, note: in this order where they coincide


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences [roll, token], padded at the end. Fields that a token does not have are -1."""

    event: Tensor  # int64: 0 a measure, then positions, pitches, merges
    duration: Tensor  # int64, steps - 1
    track: Tensor  # int64
    instrument: Tensor  # int64
    velocity: Tensor  # float32, 0..1; of merged notes, the mean
    notes: Tensor  # int64: how many notes the token is, 0 of measures and positions
    order: Tensor  # int64: among the notes of its track and position
    position: Tensor  # int64: step in the measure
    measure: Tensor  # int64
    inside: Tensor  # bool: not padding

    def __len__(self) -> int:
        return len(self.event)

    def select(self, index: Tensor) -> Tokens:
        """The sequences at `index`, no longer than the longest of them."""
        longest = max(1, int(self.inside[index].sum(1).max()))
        return Tokens(*(getattr(self, item.name)[index, :longest] for item in fields(self)))

    def windows(self, size: int) -> Tokens:
        """Every sequence cut into windows of `size` tokens, [roll * window, size]: all of the first roll first."""
        tokens = self.event.shape[1]
        room = -tokens % size

        def cut(values: Tensor, fill: float) -> Tensor:
            return torch.nn.functional.pad(values, (0, room), value=fill).reshape(-1, size)

        whole = Tokens(*(cut(getattr(self, f.name), _FILL[f.name]) for f in fields(self)))
        first = whole.measure[:, :1]  # a window's measures are counted from its first one
        return replace(whole, measure=(whole.measure - first).clamp(min=0))


_FILL = {f.name: 0.0 for f in fields(Tokens)} | {"event": -1, "duration": -1, "track": -1, "instrument": -1}


def vocabulary(bar: int, merges: int) -> int:
    """How many events there are for measures of `bar` steps."""
    return 1 + bar + PITCHES + merges


def encoded(rolls: Rolls, merges: Tensor) -> Tokens:
    """The tokens of a set; differentiable in its velocities. merges: int64 [merge, 2], see `bpe.py`."""
    bar = rolls.steps_per_beat * rolls.beats_per_bar
    notes = notes_of(rolls)
    pitch_cell = notes.pitch - rolls.lowest
    velocity = rolls.velocity[notes.roll, notes.track, notes.start, pitch_cell]  # with its gradient
    duration = notes.duration.clamp(max=LONGEST)
    symbols = bpe.merged(Notes(notes.roll, notes.track, notes.start, duration, notes.pitch, velocity), merges)

    steps = rolls.velocity.shape[2]
    device = rolls.device
    bars = (rolls.lengths + bar - 1) // bar
    roll_of_bar = torch.repeat_interleave(torch.arange(len(rolls), device=device), bars)
    number = torch.arange(len(roll_of_bar), device=device) - (bars.cumsum(0) - bars)[roll_of_bar]
    places = torch.unique(symbols.roll * steps + symbols.start)
    none = torch.full_like

    # Columns: roll, step, kind, track, symbol's order, event, duration, track, instrument, notes
    programs = torch.tensor(rolls.programs, device=device)
    measure = (roll_of_bar, number * bar, none(number, 0), none(number, 0), none(number, 0), none(number, MEASURE))
    at = (places // steps, places % steps, none(places, 1), none(places, 0), none(places, 0), 1 + places % steps % bar)
    played = (
        symbols.roll, symbols.start, none(symbols.roll, 2), symbols.track, symbols.symbol,
        1 + bar + symbols.symbol,
    )  # fmt: skip
    roll, step, kind, track, symbol, event = (torch.cat(column) for column in zip(measure, at, played, strict=True))
    before = len(number) + len(places)  # tokens that are no notes

    def of_notes(values: Tensor, fill: float) -> Tensor:
        return torch.cat([torch.full((before,), fill, dtype=values.dtype, device=device), values])

    key = ((roll * steps + step) * _KINDS + kind) * len(rolls.programs) + track
    key = key * vocabulary(bar, len(merges)) + symbol
    order = key.argsort(stable=True)
    columns = {
        "event": event,
        "duration": of_notes(symbols.duration - 1, -1),
        "track": of_notes(symbols.track, -1),
        "instrument": of_notes(programs[symbols.track], -1),
        "velocity": of_notes(symbols.velocity, 0.0),
        "notes": of_notes(symbols.notes, 0),
        "position": step % bar,
        "measure": step // bar,
    }
    sorted_columns = {name: values[order] for name, values in columns.items()}
    roll = roll[order]
    counts = torch.bincount(roll, minlength=len(rolls))
    place = torch.arange(len(roll), device=device) - (counts.cumsum(0) - counts)[roll]
    longest = max(1, int(counts.max()))
    same = ((roll * steps + step[order]) * _KINDS + kind[order]) * len(rolls.programs) + track[order]
    sorted_columns["order"] = _ranks(same)

    def sequences(name: str, values: Tensor) -> Tensor:
        empty = torch.full((len(rolls), longest), _FILL[name], dtype=values.dtype, device=device)
        return empty.index_put((roll, place), values)

    inside = torch.arange(longest, device=device) < counts[:, None]
    return Tokens(**{name: sequences(name, values) for name, values in sorted_columns.items()}, inside=inside)


def decoded(tokens: Tokens, like: Rolls, merges: Tensor) -> Rolls:
    """Rolls in the shape of `like`; what lies outside its lengths or pitches is left out."""
    bar = like.steps_per_beat * like.beats_per_bar
    played = tokens.inside & (tokens.event > bar)
    roll, place = played.nonzero(as_tuple=True)
    table = bpe.expanded(merges).to(like.device)  # [symbol, pitch] bool
    token, pitch = table[tokens.event[roll, place] - 1 - bar].nonzero(as_tuple=True)
    roll, place = roll[token], place[token]
    start = tokens.measure[roll, place] * bar + tokens.position[roll, place]
    notes = Notes(
        roll, tokens.track[roll, place], start, tokens.duration[roll, place] + 1, pitch, tokens.velocity[roll, place]
    )  # fmt: skip
    low, high = like.lowest, like.lowest + like.velocity.shape[3]
    lengths = like.lengths[roll]
    kept = (pitch >= low) & (pitch < high) & (start < lengths)
    cut = replace(notes, duration=torch.minimum(notes.duration, lengths - start))[kept]
    velocity, onset = grid(cut, len(like), len(like.programs), like.velocity.shape[2], low, high - low)
    return replace(like, velocity=velocity, onset=onset)


def shuffled(rolls: Rolls, seeds: Sequence[int]) -> Rolls:
    """Every roll's notes with one another's times: which note begins when, and how long it lasts, is dealt anew."""
    notes = notes_of(rolls)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    counts = torch.bincount(notes.roll, minlength=len(rolls)).tolist()
    keys = torch.cat([torch.rand(n, generator=g) for n, g in zip(counts, generators, strict=True)]).to(rolls.device)
    by_roll = notes.roll.argsort(stable=True)
    dealt = by_roll[(notes.roll[by_roll].double() + keys.double()).argsort()]
    times = torch.empty_like(by_roll)
    times[by_roll] = dealt
    moved = replace(notes, start=notes.start[times], duration=notes.duration[times])
    velocity, onset = grid(
        moved, len(rolls), len(rolls.programs), rolls.velocity.shape[2], rolls.lowest, rolls.velocity.shape[3]
    )  # fmt: skip
    return replace(rolls, velocity=velocity, onset=onset)


def _ranks(keys: Tensor) -> Tensor:
    """0, 1, 2 … within every run of equal neighbours."""
    begins = torch.ones_like(keys, dtype=torch.bool)
    begins[1:] = keys[1:] != keys[:-1]
    at = torch.arange(len(keys), device=keys.device)
    return at - torch.where(begins, at, 0).cummax(0).values
