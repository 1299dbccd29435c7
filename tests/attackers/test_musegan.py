"""MuseGAN reads windows of bits, draws legal rolls, is scored by their distance, and comes in the published size."""

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator
from torch.nn import functional

from bench import plugins
from bench.api import Rolls
from bench.errors import DataError, UsageError
from bench.metrics.symbolic import features
from tests.attackers.examples import rng, rolls

pytestmark = pytest.mark.numeric


def attacker(**parameters: Any) -> Any:
    return plugins.build("attackers", "musegan", parameters, preset="smoke")


def quick(**parameters: Any) -> Any:
    return attacker(**({"warm": 4, "steps": 2, "batch": 4, "evaluations": 1} | parameters))


def windowing() -> Any:
    return importlib.import_module(f"{type(attacker()).__module__}.windows")


def cells(data: Rolls) -> torch.Tensor:
    return (data.velocity > 0).double()[..., 24:108]


# --- what it reads


def test_it_reads_whole_windows_and_pads_a_short_roll() -> None:
    data, gan = rolls(), attacker(bars=3)
    model = gan.model(data, rng()).eval()
    loss = gan.loss(model, data)
    beyond = data.velocity.clone()
    beyond[:, :, 48:] = 0  # the fourth bar is no whole window
    assert torch.equal(loss, gan.loss(model, replace(data, velocity=beyond)))
    beyond[:, :, 40:48] = 0.5
    assert (gan.loss(model, replace(data, velocity=beyond)) != loss).all()
    assert data.lengths[1] == 32
    assert int(gan.view(data)[:, 2].max()) == 47
    assert int((gan.view(data)[:, 0] == 1).sum()) == int((data.velocity[1] > 0).sum())


def test_the_loss_of_a_roll_is_the_mean_of_its_windows() -> None:
    data, gan = rolls(1), attacker()
    model = gan.model(data, rng()).eval()
    parts = [
        replace(data, velocity=data.velocity[:, :, at], onset=data.onset[:, :, at], lengths=torch.tensor([32]))
        for at in (slice(32), slice(32, 64))
    ]
    halves = torch.stack([gan.loss(model, part) for part in parts])
    assert halves[0] != halves[1]
    assert gan.loss(model, data).item() == pytest.approx(halves.mean().item(), rel=1e-5)


@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("velocity", [True, False])
def test_what_it_reads_of_velocities_is_what_it_says(size: str, velocity: bool) -> None:
    data, gan = rolls(), attacker(size=size, velocity=velocity)
    model = gan.model(data, rng()).eval()
    louder = replace(data, velocity=(data.velocity * 1.3).clamp(max=1))
    assert torch.equal(gan.loss(model, data), gan.loss(model, louder)) != velocity
    assert torch.equal(gan.view(data), gan.view(louder)) != velocity
    assert len(gan.view(data)) == int((data.velocity > 0).sum())


def test_a_ghost_in_a_sounding_note_is_invisible_and_a_longer_note_is_not() -> None:
    data, gan = rolls(), attacker()
    model = gan.model(data, rng()).eval()
    struck = replace(data, onset=data.velocity > 0)
    held = data.velocity.clone()
    held[:, :, 1:] = torch.where(held[:, :, 1:] > 0, held[:, :, 1:], held[:, :, :-1]) * data.support[:, :, 1:]
    for metric, values in gan.quality(model, struck).items():
        assert torch.equal(values, gan.quality(model, data)[metric])
    assert torch.equal(gan.view(struck), gan.view(data))
    assert (gan.loss(model, replace(data, velocity=held)) != gan.loss(model, data)).all()


def test_rolls_of_another_pitch_range_are_cut_and_padded() -> None:
    data, gan = rolls(), attacker()
    narrow = replace(data, velocity=data.velocity[..., 30:100], onset=data.onset[..., 30:100], lowest=30)
    wide = data.velocity.clone()
    wide[..., :30], wide[..., 100:] = 0, 0
    wider = replace(data, velocity=wide, onset=data.onset & (wide > 0))
    model = gan.model(data, rng()).eval()
    assert torch.equal(gan.loss(model, narrow), gan.loss(model, wider))
    assert torch.equal(gan.view(narrow), gan.view(wider))


