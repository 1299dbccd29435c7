"""Random noise: white in recordings, on velocities in rolls; the baseline, and the matched control.

As a matched control it is given a protected set as `knowledge.reference`, whose audibility it must have.

Recordings: white Gaussian noise at a given signal-to-noise ratio, or at that of each clip of the reference. The ratio
is over the recording, all channels together, without the padding. A silent clip stays silent.
Rolls: Gaussian noise on the velocities of notes, or with a reference the edits of each of its rolls at random places:

* its changes of velocity, including those of 0, are assigned to random notes;
* as many notes are struck again for one step, in random cells, at the velocities of its ghosts in random order;
* as many silent cells sound, after random notes, held about as long as in the reference.

Velocities stay within 1..127. Notes that the reference silences are not silenced.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Generator, Tensor

from bench.api import Clips, Control, Data, Defense, Knowledge, Rolls, check_range
from bench.errors import DataError
from bench.notes.note_edits import cells_of, dealt, lengthened, ranks, to_rolls
from bench.notes.restrikes import split
from bench.notes.rolls import Notes, notes_of
from bench.notes.velocities import beginnings
from bench.sound.levels import energy

_Set = TypeVar("_Set", Clips, Rolls)
_GAIN_STEPS = 16  # clipping removes noise: the gain is corrected until the SNR is right, to 0.1 dB where possible


@dataclass(frozen=True)
class Noise(Defense[Data]):
    """Add random noise, of the audibility of `knowledge.reference` where there is one.

    Attributes:
        snr_db: signal-to-noise ratio of each clip; with a reference, that of its clips is used.
        velocity_sd: standard deviation of velocities in rolls, MIDI units; with a reference, its edits are used.
    """

    domains = ("audio", "midi")
    control = Control.MATCHED

    snr_db: float = 20.0
    velocity_sd: float = 8.0

    def __post_init__(self) -> None:
        check_range(self, "velocity_sd", least=0)

    def protect(self, data: Data, knowledge: Knowledge, rng: Generator) -> Data:
        """Add noise: clips stay within -1..1, velocities are whole.

        Raises:
            DataError: the reference holds other items than the data.
        """
        reference = knowledge.reference
        if isinstance(data, Clips):
            return self._with_white_noise(data, None if reference is None else _like(reference, data), rng)
        if reference is None:
            notes = notes_of(data)
            change = torch.randn(len(notes), generator=rng, device=rng.device).to(data.device)
            return to_rolls(_change_velocity(notes, change * self.velocity_sd / 127), data)
        return _apply_edits(data, _like(reference, data), rng)

    def _with_white_noise(self, data: Clips, reference: Clips | None, rng: Generator) -> Clips:
        """Add white noise of the SNR of `snr_db` or of the reference, clip by clip."""
        noise = torch.randn(data.audio.shape, generator=rng, device=rng.device).to(data.device) * data.support
        signal = energy(data.audio)
        target_energy = (
            signal * 10 ** (-self.snr_db / 10) if reference is None else energy(reference.audio - data.audio)
        )
        target_energy = target_energy * (signal > 0)
        gain = (target_energy / energy(noise).clamp_min(1e-30)).sqrt()
        for _ in range(_GAIN_STEPS):
            noise_energy = energy((data.audio + gain * noise).clamp(-1, 1) - data.audio)
            gain = gain * (target_energy / noise_energy.clamp_min(1e-30)).sqrt().clamp(0.5, 2.0)
        return data.with_audio((data.audio + gain * noise).clamp(-1, 1))


def _change_velocity(notes: Notes, change: Tensor) -> Notes:
    """Add `change` to the velocities, rounded to whole MIDI velocities of 1 to 127."""
    velocity = ((notes.velocity + change) * 127).round().clamp(1, 127) / 127
    return replace(notes, velocity=torch.where(change == 0, notes.velocity, velocity))


def _apply_edits(data: Rolls, reference: Rolls, rng: Generator) -> Rolls:
    """Apply the reference's edits at random notes and cells."""
    is_onset, is_sounding = beginnings(data), data.velocity > 0
    notes = notes_of(data)
    note_cells = cells_of(notes, data)
    change = torch.where(beginnings(reference)[note_cells], reference.velocity[note_cells] - notes.velocity, 0.0)
    order = dealt(notes.roll, rng, lambda permuted: _out_of_range(notes.velocity + change[permuted]))
    edited_notes = _change_velocity(notes, change[order])

    added_cells = (reference.velocity > 0) & ~is_sounding
    added_count = added_cells.sum((1, 2, 3))
    stretch_count = (added_cells & ~torch.nn.functional.pad(added_cells, (0, 0, 1, 0))[:, :, :-1]).sum((1, 2, 3))
    edited_notes = lengthened(edited_notes, data, added_count, -(-added_count // stretch_count.clamp(min=1)), rng)

    is_held = is_sounding & ~is_onset
    ghosts = _ghosts(reference, is_held)
    # A ghost at a note's end is two notes, any other three: as many of each.
    goes_on = torch.nn.functional.pad(is_held, (0, 0, 0, 1))[:, :, 1:]
    kind = 2 * ghosts.roll + goes_on[cells_of(ghosts, data)]
    count = torch.bincount(kind, minlength=2 * len(data))
    roll, track, step, pitch = is_held.nonzero(as_tuple=True)
    group = 2 * roll + goes_on[roll, track, step, pitch]
    rank = ranks(group, rng)
    chosen = rank < count[group]
    cells = tuple(index[chosen] for index in (roll, track, step, pitch))
    ghost_cells = torch.zeros_like(is_onset)
    ghost_cells[cells] = True
    velocity = torch.zeros_like(data.velocity)
    ghost_index = (count.cumsum(0) - count)[group] + rank
    velocity[cells] = ghosts.velocity[kind.argsort()][ghost_index[chosen]]
    return split(to_rolls(edited_notes, data), ghost_cells, velocity)


def _out_of_range(velocity: Tensor) -> Tensor:
    """bool: below 1 or over 127, whole MIDI velocities."""
    return (velocity * 127 < 0.5) | (velocity * 127 > 127.5)


def _ghosts(reference: Rolls, is_held: Tensor) -> Notes:
    """Select the reference's notes that begin in held cells of clean notes, without continuations after ghosts.

    A note is a continuation if the note before it is a ghost too, and its velocity is that of the clean note.
    """
    notes = notes_of(reference)
    in_note = is_held[cells_of(notes, reference)]
    previous_in_note = torch.nn.functional.pad(in_note, (1, 0))[:-1]
    index = torch.arange(len(notes), device=in_note.device)
    masker = torch.where(in_note, 0, index).cummax(0).values
    continues = in_note & previous_in_note & ((notes.velocity - notes.velocity[masker]).abs() < 0.5 / 127)
    return notes[in_note & ~continues]


def _like(reference: Data, data: _Set) -> _Set:
    """Order the reference's items as the data's."""
    if not isinstance(reference, type(data)):
        raise DataError(f"noise: the reference is {type(reference).__name__}, expected {type(data).__name__}")
    index_of = {name: position for position, name in enumerate(reference.ids)}
    missing = [name for name in data.ids if name not in index_of]
    if missing:
        raise DataError(f"noise: the reference set lacks clip '{missing[0]}', expected the same clips as the data")
    chosen = reference.select([index_of[name] for name in data.ids])
    shape, expected = (tuple(x.audio.shape if isinstance(x, Clips) else x.velocity.shape) for x in (chosen, data))
    if shape != expected:
        raise DataError(f"noise: the reference has shape {shape}, expected {expected}")
    return chosen
