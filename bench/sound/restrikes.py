"""Notes that are struck again: where it is possible, how it is written, and how it is undone.

Two notes of one pitch cannot overlap on a channel: parsers at hand cut the first, swap the two or lengthen it. So a
*ghost*, a note inside a note of the same pitch, is written as three notes that abut: note | ghost | note. On the grid
nothing but onsets and velocities change; a MIDI file holds the result exactly.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.sound.masking import threshold_in_quiet
from bench.sound.rolls import notes_of
from bench.sound.velocities import beginnings, sustained

__all__ = ["dominant", "remerge", "split", "threshold_velocity"]


def threshold_velocity(pitch: Tensor, level_127_db: float = 80.0) -> Tensor:
    """H(f), the least MIDI velocity 1..127 that is heard in quiet, of MIDI pitches of any shape.

    `H(f) = clip(ceil(127 * 10^((T_q(f) - L_127) / 40)), 1, 127)`: Terhardt's threshold in quiet T_q in dB SPL, and the
    velocity law of DLS, a gain of 40 log10(v / 127) dB. level_127_db: dB SPL at the listener of a note of velocity 127.
    """
    hz = 440.0 * 2 ** ((pitch.double() - 69) / 12)
    return (127 * 10 ** ((threshold_in_quiet(hz) - level_127_db) / 40)).ceil().clamp(1, 127)


def dominant(rolls: Rolls, window: int) -> Tensor:
    """int64 [roll, track, window]: the pitch cell of the largest cumulative velocity in every `window` steps.

    -1 where nothing sounds. The last window may be cut short by the end of the rolls.
    """
    velocity = rolls.velocity.detach()
    whole = functional.pad(velocity, (0, 0, 0, -velocity.shape[2] % window))
    total = whole.reshape(*whole.shape[:2], -1, window, whole.shape[3]).sum(3)
    return torch.where(total.amax(-1) > 0, total.argmax(-1), -1)


def split(rolls: Rolls, where: Tensor, velocity: Tensor) -> Rolls:
    """The rolls with a ghost of one step at the cells `where` that lie inside a note: note | ghost | note.

    where: bool [roll, track, step, pitch]; cells that are silent or begin a note are passed over. velocity: the same
    shape, 0..1, read where a ghost begins, differentiable. The note goes on at its own velocity, if it goes on.
    """
    begins, sounds = beginnings(rolls), rolls.velocity.detach() > 0
    ghost = where & sounds & ~begins
    after = functional.pad(ghost, (0, 0, 1, 0))[:, :, :-1] & sounds
    # At a cell after a ghost the masker's own velocity stands: it is constant along a note.
    return sustained(replace(rolls, onset=begins | ghost | after), torch.where(ghost, velocity, rolls.velocity))


def remerge(rolls: Rolls, longest: int = 1) -> Rolls:
    """Undo re-strikes: a note of at most `longest` steps that a note of its pitch abuts on the left goes back into it.

    So does the note that abuts it on the right, where the two are struck alike (as loud as one another). Undoes `split`
    by ghosts of one step, and any genuine note as short that repeats the one before without a gap.
    """
    begins = beginnings(rolls)
    sounds = rolls.velocity.detach() > 0
    notes = notes_of(rolls)
    pitch = notes.pitch - rolls.lowest
    at = (notes.roll, notes.track, notes.start, pitch)
    before = functional.pad(sounds, (0, 0, 1, 0))[:, :, :-1]
    short = torch.zeros_like(begins)
    short[at] = notes.duration <= longest
    ghost = short & before  # it begins while the pitch was sounding
    # The piece after a ghost: it begins right where the ghost ends, at the velocity of the note before the ghost.
    steps = torch.arange(begins.shape[2], device=begins.device).view(-1, 1)
    struck = torch.where(begins & ~ghost, steps, -1).cummax(2).values  # the last beginning that is no ghost
    previous = functional.pad(struck, (0, 0, 1, 0), value=-1)[:, :, :-1]
    loud = rolls.velocity.detach()
    alike = (loud.gather(2, previous.clamp(min=0)) - loud).abs() < 0.5 / 127
    inside = torch.where(begins, ghost, False)
    last_begin = torch.where(begins, steps, -1).cummax(2).values
    follows = functional.pad(last_begin, (0, 0, 1, 0), value=-1)[:, :, :-1]  # the beginning of the note before
    after = begins & ~ghost & before & inside.gather(2, follows.clamp(min=0)) & (follows >= 0) & alike
    return sustained(replace(rolls, onset=begins & ~ghost & ~after), rolls.velocity)
