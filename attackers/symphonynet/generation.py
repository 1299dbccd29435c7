"""Sampling: token after token, all rolls at once, until every roll is as long as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from bench.api import Rolls

from . import octuple as octuples
from .encoding import MEASURE, Tokens, decoded
from .transformer import Network, State

_MF = 0.5  # the velocity of notes whose model has none
_MOST = 96  # tokens a measure


class _Place(NamedTuple):
    """int64 [roll]: where music is written. Measure -1: before the first; position -1: a measure was just opened."""

    measure: Tensor
    position: Tensor


def sampled(model: Network, like: Rolls, rng: Generator) -> Rolls:
    """Rolls of the lengths of `like`, all notes at mf where the model has no velocities."""
    return decoded(written(model, like, rng), like, model.merges)


def written(model: Network, like: Rolls, rng: Generator) -> Tokens:
    """The tokens of rolls that are as long as those of `like`.

    Only what the encoding allows is drawn: no note before the first measure, positions in order. A roll that takes
    more than 96 tokens a measure ends there.
    """
    bar, count, device = like.steps_per_beat * like.beats_per_bar, len(like), like.device
    measures = (like.lengths + bar - 1) // bar
    octuple = "pitch" in model.heads
    at = _Place(*torch.full((2, count), 0 if octuple else -1, dtype=torch.int64, device=device))
    of_rolls = octuples.of_roll(like) if octuple else {}
    programs = torch.tensor(like.programs, device=device)
    before = torch.full((count, len(like.programs)), -1, dtype=torch.int64, device=device)
    states: list[State | None] = [None] * len(model.layers)
    last: Tokens | None = None
    tokens: list[Tokens] = []
    for _ in range(int(measures.max()) * _MOST):
        logs, states = model.step(last, count, states)
        logs = {name: values[:, 0] for name, values in logs.items()}
        says, played, following = (_octuple if octuple else _mmr)(logs, at, bar, rng)
        says = {name: torch.where(played, values, -1) if name != "event" else values for name, values in says.items()}
        if octuple:
            says["instrument"] = programs[says["track"]]
        # Notes of a track that stand at its last position, counted from 0.
        moved = (following.measure != at.measure) | (following.position != at.position)
        before = torch.where(moved[:, None], -1, before)
        before = before.scatter_add(1, says["track"].clamp(min=0)[:, None], played.long()[:, None])
        order = before.gather(1, says["track"].clamp(min=0)[:, None]) * played[:, None]
        last = Tokens(
            {name: values[:, None] for name, values in {**says, **of_rolls}.items()},
            velocity=_loudness(logs, count, rng, device)[:, None],
            notes=played.long()[:, None],
            order=order,
            position=following.position.clamp(min=0)[:, None],
            measure=following.measure.clamp(min=0)[:, None],
            inside=(following.measure < measures)[:, None],
        )
        tokens.append(last)
        at = following
        if bool((at.measure >= measures).all()):
            break
    return _joined(tokens)


def _mmr(logs: Mapping[str, Tensor], at: _Place, bar: int, rng: Generator) -> tuple[dict[str, Tensor], Tensor, _Place]:
    """What the next token says, whether it is a note, and where it stands."""
    event = torch.arange(logs["event"].shape[1], device=at.measure.device)
    later = (event > MEASURE) & (event <= bar) & (event - 1 > at.position[:, None]) & (at.measure >= 0)[:, None]
    allowed = (event == MEASURE) | later | (event > bar) & (at.position >= 0)[:, None]
    drawn = _drawn(logs["event"].masked_fill(~allowed, -torch.inf), rng)
    opens, played = drawn == MEASURE, drawn > bar
    position = torch.where(opens, -1, torch.where(played, at.position, drawn - 1))
    says = {"event": drawn, "track": _drawn(logs["track"], rng), "duration": _drawn(logs["duration"], rng)}
    return says, played, _Place(at.measure + opens, position)


def _octuple(
    logs: Mapping[str, Tensor], at: _Place, bar: int, rng: Generator
) -> tuple[dict[str, Tensor], Tensor, _Place]:
    says = {name: _drawn(logs[name], rng) for name in ("advance", "pitch", "duration", "track")}
    back = torch.arange(bar, device=at.position.device) < at.position[:, None]
    earlier = back & (says["advance"] == 0)[:, None]
    says["position"] = _drawn(logs["position"].masked_fill(earlier, -torch.inf), rng)
    return says, torch.ones_like(earlier[:, 0]), _Place(at.measure + says["advance"], says["position"])


def _joined(tokens: list[Tokens]) -> Tokens:
    says = {name: torch.cat([token.says[name] for token in tokens], 1) for name in tokens[0].says}
    rest = ("velocity", "notes", "order", "position", "measure", "inside")
    return Tokens(says, *(torch.cat([getattr(token, name) for token in tokens], 1) for name in rest))


def _loudness(logs: Mapping[str, Tensor], count: int, rng: Generator, device: torch.device) -> Tensor:
    """float32 [roll]: the middle of a bin, above silence."""
    if "velocity" not in logs:
        return torch.full((count,), _MF, device=device)
    return _drawn(logs["velocity"], rng).clamp(min=1) / (logs["velocity"].shape[1] - 1)


def _drawn(logs: Tensor, rng: Generator) -> Tensor:
    """int64 [roll]: one value each, by its log probability."""
    uniform = torch.rand(logs.shape, generator=rng, device=rng.device).to(logs.device).clamp(1e-12, 1 - 1e-7)
    return (logs - (-uniform.log()).log()).argmax(-1)
