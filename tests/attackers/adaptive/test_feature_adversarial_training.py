"""Adversarial training in bands and frames: the loss is raised, the log-mel spectrum stays within the bound."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator

from bench import plugins
from bench._kit import sets
from bench.api import Clips, silent_log
from bench.errors import UsageError
from bench.sound.mel import LogMel
from bench.sound.time_filters import equalise_frames, frame_count

pytestmark = pytest.mark.numeric

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def build(**given: Any) -> Any:
    return plugins.build("adaptations", "feature_adversarial_training", given)


def trained() -> tuple[Any, Any, Clips]:
    """A linear classifier that has learnt the tones, and its training set."""
    attacker, data = Linear(), Tones(clips=32)
    train = data.load("train")
    return attacker, attacker.learn(train, data.load("validation"), rng()), train


def test_no_clip_has_a_lower_loss_and_a_larger_radius_a_higher_one() -> None:
    attacker, model, train = trained()
    before = attacker.loss(model, train).detach()
    rises = []
    for decibels in (1.0, 3.0, 9.0):
        worst = build(decibels=decibels)._worst(attacker, model, train, rng()).check("worst")
        after = attacker.loss(model, worst).detach()
        assert (after >= before - 1e-5).all()
        rises.append(float((after - before).mean()))
    assert 0 < rises[0] < rises[1] < rises[2]
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_it_beats_random_gains() -> None:
    attacker, model, train = trained()
    plugin = build(decibels=6.0)
    worst = plugin._worst(attacker, model, train, rng())
    times = round(train.seconds / len(train) * 1000 / plugin.milliseconds)
    signs = torch.rand((len(train), plugin.bands, times), generator=rng(1)).sub(0.5).sign() * 6.0
    random = train.with_audio(plugin._filtered(train, signs))
    assert attacker.loss(model, worst).mean() > attacker.loss(model, random).mean() + 0.01


@pytest.mark.parametrize("decibels", [2.0, 6.0])
def test_the_log_mel_spectrum_stays_within_the_bound(decibels: float) -> None:
    attacker, model, _ = trained()
    noise = 0.05 * torch.randn(32, 1, 8000, generator=rng()).clamp(-3, 3)
    clips = Clips.of(noise, 8000, labels=torch.arange(32) % 2, classes=("a", "b"))
    worst = build(decibels=decibels)._worst(attacker, model, clips, rng())
    front = LogMel(8000, 20, 32.0)
    change = (10 / torch.log(torch.tensor(10.0))) * (front(worst.audio) - front(clips.audio))  # dB
    assert change.abs().mean() < decibels
    assert change.abs().quantile(0.99) < decibels + 1.5
    assert change.abs().mean() > 0.1 * decibels


def test_gains_as_long_as_the_clip_are_one_filter() -> None:
    attacker, model, _ = trained()
    time = torch.arange(8000) / 8000
    tones = 0.1 * torch.sin(2 * torch.pi * 100 * torch.arange(1, 9)[:, None, None] * time)
    clips = Clips.of(tones, 8000, labels=torch.arange(8) % 2, classes=("a", "b"))
    worst = build(decibels=6.0, milliseconds=1000.0)._worst(attacker, model, clips, rng())
    level = 20 * worst.audio[:, 0].unfold(-1, 800, 800).norm(dim=-1).log10()
    assert (level - level[:, 5:6]).abs()[:, 1:-1].max() < 0.1
    assert (level[:, 5] - 20 * clips.audio[:, 0, :800].norm(dim=-1).log10()).abs().max() > 1


def test_gains_of_frames_are_those_that_were_given() -> None:
    time = torch.arange(8000) / 8000
    tone = (0.1 * torch.sin(2 * torch.pi * 1000 * time)).repeat(2, 1, 1)
    gains = torch.zeros(2, 10, frame_count(8000, 8000))
    gains[0, :, gains.shape[-1] // 2 :] = 6.0
    gains[1] = -3.0
    level = 20 * (equalise_frames(tone, 8000, gains)[:, 0].unfold(-1, 800, 800).norm(dim=-1) / 2).log10()
    torch.testing.assert_close(level[0, 1:4], torch.zeros(3), atol=0.1, rtol=0)
    torch.testing.assert_close(level[0, 6:9], torch.full((3,), 6.0), atol=0.1, rtol=0)
    torch.testing.assert_close(level[1], torch.full((10,), -3.0), atol=0.1, rtol=0)


def test_a_classifier_still_learns_and_the_generator_alone_decides() -> None:
    attacker, data = Linear(steps=30), Tones()
    model = build().train(attacker, data.load("train"), data.load("validation"), rng(), log=silent_log)
    assert attacker.quality(model, data.load("test"))["accuracy"].mean() > 0.9
    small = Tones(clips=6)
    weights = [
        build().train(Linear(steps=3), small.load("train"), small.load("validation"), rng(seed), log=silent_log).weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["m5", "melcnn", "mfcc"])
def test_attackers_on_waveform_mel_and_cepstra_have_gradients(name: str) -> None:
    train = sets.material("audio")[0]
    assert isinstance(train, Clips)
    clips = train.select(range(6))
    attacker = plugins.build("attackers", name, {})
    model = attacker.model(clips, rng())
    before = attacker.loss(model.eval(), clips).detach()
    worst = build(decibels=9.0)._worst(attacker, model, clips, rng())
    assert (attacker.loss(model, worst).detach() - before).mean() > 1e-4


@pytest.mark.parametrize("samples", [1, 5])
def test_short_and_silent_clips_pass(samples: int) -> None:
    attacker, model, _ = trained()
    short = Clips.of(torch.full((2, 2, samples), 0.9), 8000, labels=torch.arange(2), classes=("a", "b"))
    for clips in (short, short.with_audio(short.audio * 0)):
        assert build()._worst(attacker, model, clips, rng()).check("short").audio.shape == clips.audio.shape


@pytest.mark.parametrize(
    "given", [{"decibels": -1.0}, {"bands": 0}, {"steps": 0}, {"step": -0.5}, {"milliseconds": 0.0}], ids=str
)
def test_what_cannot_be_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        build(**given)