# --- the loss and its gradient


def test_the_loss_is_that_of_bits_and_its_gradient_passes_through_them() -> None:
    data, gan = rolls(1), attacker()
    model = gan.model(data, rng()).eval()
    bits = replace(data, velocity=(data.velocity > 0).float())
    slopes = []
    for given in (data, bits):
        at = given.velocity.clone().requires_grad_()
        slopes.append(torch.autograd.grad(gan.loss(model, replace(given, velocity=at)).sum(), at)[0])
    assert torch.equal(gan.loss(model, data), gan.loss(model, bits))
    assert torch.equal(slopes[0], slopes[1])
    assert (slopes[0][..., 24:108] != 0).float().mean() > 0.9, "cells that are silent have a slope too"


@pytest.mark.parametrize("size", ["small", "full"])
def test_noise_that_descends_the_loss_raises_the_critics_score(size: str) -> None:
    data, gan = rolls(2), attacker(size=size, velocity=True, bars=4)
    model = gan.model(data, rng()).eval()
    at = data.velocity.clone().requires_grad_()

    def score(velocity: torch.Tensor) -> torch.Tensor:
        read = velocity[..., 24:108]
        scored: torch.Tensor = model.critic(read if size == "small" else 2 * read - 1)
        return scored

    (up,) = torch.autograd.grad(score(at).sum(), at)
    (slope,) = torch.autograd.grad(gan.loss(model, replace(data, velocity=at)).sum(), at)
    (rest,) = torch.autograd.grad((gan.loss(model, replace(data, velocity=at)) + score(at)).sum(), at)
    assert torch.allclose(slope + up, rest, atol=1e-6)
    model.critic.head.bias.data += 2.0 - score(at).min().detach()  # where 1 - D < 0, the critic has no say
    (alone,) = torch.autograd.grad(gan.loss(model, replace(data, velocity=at)).sum(), at)
    assert torch.allclose(alone - slope, up, atol=1e-6)


def test_one_loss_gives_each_player_of_the_game_the_slope_of_its_own() -> None:
    """The generator climbs the critic's score of its samples, the critic descends it, and no roll has a part in it."""
    data, gan = rolls(2), attacker()
    model = gan.model(data, rng())
    model.critic.eval()  # its spectral norms stay as they are
    at = data.velocity.clone().requires_grad_()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        game = importlib.import_module(f"{type(gan).__module__}.training").generated_game(model, 8)
        torch.manual_seed(0)
        fake = model.seen(model.sample(torch.randn(8, model.latent), None))
    assert game.item() == pytest.approx(torch.relu(1 + model.critic(fake)).mean().item(), rel=1e-4)
    for parameters, expected in (
        (model.generator_parameters(), -model.critic(fake).mean()),
        (list(model.critic.parameters()), torch.relu(1 + model.critic(fake.detach())).mean()),
    ):
        slopes, others = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (game, expected))
        for slope, other in zip(slopes, others, strict=True):
            assert torch.allclose(slope, other, rtol=1e-3, atol=1e-6)
    assert torch.autograd.grad(gan.loss(model, replace(data, velocity=at)).sum(), at)[0].any()


def test_with_generated_samples_a_surrogates_critic_keeps_a_slope_in_the_rolls() -> None:
    """Trained on real rolls alone it calls them all real, above 1 where the hinge is flat, within a few steps."""
    data, gan = rolls(2), attacker()
    model = gan.model(data, rng())
    optimizer = torch.optim.Adam(model.parameters(), gan.lr)
    windows = (windowing().cut(data, gan.bars)[0].velocity > 0).float()
    judged = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(24):
            optimizer.zero_grad()
            gan.loss(model, data).mean().backward()
            optimizer.step()
            with torch.no_grad():
                judged.append(float((model.critic(windows) < 1).float().mean()))
    assert sum(judged[12:]) / 12 > 0.2


# --- the untrained arm


