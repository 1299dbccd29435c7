"""Segments of recordings, or notes of rolls, in random order: the control without musical order.

Recordings: short segments are shuffled within their clip, and the incomplete segment at a recording's end stays. Their
spectrum remains, so an attacker who still learns from them learns timbre, not music. A spectrum alone tells some spoken
words apart, so for classes there is `scope = "set"`: segments are shuffled among all clips, and labels say nothing.
Rolls: the steps of every track, with the notes that begin in each, are shuffled in an order of their own, and the
track's pitches are permuted among its notes. How often each pitch and duration occurs in a track remains; with
`scope = "set"` pitches are permuted among the notes of all rolls, so that a roll's key is lost as well. Shuffling
beats instead of steps would keep rhythm, which is much: on few chorales, learning denied to the recurrent network is
.68 with beats and .74 with steps, to SymphonyNet .11 and .64; on the band, to the recurrent network .30 and 1.04.
Where two notes of one pitch would begin together, pitches are permuted again; those that still coincide become one
note, one in a hundred of the band's drums.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from bench.api import Clips, Control, Data, Defense, Knowledge, Rolls, check_range
from bench.notes.note_edits import dealt, to_rolls
from bench.notes.rolls import Notes, notes_of


@dataclass(frozen=True)
class Scramble(Defense[Data]):
    """Shuffle segments of recordings, and segments and pitches of rolls.

    Attributes:
        scope: shuffle the segments of each clip, or those of the whole set; of rolls the pitches of a track.
        segment_seconds: length of a segment of recordings.
        segment_steps: length of a segment of rolls.
    """

    scope: Literal["clip", "set"] = "clip"
    segment_seconds: float = 0.05
    segment_steps: int = 1

    domains = ("audio", "midi")
    control = Control.SCRAMBLE

    def __post_init__(self) -> None:
        check_range(self, "segment_seconds", above=0)
        check_range(self, "segment_steps", least=1)

    def protect(self, data: Clips | Rolls, knowledge: Knowledge, rng: Generator) -> Clips | Rolls:
        if isinstance(data, Rolls):
            notes = notes_of(data)
            shuffled_notes = _shuffle_segments(notes, data, self.segment_steps, rng)
            return to_rolls(_deal_pitches(shuffled_notes, rng, over_rolls=self.scope == "set"), data)
        size = max(1, round(self.segment_seconds * data.rate))
        segment_count = data.audio.shape[-1] // size
        segments = data.audio[..., : segment_count * size].reshape(*data.audio.shape[:-1], segment_count, size)
        if self.scope == "set":
            shuffled = _shuffled_over_clips(segments, data.lengths // size, rng)
        else:
            order = _orders(data.lengths // size, (len(data), segment_count), rng)
            shuffled = segments.gather(2, order[:, None, :, None].expand_as(segments))
        return data.with_audio(torch.cat([shuffled.flatten(-2), data.audio[..., segment_count * size :]], dim=-1))


def _shuffled_over_clips(segments: Tensor, counts: Tensor, rng: Generator) -> Tensor:
    """Deal the first `counts` segments of all clips among all clips: [clip, channel, segment, sample]."""
    full = torch.arange(segments.shape[2], device=segments.device) < counts[:, None]
    dealt_segments = segments.transpose(1, 2)[full]
    order = torch.randperm(len(dealt_segments), generator=rng, device=segments.device)
    result = segments.transpose(1, 2).clone()
    result[full] = dealt_segments[order]
    return result.transpose(1, 2)


def _orders(shuffled_count: Tensor, shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Draw orders in which the first segments are shuffled and the others stay.

    Args:
        shuffled_count: int64 [item], how many are shuffled.
        shape: [item, ..., segment], of the result.
        rng: the only source of random numbers.

    Returns:
        int64 of `shape`.
    """
    index = torch.arange(shape[-1], device=shuffled_count.device)
    # Full segments draw a key below 1 and so come first, in random order; the others keep their places behind them.
    keys = torch.rand(shape, generator=rng, device=shuffled_count.device)
    return torch.where(index < shuffled_count.view(-1, *[1] * (len(shape) - 1)), keys, 1.0 + index).argsort(dim=-1)


def _shuffle_segments(notes: Notes, like: Rolls, size: int, rng: Generator) -> Notes:
    """Shuffle the whole segments of every track; a note moves with the segment that it begins in."""
    segments = -(-like.velocity.shape[2] // size)
    order = _orders(like.lengths // size, (len(like), len(like.programs), segments), rng)
    position = order.argsort(-1)[notes.roll, notes.track, notes.start // size]
    return replace(notes, start=position * size + notes.start % size)


def _deal_pitches(notes: Notes, rng: Generator, over_rolls: bool) -> Notes:
    """Permute the pitches of every track among its notes, avoiding notes of one pitch that begin together.

    Args:
        notes: of all rolls.
        rng: the only source of random numbers.
        over_rolls: permute among the notes of a track in all rolls, instead of within each roll.
    """
    tracks = int(notes.track.max()) + 1 if len(notes) else 1
    track = notes.roll * tracks + notes.track
    group = notes.track if over_rolls else track
    order = dealt(group, rng, lambda permuted: _coinciding(replace(notes, pitch=notes.pitch[permuted]), track))
    return replace(notes, pitch=notes.pitch[order])


def _coinciding(notes: Notes, group: Tensor) -> Tensor:
    """Mark notes that begin together with an earlier one of the same pitch: bool [note]."""
    span = int(notes.start.max()) + 1 if len(notes) else 1
    key = (group * span + notes.start) * 128 + notes.pitch
    order = key.argsort(stable=True)
    is_duplicate = torch.zeros_like(key, dtype=torch.bool)
    is_duplicate[order[1:]] = key[order[1:]] == key[order[:-1]]
    return is_duplicate
