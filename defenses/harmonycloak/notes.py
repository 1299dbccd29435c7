"""HarmonyCloak for rolls: noise on the dominant note of every track and window, as a MIDI file can hold it.

The dominant note of a window is the pitch of the largest cumulative velocity; M is the velocity of its loudest note
there, H(f) the least velocity that is audible in quiet (DLS velocity law). A cell of a roll is a note's velocity, so
noise "on the cells of the dominant pitch" has three readings that a file can hold; they affect a model differently:

velocity   The note of the dominant pitch gets louder by delta. No onset, pitch or duration changes: models that read
           no velocities (the published MuseGAN and SymphonyNet) read the same input to the bit.
hold       delta is added to every cell of the window: where the pitch sounds already the note is louder, in the gaps
           after it the note is held, and before its first onset a new note of velocity delta begins.
ghost      The note is struck again for one step, at velocity delta, and goes on: note | ghost | note. Two notes of one
           pitch cannot overlap on a channel (common parsers damage them), hence the split. Rolls without onsets
           (the published MuseGAN's) are the same to the bit.

The loss has a gradient with respect to velocities, and none with respect to the positions of ghosts. Positions are
chosen by search (`_GhostPositions`): several are proposed for every roll, the one of the lowest loss under the
surrogates is used, and the distribution of proposals, one for all rolls, moves towards the positions in use
(cross-entropy method, Rubinstein 1999), since predictable positions are learnt more easily.

A step is the shortest window: at 120 beats a minute and four steps a beat 125 ms, where the paper has 10 ms. For drums,
whose pitch is no frequency, H is 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.api import Rolls
from bench.notes.note_edits import Maskers, maskers
from bench.notes.restrikes import split
from bench.notes.velocities import beginnings, rounded, sustained

from .bounds import Bounds, amplitude, track_weights
from .descent import Surrogate

Mode = Literal["velocity", "hold", "ghost"]
_RATE = 0.2  # how fast the proposals follow what was kept
_FEWEST = 1e-3  # no place becomes impossible


def cloak(
    data: Rolls,
    rng: Generator,
    descend: Callable[..., None] | None,
    *,
    mode: Mode,
    window_beats: float,
    level_127_db: float,
    masking_db: float | None,
    alpha: float,
    density: float,
    proposals: int,
) -> Rolls:
    """Add noise to the dominant note of every window.

    Args:
        data: the set.
        rng: random numbers.
        descend: optimises the parameters of the noise; None leaves them random.
        mode: what the noise is, see the head of this module.
        window_beats: length of a window; 0 for a beat in mode "ghost", else a bar.
        level_127_db: dB SPL at the listener of a note of velocity 127.
        masking_db: how far M is lowered, before its rate in Bark is added; None: the bound is M.
        alpha: weight of the regulariser.
        density: share of the windows that get a ghost.
        proposals: how many places are tried in each search.

    Returns:
        Rolls in the shape of `data`.
    """
    beats = window_beats or (1.0 if mode == "ghost" else data.beats_per_bar)
    size = max(1, round(beats * data.steps_per_beat))
    windows = maskers(data, size, level_127_db, masking_db or 0.0, 0.0 if masking_db is None else 1.0)
    per_step = mode == "velocity"  # a window may hold several notes, each with a noise of its own
    steps = torch.arange(data.velocity.shape[2] if per_step else windows.pitch.shape[2], device=data.device)
    window_index = steps // windows.size if per_step else steps
    shape = (1, len(data), len(data.programs), len(steps))
    parameters = torch.randn(shape, generator=rng, device=rng.device).to(data.device)
    positions = _GhostPositions(data, windows, density, rng) if mode == "ghost" else None

    def noisy(batch_parameters: Tensor, index: Tensor, chosen: Tensor | None = None) -> Rolls:
        rolls, batch_windows = data.select(index), _select(windows, index)
        if mode == "velocity":
            return _raise_velocity(rolls, batch_windows, batch_parameters[0])
        if mode == "hold":
            return _hold(rolls, batch_windows, batch_parameters[0])
        assert positions is not None
        return _add_ghosts(
            rolls, batch_windows, batch_parameters[0], positions.chosen[index] if chosen is None else chosen
        )

    def search(models: Sequence[Surrogate], index: Tensor) -> None:
        assert positions is not None
        positions.improve(
            models, index, proposals, lambda candidate, batch: noisy(parameters[:, batch], batch, candidate)
        )

    if descend:
        high = torch.where(windows.open, windows.high, 0.0)
        bounds = Bounds(
            windows.low[..., window_index], high[..., window_index], alpha * track_weights(data.velocity.sum((2, 3)))
        )
        first, places = parameters.clone(), positions.chosen.clone() if positions else None

        def start(index: Tensor) -> Rolls:
            return noisy(first[:, index], index, None if places is None else places[index])

        descend(parameters, bounds, data, noisy, start, search if positions else None)
    return noisy(parameters, torch.arange(len(data), device=data.device))


def _select(windows: Maskers, index: Tensor) -> Maskers:
    """Select the windows of some rolls."""
    return replace(windows, pitch=windows.pitch[index], low=windows.low[index], high=windows.high[index])


def _delta(windows: Maskers, u: Tensor, window_index: Tensor) -> Tensor:
    """Compute the noise of parameters u [roll, track, n] in the windows `window_index` [n], 0 where none is allowed."""
    high = torch.where(windows.open, windows.high, 0.0)
    return amplitude(u, windows.low[..., window_index], high[..., window_index])


def _cells(windows: Maskers, values: Tensor, steps: int, pitches: int) -> Tensor:
    """Put a value of every window, or step, at its dominant pitch: [roll, track, step, pitch]."""
    window_index = torch.arange(steps, device=values.device) // windows.size
    by_step = values if values.shape[2] == steps else values[..., window_index]
    pitch = windows.pitch[..., window_index]
    is_dominant = functional.one_hot(pitch.clamp(min=0), pitches).to(values.dtype) * (pitch >= 0)[..., None]
    return by_step[..., None] * is_dominant


def _raise_velocity(rolls: Rolls, windows: Maskers, u: Tensor) -> Rolls:
    """Apply mode "velocity"; u [roll, track, step], read where a note begins."""
    steps, pitches = rolls.velocity.shape[2:]
    window_index = torch.arange(steps, device=u.device) // windows.size
    delta = _cells(windows, _delta(windows, u, window_index), steps, pitches)
    return sustained(rolls, rounded(rolls.velocity + delta))


def _hold(rolls: Rolls, windows: Maskers, u: Tensor) -> Rolls:
    """Apply mode "hold"; u [roll, track, window]."""
    steps, pitches = rolls.velocity.shape[2:]
    all_windows = torch.arange(windows.pitch.shape[2], device=u.device)
    delta = _cells(windows, _delta(windows, u, all_windows), steps, pitches) * rolls.support
    is_sounding = (rolls.velocity > 0) | (delta.detach() > 0)
    onset_velocity = rolls.velocity * beginnings(rolls)  # what sounds on has the velocity of its onset
    held_rolls = replace(rolls, velocity=is_sounding.to(u.dtype), onset=beginnings(rolls))
    return sustained(held_rolls, rounded(onset_velocity + delta))


def _add_ghosts(rolls: Rolls, windows: Maskers, u: Tensor, chosen: Tensor) -> Rolls:
    """Apply mode "ghost"; u [roll, track, window]; chosen int64, the step within the window, 0 for none."""
    steps, pitches = rolls.velocity.shape[2:]
    all_windows = torch.arange(windows.pitch.shape[2], device=u.device)
    delta = _cells(windows, _delta(windows, u, all_windows), steps, pitches)
    step = torch.arange(steps, device=u.device)
    ghost_steps = (chosen[..., step // windows.size] == step % windows.size) & (step % windows.size > 0)
    ghost_cells = ghost_steps[..., None] & _legal(rolls, windows)
    return split(rolls, ghost_cells, rounded(delta))


def _legal(rolls: Rolls, windows: Maskers) -> Tensor:
    """Mark the cells where an open window's dominant note is held: bool [roll, track, step, pitch]."""
    steps, pitches = rolls.velocity.shape[2:]
    is_open = _cells(windows, windows.open.to(rolls.velocity.dtype), steps, pitches) > 0
    return is_open & (rolls.velocity > 0) & ~beginnings(rolls)


