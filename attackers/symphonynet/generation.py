"""Sampling: token after token, all rolls at once, until every roll is as long as it should be."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from bench.api import Rolls

from .encoding import MEASURE, Tokens, decoded
from .transformer import Network, State

_MF = 0.5  # of notes whose model has no velocities
_MOST = 48  # tokens a measure


def sampled(model: Network, like: Rolls, rng: Generator) -> Rolls:
    """Rolls of the lengths of `like`.

    Only what the encoding allows is drawn: a measure first, positions in order, notes after a position. A roll that
    takes more than 48 tokens a measure is cut off there.
    """
    bar, count, device = like.steps_per_beat * like.beats_per_bar, len(like), like.device
    measures = (like.lengths + bar - 1) // bar
    measure = torch.full((count,), -1, dtype=torch.int64, device=device)
    position, order, track = (torch.full_like(measure, fill) for fill in (-1, 0, -1))
    states: list[State] | list[None] = [None] * len(model.layers)
    last: Tokens | None = None
    made: list[Tokens] = []
    for _ in range(int(measures.max()) * _MOST):
        fields, states = model.step(last, count, list(states))
        allowed = _allowed(measure, position, bar, fields.event.shape[2])
        event = _drawn(fields.event[:, 0].masked_fill(~allowed, -torch.inf), rng)
        opens, moves = event == MEASURE, (event > MEASURE) & (event <= bar)
        played = event > bar
        new = torch.where(played, _drawn(fields.track[:, 0], rng), -1)
        duration = torch.where(played, _drawn(fields.duration[:, 0], rng), -1)
        if fields.velocity is None:
            loud = torch.full((count,), _MF, device=device)
        else:
            bins = fields.velocity.shape[2]
            loud = _drawn(fields.velocity[:, 0], rng).clamp(min=1) / (bins - 1)
        measure = measure + opens
        position = torch.where(opens, 0, torch.where(moves, event - 1, position))
        order = torch.where(played & (new == track), order + 1, 0)
        track = torch.where(played, new, -1)
        last = Tokens(
            event[:, None], duration[:, None], new[:, None], (0 * new - 1)[:, None], loud[:, None],
            played.long()[:, None], order[:, None], position[:, None], measure[:, None],
            (measure < measures)[:, None],
        )  # fmt: skip
        made.append(last)
        # A measure that was just opened holds no position yet.
        position = torch.where(opens, -1, position)
        if bool((measure >= measures).all()):
            break
    whole = Tokens(*(torch.cat([getattr(t, name) for t in made], 1) for name in Tokens.__dataclass_fields__))
    return decoded(whole, like, model.merges)


def _allowed(measure: Tensor, position: Tensor, bar: int, events: int) -> Tensor:
    """bool [roll, event]"""
    event = torch.arange(events, device=measure.device)
    later = (event > MEASURE) & (event <= bar) & (event - 1 > position[:, None])
    notes = (event > bar) & (position >= 0)[:, None]
    started = (measure >= 0)[:, None]
    return (event == MEASURE) | (started & (later | notes))


def _drawn(logs: Tensor, rng: Generator) -> Tensor:
    """int64 [roll]: one entry each, by its log probability."""
    uniform = torch.rand(logs.shape, generator=rng, device=rng.device).to(logs.device).clamp(1e-12, 1 - 1e-7)
    return (logs - (-uniform.log()).log()).argmax(-1)
