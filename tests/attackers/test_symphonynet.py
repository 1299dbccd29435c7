"""SymphonyNet: tokens and back, what its loss reads, attention that is causal and linear, merges that cost nothing."""

import math
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from bench import plugins
from bench._kit import sets
from bench.api import Rolls
from bench.sound.rolls import Notes, grid, notes_of
from bench.sound.velocities import beginnings


def attacker(**parameters: Any) -> Any:
    return plugins.build("attackers", "symphonynet", parameters, preset="smoke")


def module(name: str) -> Any:
    return sys.modules[f"{plugins.load('attackers', 'symphonynet').__module__}.{name}"]


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def rolls(items: int = 4) -> Rolls:
    made = sets.example("midi", "several", items)
    assert isinstance(made, Rolls)
    return made


def band(items: int = 12) -> Rolls:
    made: Rolls = plugins.build("datasets", "band", {"rolls": items}, "smoke").load("train")
    return made


def none() -> Tensor:
    return torch.zeros(0, 2, dtype=torch.int64)


def table(data: Rolls) -> list[tuple[int, ...]]:
    notes = notes_of(data)
    loud = (notes.velocity * 127).round().long()
    columns = (notes.roll, notes.track, notes.start, notes.duration, notes.pitch, loud)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


# --- tokens


@pytest.mark.parametrize("data", [rolls(), band(), sets.example("midi", "short"), sets.example("midi", "stereo")])
def test_tokens_are_the_rolls_again(data: Rolls) -> None:
    encoding = module("encoding")
    assert table(encoding.decoded(encoding.encoded(data, none()), data, none())) == table(data)


def test_a_sequence_is_measures_positions_and_notes_in_order() -> None:
    notes = Notes.of([(0, 1, 0, 4, 60, 0.5), (0, 0, 0, 2, 64, 0.5), (0, 0, 0, 2, 67, 0.5), (0, 0, 20, 8, 62, 0.5)])
    velocity, onset = grid(notes, 1, 2, 48)
    data = Rolls(velocity, onset, (0, 128), ("a",), ("a",), torch.tensor([48]), torch.tensor([100.0]))
    tokens = module("encoding").encoded(data, none())
    assert tokens.event.tolist() == [[0, 1, 17 + 64, 17 + 67, 17 + 60, 0, 5, 17 + 62, 0]]
    assert tokens.duration.tolist() == [[-1, -1, 1, 1, 3, -1, -1, 7, -1]]
    assert tokens.track.tolist() == [[-1, -1, 0, 0, 1, -1, -1, 0, -1]]
    assert tokens.instrument.tolist() == [[-1, -1, 0, 0, 128, -1, -1, 0, -1]]
    assert tokens.order.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0, 0]], "begins anew with every track"
    assert tokens.position.tolist() == [[0, 0, 0, 0, 0, 0, 4, 4, 0]]
    assert tokens.measure.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 2]]


def test_a_note_is_where_it_is_whichever_way_tracks_are_listed() -> None:
    """The three coordinates of every note are the same after two tracks have changed places."""
    data = rolls(1)
    swapped = replace(data, velocity=data.velocity[:, [1, 0, 2, 3]], onset=data.onset[:, [1, 0, 2, 3]])
    places = []
    for version in (data, swapped):
        tokens = module("encoding").encoded(version, none())
        rows = torch.stack([tokens.event, tokens.duration, tokens.order, tokens.position, tokens.measure], -1)[0]
        places.append(sorted(map(tuple, rows.tolist())))
    assert places[0] == places[1]


def test_windows_hold_every_token_once() -> None:
    tokens = module("encoding").encoded(rolls(), none())
    windows = tokens.windows(50)
    assert windows.event.shape[1] == 50
    assert int(windows.notes.sum()) == int(tokens.notes.sum())
    assert int(windows.inside.sum()) == int(tokens.inside.sum())
    assert int(windows.measure.min()) == 0


# --- merges


def test_merges_join_what_is_struck_together_most_often() -> None:
    chords = [(60, 64, 67)] * 3 + [(60, 64)] * 2 + [(62, 67)]
    rows = [(0, 0, 4 * at, 4, pitch, 0.5) for at, chord in enumerate(chords) for pitch in chord]
    notes = Notes.of(rows)
    merges = module("bpe").learned(notes, 4)
    assert merges.tolist() == [[60, 64], [67, 128], [62, 67], [-1, -1]]
    symbols = module("bpe").merged(notes, merges)
    assert sorted(symbols.symbol.tolist()) == [128, 128, 129, 129, 129, 130]
    assert int(symbols.notes.sum()) == len(rows)
    held = module("bpe").expanded(merges)
    assert held[129].nonzero()[:, 0].tolist() == [60, 64, 67]


def test_merged_tokens_are_the_rolls_again() -> None:
    data, encoding = band(), module("encoding")
    flat = replace(data, velocity=(data.velocity > 0) * 0.5)
    merges = module("bpe").learned(notes_of(flat), 20)
    tokens = encoding.encoded(flat, merges)
    assert int((tokens.notes > 1).sum()) > 20
    assert int(tokens.notes.sum()) == len(notes_of(flat))
    assert table(encoding.decoded(tokens, flat, merges)) == table(flat)


def test_a_model_with_merges_counts_nats_by_the_note() -> None:
    data = band()
    plain, joined = attacker(), attacker(merges=20)
    nats = []
    for one in (plain, joined):
        model = one.model(data, rng())
        one.prior(model, data)
        nats.append(float(one.quality(model, data)["nll"].mean()))
    assert nats[1] > nats[0], "a chord that is one symbol is likelier than its notes one by one"