class _GhostPositions:
    """The position of each ghost in its window, and the distribution of proposals, one for all rolls."""

    def __init__(self, data: Rolls, windows: Maskers, density: float, rng: Generator) -> None:
        size, count = windows.size, windows.pitch.shape[2]
        legal = functional.pad(_legal(data, windows).any(3), (0, -data.velocity.shape[2] % size))
        self._legal = legal.reshape(*legal.shape[:2], count, size).clone()  # [roll, track, window, place]
        self._legal[..., 0] = True  # place 0 is none
        self._bar = max(1, data.beats_per_bar * data.steps_per_beat // size)  # windows of a bar
        self._density = density
        self._rng = rng
        # [track, window of the bar, place]
        uniform = torch.full((len(data.programs), self._bar, size), density / max(1, size - 1), device=data.device)
        uniform[..., 0] = 1 - density
        self._chance = uniform.clamp(min=_FEWEST)
        self.chosen = self._drawn(torch.arange(len(data), device=data.device), 1)[0]

    def improve(
        self, models: Sequence[Surrogate], index: Tensor, proposals: int, noisy: Callable[[Tensor, Tensor], Rolls]
    ) -> None:
        """Choose each roll's positions of lowest loss among its own and some proposals; adapt the distribution."""
        candidates = torch.cat([self.chosen[index][None], self._drawn(index, proposals)])  # [draw, roll, track, window]
        rolls = _concatenate([noisy(candidate, index) for candidate in candidates])
        losses = torch.stack([surrogate.evaluated(rolls) for surrogate in models]).mean(0)
        best = losses.view(len(candidates), -1).argmin(0)
        self.chosen[index] = candidates[best, torch.arange(len(index), device=index.device)]
        self._follow(index)

    def _drawn(self, index: Tensor, draws: int) -> Tensor:
        """Draw a legal position in every window: int64 [draw, roll, track, window]."""
        legal = self._legal[index]
        slot = torch.arange(legal.shape[2], device=legal.device) % self._bar
        scores = self._chance[:, slot].log().where(legal, -torch.inf)
        uniform = torch.rand((draws, *scores.shape), generator=self._rng, device=self._rng.device).to(scores.device)
        return (scores - (-uniform.clamp(1e-9, 1 - 1e-7).log()).log()).argmax(-1)

    def _follow(self, index: Tensor) -> None:
        """Move the probabilities towards the share of windows with each position, then restore the density."""
        legal = self._legal[index]
        has_choice = legal[..., 1:].any(-1)  # windows where a ghost is possible at all
        choices = functional.one_hot(self.chosen[index], legal.shape[-1]) * has_choice[..., None]
        bars = -(-legal.shape[2] // self._bar)
        padding = bars * self._bar - legal.shape[2]

        def count_by_slot(marks: Tensor) -> Tensor:  # [track, window of the bar, place]
            padded = functional.pad(marks.double(), (0, 0, 0, padding))
            return padded.reshape(*padded.shape[:2], bars, self._bar, padded.shape[3]).sum((0, 2))

        frequency = count_by_slot(choices) / count_by_slot(legal & has_choice[..., None]).clamp(min=1)
        probability = (1 - _RATE) * self._chance + _RATE * frequency.to(self._chance.dtype)
        ghosts = probability[..., 1:].clamp(min=_FEWEST)
        mass = ghosts.sum(-1, keepdim=True)
        # The mean over the bar is the density; which windows have more of it is theirs to choose.
        share = (mass * self._density / mass.mean()).clamp(max=1 - _FEWEST)
        self._chance = torch.cat([1 - share, ghosts / mass * share], -1)


def _concatenate(sets: Sequence[Rolls]) -> Rolls:
    """Concatenate several versions of the same rolls."""
    first = sets[0]
    labels = None if first.labels is None else first.labels.repeat(len(sets))
    return replace(
        first,
        velocity=torch.cat([rolls.velocity for rolls in sets]),
        onset=torch.cat([rolls.onset for rolls in sets]),
        ids=tuple(f"{number}/{name}" for number, rolls in enumerate(sets) for name in rolls.ids),
        groups=first.groups * len(sets),
        lengths=first.lengths.repeat(len(sets)),
        tempo=first.tempo.repeat(len(sets)),
        labels=labels,
        texts=first.texts * len(sets),
    )
