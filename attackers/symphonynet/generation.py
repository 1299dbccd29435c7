"""Sampling of SymphonyNet: one token at a time, for all rolls at once, until every roll has its length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from bench.api import Rolls

from . import octuple as octuples
from .encoding import MEASURE, Tokens, decoded
from .transformer import Network, State

_MEZZO_FORTE = 0.5  # velocity of notes from a model without velocities
_MAX_TOKENS = 96  # tokens a measure


class _Cursor(NamedTuple):
    """Where each roll's next token stands, int64 [roll] each.

    Attributes:
        measure: -1 before the first.
        position: step within the measure; -1 where the measure was just opened.
    """

    measure: Tensor
    position: Tensor


def sampled(model: Network, like: Rolls, rng: Generator) -> Rolls:
    """Generate rolls of the lengths of `like`; without velocities, every note is mezzo-forte.

    Args:
        model: a trained network.
        like: gives lengths, programs, tempo and ids.
        rng: the only source of random numbers.
    """
    return decoded(write_tokens(model, like, rng), like, model.merges)


def write_tokens(model: Network, like: Rolls, rng: Generator) -> Tokens:
    """Sample the tokens of rolls of the lengths of `like`.

    Only what the encoding allows is drawn: no note before the first measure, positions in order. A roll with more than
    96 tokens a measure ends there.

    Args:
        model: a trained network.
        like: gives lengths, programs and tempo.
        rng: the only source of random numbers.
    """
    bar, count, device = like.steps_per_beat * like.beats_per_bar, len(like), like.device
    measures = (like.lengths + bar - 1) // bar
    octuple = "pitch" in model.heads
    cursor = _Cursor(*torch.full((2, count), 0 if octuple else -1, dtype=torch.int64, device=device))
    roll_fields = octuples.of_roll(like) if octuple else {}
    programs = torch.tensor(like.programs, device=device)
    last_order = torch.full((count, len(like.programs)), -1, dtype=torch.int64, device=device)
    states: list[State | None] = [None] * len(model.layers)
    last_token: Tokens | None = None
    tokens: list[Tokens] = []
    for _ in range(int(measures.max()) * _MAX_TOKENS):
        logs, states = model.step(last_token, count, states)
        logs = {name: values[:, 0] for name, values in logs.items()}
        fields, is_note, next_cursor = (_octuple if octuple else _mmr)(logs, cursor, bar, rng)
        fields = {
            name: torch.where(is_note, values, -1) if name != "event" else values for name, values in fields.items()
        }
        if octuple:
            fields["instrument"] = programs[fields["track"]]
        # Notes of a track that stand at its last position, counted from 0.
        has_moved = (next_cursor.measure != cursor.measure) | (next_cursor.position != cursor.position)
        last_order = torch.where(has_moved[:, None], -1, last_order)
        last_order = last_order.scatter_add(1, fields["track"].clamp(min=0)[:, None], is_note.long()[:, None])
        order = last_order.gather(1, fields["track"].clamp(min=0)[:, None]) * is_note[:, None]
        last_token = Tokens(
            {name: values[:, None] for name, values in {**fields, **roll_fields}.items()},
            velocity=_draw_velocity(logs, count, rng, device)[:, None],
            notes=is_note.long()[:, None],
            order=order,
            position=next_cursor.position.clamp(min=0)[:, None],
            measure=next_cursor.measure.clamp(min=0)[:, None],
            inside=(next_cursor.measure < measures)[:, None],
        )
        tokens.append(last_token)
        cursor = next_cursor
        if bool((cursor.measure >= measures).all()):
            break
    return _concatenate(tokens)


def _mmr(
    logs: Mapping[str, Tensor], cursor: _Cursor, bar: int, rng: Generator
) -> tuple[dict[str, Tensor], Tensor, _Cursor]:
    """Draw the next MMR token: its fields, whether it is a note, and the cursor after it."""
    event = torch.arange(logs["event"].shape[1], device=cursor.measure.device)
    is_later = (
        (event > MEASURE) & (event <= bar) & (event - 1 > cursor.position[:, None]) & (cursor.measure >= 0)[:, None]
    )
    is_allowed = (event == MEASURE) | is_later | (event > bar) & (cursor.position >= 0)[:, None]
    chosen_event = _draw(logs["event"].masked_fill(~is_allowed, -torch.inf), rng)
    is_measure, is_note = chosen_event == MEASURE, chosen_event > bar
    position = torch.where(is_measure, -1, torch.where(is_note, cursor.position, chosen_event - 1))
    fields = {"event": chosen_event, "track": _draw(logs["track"], rng), "duration": _draw(logs["duration"], rng)}
    return fields, is_note, _Cursor(cursor.measure + is_measure, position)


def _octuple(
    logs: Mapping[str, Tensor], cursor: _Cursor, bar: int, rng: Generator
) -> tuple[dict[str, Tensor], Tensor, _Cursor]:
    """Draw the next octuple: its fields, True (it is a note), and the cursor after it."""
    fields = {name: _draw(logs[name], rng) for name in ("advance", "pitch", "duration", "track")}
    is_before = torch.arange(bar, device=cursor.position.device) < cursor.position[:, None]
    is_forbidden = is_before & (fields["advance"] == 0)[:, None]
    fields["position"] = _draw(logs["position"].masked_fill(is_forbidden, -torch.inf), rng)
    return fields, torch.ones_like(is_forbidden[:, 0]), _Cursor(cursor.measure + fields["advance"], fields["position"])


def _concatenate(tokens: list[Tokens]) -> Tokens:
    """Concatenate tokens in time."""
    fields = {name: torch.cat([token.fields[name] for token in tokens], 1) for name in tokens[0].fields}
    rest = ("velocity", "notes", "order", "position", "measure", "inside")
    return Tokens(fields, *(torch.cat([getattr(token, name) for token in tokens], 1) for name in rest))


def _draw_velocity(logs: Mapping[str, Tensor], count: int, rng: Generator, device: torch.device) -> Tensor:
    """Draw a velocity above silence, the centre of a bin: float32 [roll]."""
    if "velocity" not in logs:
        return torch.full((count,), _MEZZO_FORTE, device=device)
    return _draw(logs["velocity"], rng).clamp(min=1) / (logs["velocity"].shape[1] - 1)


def _draw(logs: Tensor, rng: Generator) -> Tensor:
    """Draw a value by its log probability (Gumbel-max): int64 [roll]."""
    uniform = torch.rand(logs.shape, generator=rng, device=rng.device).to(logs.device).clamp(1e-12, 1 - 1e-7)
    return (logs - (-uniform.log()).log()).argmax(-1)