# --- what the loss is


def test_the_prior_is_the_entropy_of_every_field() -> None:
    data, net = band(), attacker()
    model = net.model(data, rng())
    net.prior(model, data)
    tokens = module("encoding").encoded(data, none())
    expected = torch.zeros(len(data), dtype=torch.float64)
    sizes = {"event": 1 + 16 + 128, "duration": 64, "track": 5, "instrument": 129}
    for name, size in sizes.items():
        there = tokens.inside if name == "event" else tokens.notes > 0
        values = getattr(tokens, name)
        counts = torch.bincount(values[there], minlength=size).double() + 0.5
        nats = -(counts / counts.sum()).log()[values.clamp(min=0)] * there
        expected += nats.sum(1) / tokens.notes.sum(1)
    assert -net.quality(model, data)["nll"].double().numpy() == pytest.approx(expected.numpy(), rel=1e-4)


def test_a_fresh_model_expects_everything_alike() -> None:
    data, net = rolls(), attacker()
    quality = net.quality(net.model(data, rng()), data)
    assert -float(quality["nll_instrument"].mean()) == pytest.approx(math.log(129), rel=0.1)


def test_without_a_velocity_field_velocities_change_nothing() -> None:
    data, net = rolls(), attacker()
    model = net.model(data, rng()).eval()
    softer = replace(data, velocity=data.velocity * 0.5)
    assert torch.equal(net.loss(model, data), net.loss(model, softer))
    assert torch.equal(net.view(data), net.view(softer))
    at = data.velocity.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.loss(model, replace(data, velocity=at)).sum(), at, allow_unused=True)
    assert slope is None or not slope.any()


def test_the_gradient_in_the_velocities_is_the_slope() -> None:
    data, net = rolls(2), attacker(velocity=True, steps=30)
    model = net.learn(data, data, rng())
    inner = replace(data, velocity=torch.where(data.velocity > 0, 0.01 + 0.97 * data.velocity, 0.0))
    at = inner.velocity.clone().requires_grad_()
    (slope,) = torch.autograd.grad(net.loss(model, replace(inner, velocity=at)).sum(), at)
    assert torch.equal(slope != 0, beginnings(data) & (slope != 0)), "a note's velocity is read at its onset"
    direction = slope.sign()
    ends = [net.loss(model, replace(inner, velocity=at.detach() + d * direction)).sum() for d in (-1e-4, 1e-4)]
    assert float(slope.abs().sum()) == pytest.approx(float(ends[1] - ends[0]) / 2e-4, rel=0.1)


def test_velocities_are_never_scored() -> None:
    data, net = rolls(), attacker(velocity=True)
    model = net.model(data, rng())
    quality = net.quality(model, data)
    fields = sum(quality[f"nll_{name}"] for name in ("event", "duration", "track", "instrument"))
    assert torch.allclose(quality["nll"], fields)
    assert float((net.loss(model.eval(), data) + quality["nll"]).min()) > 1.0, "but they are trained"


# --- the network


@pytest.mark.parametrize("length", [1, 100, 128, 300])
def test_attention_in_chunks_is_the_quadratic_form(length: int) -> None:
    query, key, value = (torch.randn(2, 3, length, 4, generator=rng(seed), dtype=torch.float64) for seed in range(3))
    feature = [torch.nn.functional.elu(x) + 1 for x in (query, key)]
    weight = (feature[0] @ feature[1].mT).tril()
    expected = weight @ value / weight.sum(-1, keepdim=True)
    assert torch.allclose(module("transformer").linear_attention(query, key, value), expected, atol=1e-5)


def test_no_token_sees_itself_or_what_follows() -> None:
    data, net = rolls(1), attacker()
    model = net.model(data, rng()).eval()
    tokens = module("encoding").encoded(data, none())
    at = int((tokens.notes[0] > 0).nonzero()[40])
    changed = replace(tokens, event=tokens.event.clone(), duration=tokens.duration.clone())
    changed.event[0, at:], changed.duration[0, at:] = 17 + 60, 3
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.allclose(before.event[:, : at + 1], after.event[:, : at + 1], atol=1e-5)
    assert not torch.allclose(before.event[:, at + 1 :], after.event[:, at + 1 :], atol=1e-3)


def test_token_after_token_is_the_same_as_all_at_once() -> None:
    data, net = rolls(2), attacker()
    model = net.model(data, rng()).eval()
    tokens = module("encoding").encoded(data, none())
    states: list[Any] = [None] * 2
    last, made = None, []
    with torch.no_grad():
        for at in range(12):
            fields, states = model.step(last, 2, states)
            made.append(fields.event)
            last = type(tokens)(*(getattr(tokens, f)[:, at : at + 1] for f in type(tokens).__dataclass_fields__))
        whole = model(tokens).event[:, :12]
    assert torch.allclose(torch.cat(made, 1), whole, atol=1e-4)


def test_it_generates_legal_rolls() -> None:
    data, net = rolls(), attacker(generated=3, velocity=True)
    model = net.model(data, rng())
    net.prior(model, data)
    with torch.no_grad():
        made = net.generate(model, data, rng(1))
        again = net.generate(model, data, rng(1))
    made.check("generated")
    assert made.ids == data.ids[:3]
    assert made.onset.flatten(1).any(1).all()
    assert torch.equal(made.velocity, again.velocity)