def test_the_prior_draws_every_cell_as_often_as_it_sounds() -> None:
    data, gan = rolls(12), attacker(generated=0)
    model = gan.model(data, rng())
    gan.prior(model, data)
    played = torch.cat([roll[:, :length] for roll, length in zip(cells(data), data.lengths.tolist(), strict=True)], 1)
    bars = played.view(4, -1, 16, 84)
    expected = (bars.sum(1) + 0.5) / (bars.shape[1] + 1)
    assert torch.allclose(model.marginal.sigmoid().double(), expected, rtol=1e-4)
    steps = 8_000
    blank = torch.zeros(1, 4, steps, 128)
    long = replace(data.select([0]), velocity=blank, onset=blank > 0, lengths=torch.tensor([steps]))
    drawn = cells(gan.generate(model, long, rng(1))).view(4, -1, 16, 84).mean(1)
    deviation = (expected * (1 - expected) / (steps / 16)).sqrt()
    assert ((drawn - expected).abs() / deviation).max() < 6
    again = gan.model(data, rng(1))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.logits(torch.zeros(1, 64)), model.logits(torch.ones(1, 64))), "the flag is in the state"


# --- the score


def test_the_energy_score_is_what_its_formula_says() -> None:
    data, gan = rolls(6), attacker(bars=4)
    model = gan.model(data, rng())
    gan.prior(model, data)
    # Every roll padded to one window; without onset flags, as the networks see it.
    before = functional.pad(data.velocity, (0, 0, 1, 0))[:, :, :-1]
    real = replace(
        data, velocity=data.velocity[..., 24:108], onset=((data.velocity > 0) & (before == 0))[..., 24:108], lowest=24,
        lengths=torch.full((6,), 64),
    )  # fmt: skip
    f, g = features(real).double(), features(gan._samples(model, real)).double()
    spread = f.std(0, correction=0).clamp(min=0.05)
    x, made = ((rows - f.mean(0)).div(spread).clamp(-5, 5) for rows in (f, g))
    pairs = (made[:, None] - made[None]).norm(dim=2)
    score = (x[:, None] - made[None]).norm(dim=2).mean(1) - 0.5 * pairs.sum() / (256 * 255)
    assert gan.quality(model, data)["energy"].double().numpy() == pytest.approx(-score.numpy(), rel=1e-4)


def test_the_scored_quality_is_paired_and_that_of_disorder_is_of_disorder() -> None:
    data, gan = rolls(8), attacker()
    model = gan.model(data, rng())
    gan.prior(model, data)
    first, second = gan.quality(model, data), gan.quality(model, data)
    assert next(iter(first)) == "energy"
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (first["energy"] != first["energy_shuffled"]).all()


def test_disorder_keeps_every_beat_and_depends_on_the_name_alone() -> None:
    data, module = rolls(3), windowing()
    windows = module.cut(data, 4)[0]
    seen = [module.shuffled(windows), module.shuffled(windows.select([2, 0]))]
    assert torch.equal(seen[0].velocity[[2, 0]], seen[1].velocity)
    for track in range(4):
        was, now = (roll.velocity[0, track].reshape(16, -1) for roll in (windows, seen[0]))
        assert sorted(was.tolist()) == sorted(now.tolist())
        assert not torch.equal(was, now)


# --- training and generating


@pytest.mark.parametrize(
    "parameters",
    [{}, {"velocity": True}, {"output": "bernoulli"}, {"size": "full", "bars": 1, "steps": 6, "velocity": True}],
    ids=["small", "velocity", "bernoulli", "full"],
)
def test_it_trains_and_draws_legal_rolls_within_the_length(parameters: dict[str, Any]) -> None:
    data, gan = rolls(8), quick(generated=3, **parameters)
    data = replace(data, velocity=data.velocity[:, :2], onset=data.onset[:, :2], programs=(0, 32), tracks=())
    lines: list[Any] = []
    fresh = gan.model(data, rng()).state_dict()
    model = gan.learn(data.select(range(6)), data.select([6, 7]), rng(), log=lines.append)
    model.load_state_dict(model.state_dict() | {"counted": torch.tensor(False)})
    assert lines[0].numbers().keys() == {"step", "validation"}
    assert lines[-1].numbers().keys() == {"step", "loss", "validation"}
    assert fresh.keys() == model.state_dict().keys()
    with torch.no_grad():
        model.marginal.fill_(0.0)  # so few steps leave few notes
    made = gan.generate(model, data, rng(1))
    made.check("generated")
    assert made.ids == data.ids[:3]
    assert torch.equal(made.velocity, gan.generate(model, data, rng(1)).velocity)
    assert not torch.equal(made.velocity, gan.generate(model, data, rng(2)).velocity)
    assert made.onset.any()
    levels = made.velocity[made.velocity > 0].unique()
    assert (len(levels) > 1) == gan.velocity


