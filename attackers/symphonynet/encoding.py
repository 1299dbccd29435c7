"""Multi-track multi-instrument repeatable (MMR) tokens of rolls: measures, positions, notes.

Liu et al., "Symphony Generation with Permutation Invariant Language Model", ISMIR 2022, section 3. Every measure opens
with a token of its own, every position in it where something begins with another, then come the notes that begin
there. Four fields a token: event (measure, position, or pitches), duration, track, instrument; the last three are of
notes alone. Notes of one position, track and duration whose pitches a merge joins are one token (`bpe.py`).

Three coordinates a token, for the positional embedding: its order among the notes of its own track and position, the
position, the measure. The notes of a position stand in order of pitch, whatever their tracks are: tracks listed in
another way give the same sequence, with other numbers in the field "track" and nothing else. (The published code walks
a measure track by track; its coordinates, too, are counted within a track.)

The whole set at once: sorts and scatters, no loop over notes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.notes.rolls import DRUMS, Notes, grid, notes_of
from bench.seeds import name_orders

from . import bpe

PITCHES = 128
INSTRUMENTS = DRUMS + 1  # General MIDI programs, and drums
LONGEST = 64  # steps; what lasts longer is cut there
MEASURE = 0  # the event that opens a measure; positions follow, then pitches, then merges
_KINDS = 3  # measure, position, note: in this order where they coincide
_COLUMNS = ("velocity", "notes", "order", "position", "measure", "inside")


@dataclass(frozen=True, eq=False)
class Tokens:
    """Sequences of tokens [roll, token], padded at the end.

    Attributes:
        fields: field -> int64 [roll, token]; -1 where a token lacks the field, and in the padding.
        velocity: float32, 0..1; for merged notes, the mean.
        notes: int64, how many notes a token stands for; 0 for measures and positions.
        order: int64, index among the notes of its track and position.
        position: int64, step within the measure.
        measure: int64.
        inside: bool, False in the padding.
    """

    fields: Mapping[str, Tensor]  # int64 by field; -1 where a token has no such field, and in the padding
    velocity: Tensor  # float32, 0..1; of merged notes, the mean
    notes: Tensor  # int64: how many notes the token is, 0 of measures and positions
    order: Tensor  # int64: among the notes of its track and position
    position: Tensor  # int64: step in the measure
    measure: Tensor  # int64
    inside: Tensor  # bool: not padding

    def __len__(self) -> int:
        return len(self.inside)

    def select(self, index: Tensor) -> Tokens:
        """Select sequences, without the padding that all of them have.

        Args:
            index: int64 [selected].
        """
        longest = max(1, int(self.inside[index].sum(1).max()))
        return self._each(lambda values, _: values[index, :longest])

    def crop(self, size: int, first: Tensor) -> Tokens:
        """Take `size` tokens of every sequence; measures are counted from the first of them.

        Args:
            size: tokens.
            first: int64 [roll], the index of the first token.
        """
        index = first[:, None] + torch.arange(size, device=first.device)
        index = index.clamp(max=self.inside.shape[1])
        window = self._each(lambda values, fill: functional.pad(values, (0, 1), value=fill).gather(1, index))
        return replace(window, measure=(window.measure - window.measure[:, :1]).clamp(min=0))

    def windows(self, size: int) -> tuple[Tokens, Tensor]:
        """Cut sequences into windows that overlap by half.

        The first window of a sequence counts whole, the others with their later half, so that apart from the first
        tokens none is predicted from less than half a window.

        Args:
            size: tokens of a window.

        Returns:
            The windows [roll * window, size], and bool of that shape: each token counts once.
        """
        tokens = self.inside.shape[1]
        stride = max(1, size // 2)
        count = 1 + max(0, -(-(tokens - size) // stride))
        first = torch.arange(count, device=self.inside.device) * stride
        rolls = torch.arange(len(self), device=self.inside.device).repeat_interleave(count)
        window = self._each(lambda values, _: values[rolls]).crop(size, first.repeat(len(self)))
        is_new = torch.arange(size, device=self.inside.device) >= torch.where(first == 0, 0, size - stride)[:, None]
        return window, window.inside & is_new.repeat(len(self), 1)

    def _each(self, change: Callable[[Tensor, int], Tensor]) -> Tokens:
        """Apply a function of (column, padding value) to every column."""
        fields = {name: change(values, -1) for name, values in self.fields.items()}
        return Tokens(fields, *(change(getattr(self, name), 0) for name in _COLUMNS))


def events(bar: int, merges: int) -> int:
    """Count the values of the field "event" for measures of `bar` steps."""
    return 1 + bar + PITCHES + merges


def encoded(rolls: Rolls, merges: Tensor) -> Tokens:
    """Encode rolls as MMR tokens; differentiable in velocities.

    Args:
        rolls: the set.
        merges: int64 [merge, 2], see `bpe.py`.
    """
    bar, steps = rolls.steps_per_beat * rolls.beats_per_bar, rolls.velocity.shape[2]
    device = rolls.device
    symbols = bpe.merged(encodable_notes(rolls), merges)
    bars = (rolls.lengths + bar - 1) // bar
    roll_of_bar = torch.repeat_interleave(torch.arange(len(rolls), device=device), bars)
    number = torch.arange(len(roll_of_bar), device=device) - (bars.cumsum(0) - bars)[roll_of_bar]
    onset_keys = torch.unique(symbols.roll * steps + symbols.start)  # where something begins
    measure_count, note_count = len(number), len(symbols.roll)

    roll = torch.cat([roll_of_bar, onset_keys // steps, symbols.roll])
    step = torch.cat([number * bar, onset_keys % steps, symbols.start])
    sizes = torch.tensor([measure_count, len(onset_keys), note_count], device=device)
    kind = torch.repeat_interleave(torch.arange(_KINDS, device=device), sizes)
    event = torch.cat([torch.full_like(number, MEASURE), 1 + onset_keys % steps % bar, 1 + bar + symbols.symbol])

    def of_notes(values: Tensor, fill: int) -> Tensor:
        return functional.pad(values, (measure_count + len(onset_keys), 0), value=fill)

    program = torch.tensor(rolls.programs, device=device)[symbols.track]
    pitch = bpe.expanded(merges).to(device).long().argmax(1)[symbols.symbol]  # a symbol's lowest
    major = ((roll * steps + step) * _KINDS + kind) * PITCHES + of_notes(pitch, 0)
    minor = (symbols.symbol * LONGEST + symbols.duration - 1) * INSTRUMENTS + program
    return sequences(
        len(rolls), bar, roll, step, (major, of_notes(minor * len(rolls.programs) + symbols.track, 0)),
        fields={
            "event": event,
            "duration": of_notes(symbols.duration - 1, -1),
            "track": of_notes(symbols.track, -1),
            "instrument": of_notes(program, -1),
        },
        velocity=of_notes(symbols.velocity, 0),
        notes=of_notes(symbols.notes, 0),
    )  # fmt: skip


def encodable_notes(rolls: Rolls) -> Notes:
    """Return the notes as tokens can hold them: of at most `LONGEST` steps; velocities keep their gradient."""
    notes = notes_of(rolls)
    velocity = rolls.velocity[notes.roll, notes.track, notes.start, notes.pitch - rolls.lowest]
    return replace(notes, duration=notes.duration.clamp(max=LONGEST), velocity=velocity)


def sequences(
    rolls: int,
    bar: int,
    roll: Tensor,
    step: Tensor,
    keys: tuple[Tensor, Tensor],
    *,
    fields: Mapping[str, Tensor],
    velocity: Tensor,
    notes: Tensor,
) -> Tokens:
    """Sort tokens into sequences and pad these.

    Args:
        rolls: how many sequences.
        bar: steps of a measure.
        roll: int64 [token], the sequence of each token.
        step: int64 [token], its step in the roll.
        keys: int64 [token] each, the major and the minor key of the order within all sequences.
        fields: field -> int64 [token].
        velocity: float [token].
        notes: int64 [token], how many notes the token stands for.
    """
    major, minor = keys
    order = minor.argsort(stable=True)
    order = order[major[order].argsort(stable=True)]
    roll, step, track = roll[order], step[order], fields["track"][order]
    counts = torch.bincount(roll, minlength=rolls)
    index = torch.arange(len(roll), device=roll.device) - (counts.cumsum(0) - counts)[roll]
    longest = max(1, int(counts.max()))

    def pad(values: Tensor, fill: int = 0) -> Tensor:
        empty = torch.full((rolls, longest), fill, dtype=values.dtype, device=roll.device)
        return empty.index_put((roll, index), values)

    slot_key = (roll * (int(step.max() if len(step) else 0) + 1) + step) * (int(track.max() if len(track) else 0) + 2)
    return Tokens(
        {name: pad(values[order], -1) for name, values in fields.items()},
        velocity=pad(velocity[order]),
        notes=pad(notes[order]),
        order=pad(_ranks(slot_key + track + 1) * (notes[order] > 0)),
        position=pad(step % bar),
        measure=pad(step // bar),
        inside=torch.arange(longest, device=roll.device) < counts[:, None],
    )


def decoded(tokens: Tokens, like: Rolls, merges: Tensor) -> Rolls:
    """Decode tokens to rolls; notes outside the lengths or the pitches of `like` are left out.

    Args:
        tokens: as many sequences as `like` has rolls.
        like: gives shape, programs, tempo and ids.
        merges: int64 [merge, 2], see `bpe.py`.
    """
    bar = like.steps_per_beat * like.beats_per_bar
    roll, index = (tokens.inside & (tokens.notes > 0)).nonzero(as_tuple=True)
    fields = {name: values[roll, index] for name, values in tokens.fields.items()}
    symbol = fields["pitch"] if "pitch" in fields else fields["event"] - 1 - bar
    token, pitch = bpe.expanded(merges).to(like.device)[symbol].nonzero(as_tuple=True)
    start = (tokens.measure[roll, index] * bar + tokens.position[roll, index])[token]
    velocity = tokens.velocity[roll, index][token]
    notes = Notes(roll[token], fields["track"][token], start, fields["duration"][token] + 1, pitch, velocity)
    low, high = like.lowest, like.lowest + like.velocity.shape[3]
    remaining = like.lengths[notes.roll] - start
    inside = (pitch >= low) & (pitch < high) & (remaining > 0)
    fitting_notes = replace(notes, duration=torch.minimum(notes.duration, remaining))[inside]
    grids = grid(fitting_notes, len(like), len(like.programs), like.velocity.shape[2], low, high - low)
    return replace(like, velocity=grids[0], onset=grids[1])


def shuffled(rolls: Rolls) -> Rolls:
    """Permute start times and durations among the notes of each roll, in an order that is seeded by its id."""
    notes = notes_of(rolls)  # by roll
    counts = torch.bincount(notes.roll, minlength=len(rolls)).tolist()
    order = torch.cat(name_orders(rolls.ids, counts)).to(rolls.device) + torch.searchsorted(notes.roll, notes.roll)
    shuffled_notes = replace(notes, start=notes.start[order], duration=notes.duration[order])
    shape = (len(rolls), len(rolls.programs), rolls.velocity.shape[2], rolls.lowest, rolls.velocity.shape[3])
    velocity, onset = grid(shuffled_notes, *shape)
    return replace(rolls, velocity=velocity, onset=onset)


def _ranks(keys: Tensor) -> Tensor:
    """Count the equal keys before each key: int64 [key]."""
    order = keys.argsort(stable=True)
    sorted_keys = keys[order]
    index = torch.arange(len(keys), device=keys.device)
    return torch.empty_like(index).index_put((order,), index - torch.searchsorted(sorted_keys, sorted_keys))
