"""Crafting: bounds and padding are kept, losses go where they are sent, and nothing is looped over clip by clip."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Adaptation, Clips, Knowledge, Rolls
from bench.errors import DataError, UsageError
from bench.training import crafting
from bench.training.crafting import Noise, Schedule

pytestmark = pytest.mark.numeric


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def digits(clips: int = 24, classes: int = 3, samples: int = 4000, rate: int = 8000) -> Clips:
    """Noisy tones whose pitch is the class, 60 to 100 % of the window long."""
    labels = torch.arange(clips) % classes
    time = torch.arange(samples) / rate
    tone = torch.sin(2 * torch.pi * 300.0 * (1 + labels[:, None]) * time)
    audio = (0.3 * tone + 0.05 * torch.randn(clips, samples, generator=rng(1)))[:, None]
    lengths = torch.linspace(0.6, 1.0, clips).mul(samples).long()
    data = Clips.of(audio, rate, lengths=lengths, labels=labels, classes=tuple("abcdefghij"[:classes]))
    return data.with_audio(data.audio * data.support)


def m5() -> Any:
    return plugins.build("attackers", "m5")


def test_min_min_lowers_the_loss_and_keeps_its_bound() -> None:
    data = digits()
    noise = Noise.silent(data, crafting.noise_bound(data, 0.02, padding=False), "clip")
    losses = crafting.min_min(noise, data, [m5()], rng(), Schedule(rounds=4, stop=0.0))
    assert len(losses) == 4
    assert losses[-1] < 0.5 * losses[0]
    protected = noise.everywhere(data)
    assert torch.equal(protected.lengths, data.lengths)
    assert not ((protected.audio - data.audio) * ~data.support).any()
    assert float((protected.audio - data.audio).abs().max()) <= 0.02 + 1e-6


def test_min_min_stops_by_its_rule() -> None:
    data = digits()
    noise = Noise.silent(data, crafting.noise_bound(data, 0.05, padding=False), "class")
    losses = crafting.min_min(noise, data, [m5()], rng(), Schedule(rounds=30, stop=0.5))
    assert losses[-1] < 0.5
    assert all(loss >= 0.5 for loss in losses[:-1])
    assert len(losses) < 30


def test_padding_is_filled_only_when_asked_for_and_then_it_is_recording() -> None:
    data = digits()
    noise = Noise.silent(data, crafting.noise_bound(data, 0.02, padding=True), "clip")
    crafting.min_min(noise, data, [m5()], rng(), Schedule(rounds=1))
    protected = noise.everywhere(data)
    assert protected.lengths.tolist() == [4000] * len(data)
    assert ((protected.audio * ~data.support) != 0).any()
    assert protected.check() is protected


def test_joint_alternation_moves_noise_while_the_surrogate_learns() -> None:
    data = digits()
    noise = Noise.silent(data, crafting.noise_bound(data, 0.02, padding=False), "clip")
    crafting.min_min(noise, data, [m5()], rng(), Schedule(rounds=1, noise_steps=0, alternation="joint"))
    assert float(noise.unit.abs().mean()) > 0.1


def test_shared_noise_moves_by_the_sum_of_its_clips_slopes() -> None:
    data = digits(clips=6, classes=2)
    noise = Noise.silent(data, torch.ones(6, 1, 4000), "class")
    slope = torch.zeros(6, 1, 4000)
    slope[0], slope[2], slope[4] = 1.0, 1.0, -3.0  # of class a: the third outweighs the others
    slope[1] = 0.5
    noise.move(slope, 0.25)
    assert noise.unit[0].unique().tolist() == [0.25]
    assert noise.unit[1].unique().tolist() == [-0.25]
    protected = noise.added(data)
    assert isinstance(protected, Clips)
    added = protected.audio - data.audio
    assert torch.allclose(added[::2], torch.tensor(0.25), atol=1e-6)


def test_as_many_classes_as_clips_still_share() -> None:
    data = replace(digits(clips=4, classes=2), classes=("a", "b", "c", "d"))
    noise = Noise.silent(data, torch.ones(4, 1, 4000), "class")
    index = torch.tensor([2, 0])  # both of class a
    part = noise.select(index)
    part.move(torch.tensor([1.0, -3.0])[:, None, None].expand(2, 1, 4000), 0.25)
    noise.update(index, part)
    assert noise.unit[0].unique().tolist() == [0.25]
    assert not noise.unit[1:].any()


def test_a_slope_that_is_no_number_moves_nothing() -> None:
    data = digits(clips=6, classes=2)
    noise = Noise.silent(data, torch.ones(6, 1, 4000), "clip")
    slope = torch.ones(6, 1, 1).expand(6, 1, 4000)  # as autograd hands out the slope of a mean
    noise.move(slope * torch.tensor([1.0, torch.nan, 1.0, 1.0, 1.0, 1.0])[:, None, None], 0.5)
    noise.move(slope, 0.25)
    assert noise.unit[:, 0, 0].tolist() == [-0.75, -0.25, -0.75, -0.75, -0.75, -0.75]


def test_a_part_of_clip_noise_is_put_back_where_it_was() -> None:
    data = digits(clips=6, classes=2)
    noise = Noise.silent(data, torch.ones(6, 1, 4000), "clip")
    index = torch.tensor([4, 1])
    part = noise.select(index)
    part.move(torch.tensor([1.0, -1.0])[:, None, None].expand(2, 1, 4000), 0.5)
    assert not noise.unit.any()
    noise.update(index, part)
    assert noise.unit[:, 0, 0].tolist() == [0.0, 0.5, 0.0, 0.0, -0.5, 0.0]


def test_clips_in_another_order_get_the_same_noise() -> None:
    """The noise is the clip's, by index, whatever batch it came in."""
    data, model = digits(), None
    attacker = m5()
    model = attacker.model(data, rng())
    order = torch.randperm(len(data), generator=rng(3))
    results = []
    for clips in (data, data.select(order)):
        noise = Noise.silent(clips, crafting.noise_bound(clips, 0.02, padding=False), "clip")
        crafting.perturb(noise, clips, [attacker], [model], rng(), crafting.Descent(3, 0.4, 7))
        results.append(noise.everywhere(clips))
    back = results[1].select(torch.argsort(order))
    assert back.ids == results[0].ids
    assert float((back.audio - results[0].audio).abs().mean()) < 1e-4


