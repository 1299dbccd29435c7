"""Hand-made rolls for the tests of the symbolic metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from bench.api import Rolls
from bench.notes.rolls import DRUMS, Notes, grid

PROGRAMS = {"drums": DRUMS, "piano": 0, "bass": 33}


@pytest.fixture
def make_rolls() -> Callable[..., Rolls]:
    """Rolls from rows (roll, track, start, duration, pitch[, velocity]), by default one bar of 16 steps."""

    def make(
        rows: Sequence[Sequence[float]], tracks: str = "piano", rolls: int = 1, steps: int = 16, **more: Any
    ) -> Rolls:
        names = tuple(tracks.split())
        lowest, pitches = more.get("lowest", 0), more.pop("pitches", 128)
        full = torch.tensor([(*row, 0.5)[:6] for row in rows], dtype=torch.float64).reshape(-1, 6)
        velocity, onset = grid(Notes.of(full), rolls, len(names), steps, lowest, pitches)
        ids = tuple(f"r{i}" for i in range(rolls))
        programs = tuple(PROGRAMS[name] for name in names)
        lengths = more.pop("lengths", torch.full((rolls,), steps))
        return Rolls(velocity, onset, programs, ids, ids, lengths, torch.full((rolls,), 120.0), tracks=names, **more)

    return make


@pytest.fixture
def random_rolls(make_rolls: Callable[..., Rolls]) -> Callable[..., Rolls]:
    """Rolls with drums, piano and bass of random notes; the last step of each bar is silent."""

    def make(seed: int = 0, rolls: int = 3, bars: int = 3, **more: Any) -> Rolls:
        rng = torch.Generator().manual_seed(seed)
        bar = more.get("steps_per_beat", 4) * more.get("beats_per_bar", 4)
        notes = 40 * rolls
        roll = torch.randint(rolls, (notes,), generator=rng)
        track = torch.randint(3, (notes,), generator=rng)
        within = torch.randint(bar - 1, (notes,), generator=rng)
        start = torch.randint(bars, (notes,), generator=rng) * bar + within
        duration = torch.minimum(torch.randint(1, 6, (notes,), generator=rng), bar - 1 - within)
        pitch = torch.randint(40, 76, (notes,), generator=rng)
        velocity = torch.randint(1, 128, (notes,), generator=rng) / 127
        rows = torch.stack([roll, track, start, duration, pitch, velocity], 1).tolist()
        return make_rolls(rows, "drums piano bass", rolls, bars * bar, **more)

    return make