def test_what_comes_back_is_the_best_that_was_seen() -> None:
    data, gan = rolls(12), quick(steps=4, evaluations=2)
    lines: list[Any] = []
    train, held_out = data.select(range(8)), data.select(range(8, 12))
    model = gan.learn(train, held_out, rng(), log=lines.append)
    assert [line.step for line in lines] == [0, 4, 6, 8]
    windows = windowing().cut(held_out, 2)[0]
    best = gan.quality(model, windows)["energy"].mean().item()
    assert best == pytest.approx(max(line.validation for line in lines), rel=1e-5)


def test_a_batch_is_augmented_before_it_is_read() -> None:
    data, gan = rolls(6), quick()

    def silenced(batch: Rolls, rng: Generator, model: Any) -> Rolls:
        return replace(batch, velocity=batch.velocity * 0, onset=batch.onset & False)

    lines: list[list[Any]] = [[], []]
    for log, augment in zip(lines, (lambda batch, rng, model: batch, silenced), strict=True):
        gan.learn(data, data, rng(), augment=augment, log=log.append)
    assert lines[0][0] == lines[1][0], "counting is of the set as it is"
    assert lines[1][1].loss < 0.8 * lines[0][1].loss, "silence is easily told"


@pytest.mark.parametrize(
    ("energy", "disorder", "passed"),
    [(-8.5, -10.0, [True, True]), (-9.0, -8.2, [True, False]), (-22.0, -23.7, [False, True])],
)
def test_the_gates_void_what_knows_no_music_and_what_is_silent(
    energy: float, disorder: float, passed: list[bool]
) -> None:
    gates = attacker().validity(
        {"energy": energy, "energy_shuffled": disorder}, {"energy": -17.0, "energy_shuffled": -16.0}
    )
    assert [gate.passed for gate in gates] == passed


@pytest.mark.parametrize("name", ["bars", "steps", "evaluations"])
def test_a_count_below_one_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} = 0, expected 1 or more"):
        attacker(**{name: 0})


# --- the published size


def test_the_published_networks_have_the_published_number_of_parameters() -> None:
    like = replace(
        rolls(1), velocity=torch.zeros(1, 5, 192, 84), onset=torch.zeros(1, 5, 192, 84, dtype=torch.bool),
        programs=(128, 0, 25, 33, 48), tracks=(), lowest=24, lengths=torch.tensor([192]), steps_per_beat=12,
    )  # fmt: skip
    model = plugins.build("attackers", "musegan", {}, preset="full").model(like, rng()).eval()
    sizes = [sum(p.numel() for p in part.parameters()) for part in (model.generator, model.critic)]
    assert sizes == [2_578_127, 1_366_865]  # 2.57 and 1.36 million
    with torch.no_grad():
        drawn = model.sample(model.prior(2, rng()), None)
        assert drawn.shape == (2, 5, 192, 84)
        assert model.critic(2 * drawn - 1).shape == (2,)


@pytest.mark.parametrize(("beats", "steps"), [(3, 4), (4, 6)])
def test_the_published_networks_refuse_a_bar_that_they_cannot_draw(beats: int, steps: int) -> None:
    odd = replace(rolls(1), beats_per_bar=beats, steps_per_beat=steps)
    with pytest.raises(DataError, match="expected for size 'full' 4 beats"):
        attacker(size="full").model(odd, rng())
    attacker().model(odd, rng())