def test_upwards_raises_the_loss_and_a_target_lowers_that_of_the_target() -> None:
    data, attacker = digits(clips=60), m5()
    (model,) = crafting.train_surrogates([replace(attacker, epochs=20, batch=8)], data, rng())

    def loss(clips: Clips) -> float:
        return float(attacker.loss(model, clips).mean().detach())

    def crafted(upwards: bool = False, **how: Any) -> Clips:
        noise = Noise.silent(data, crafting.noise_bound(data, 0.05, padding=False), "clip")
        crafting.perturb(noise, data, [attacker], [model], rng(), crafting.Descent(5, 0.3, 16, upwards), **how)
        return noise.everywhere(data)

    assert loss(crafted(upwards=True)) > 3 * loss(data)
    towards = crafted(target=lambda clips: crafting.shifted_labels(clips, 1))
    assert loss(crafting.shifted_labels(towards, 1)) < loss(crafting.shifted_labels(data, 1)) - 0.3


def test_the_surrogate_holds_still_while_the_noise_moves() -> None:
    data, attacker = digits(), m5()
    model = attacker.model(data, rng()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = Noise.silent(data, crafting.noise_bound(data, 0.02, padding=False), "clip")
    crafting.perturb(noise, data, [attacker], [model], rng(), crafting.Descent(2, 0.4, 16))
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_gradient_comes_through_what_leaves_torch() -> None:
    data, attacker = digits(), m5()
    noise = Noise.silent(data, crafting.noise_bound(data, 0.02, padding=False), "clip")
    expects = [plugins.build("adaptations", "mp3", {"kbps": 32})]
    crafting.min_min(noise, data, [attacker], rng(), Schedule(rounds=1), expects)
    moved = (noise.unit != 0) & (noise.bound > 0)
    assert float(moved.float().mean()) > 0.5


def test_expectation_over_a_generative_surrogate_works_alike() -> None:
    data = sets.example("audio")
    assert isinstance(data, Clips)
    noise = Noise.silent(data, crafting.noise_bound(data, 0.02, padding=False), "set")
    losses = crafting.min_min(noise, data, [sets.Reader()], rng(), Schedule(rounds=3, stop=0.0))
    assert losses[-1] < losses[0]


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UsageError, match="no surrogate that takes audio: knowledge is 'none'"):
        crafting.surrogates(Knowledge(), "constant_epsilon")
    bare = replace(digits(), labels=None, classes=())
    with pytest.raises(DataError, match="no labels"):
        Noise.silent(bare, torch.ones(24, 1, 4000), "class")
    with pytest.raises(DataError, match="targeted attack needs labels"):
        crafting.shifted_labels(bare, 1)


# --- rolls


def melodies() -> Rolls:
    data = sets.example("midi")
    assert isinstance(data, Rolls)
    return data


def test_of_rolls_the_velocities_alone_move_within_the_bound_in_whole_steps() -> None:
    data, epsilon = melodies(), 10.4 / 127
    noise = Noise.silent(data, crafting.noise_bound(data, epsilon, padding=False), "clip")
    losses = crafting.min_min(noise, data, [sets.Reader()], rng(), Schedule(rounds=3, stop=0.0, learner_steps=10))
    protected = noise.everywhere(data)
    edits = (protected.velocity - data.velocity) * 127
    assert losses[-1] < losses[0]
    assert edits.abs().max() == pytest.approx(10, abs=1e-3)
    assert torch.allclose(edits, edits.round(), atol=1e-3)
    assert torch.equal(protected.velocity > 0, data.velocity > 0)
    assert torch.equal(protected.onset, data.onset)
    held = ~data.onset & (data.velocity > 0)
    before = torch.nn.functional.pad(protected.velocity, (0, 0, 1, 0))[:, :, :-1]
    assert torch.equal(protected.velocity[held], before[held]), "a note has one velocity"


def test_against_a_model_that_is_blind_to_velocities_there_is_no_slope() -> None:
    data = melodies()
    blind = plugins.build("attackers", "pianoroll_gru", {"velocity": False, "width": 8}, "smoke")
    noise = Noise.silent(data, crafting.noise_bound(data, 0.1, padding=False), "clip")
    crafting.min_min(noise, data, [blind], rng(), Schedule(rounds=1, stop=0.0, learner_steps=1))
    assert not noise.unit.any()


def test_an_expected_adaptation_of_rolls_passes_the_gradient_through() -> None:
    class Softer(Adaptation[Rolls]):
        def transform(self, data: Any, rng: Any) -> Any:
            return replace(data, velocity=(data.velocity * 127 * 0.5).round().detach() / 127)

    data = melodies()
    at = data.velocity.clone().requires_grad_()
    draws = [crafting.apply_expected_adaptation(replace(data, velocity=at), [Softer()], rng(seed)) for seed in range(8)]
    softened = [batch for batch in draws if batch.velocity.max() < 0.6]
    assert 0 < len(softened) < len(draws)
    (slope,) = torch.autograd.grad(softened[0].velocity.sum(), at)
    assert torch.equal(slope, torch.ones_like(at))
