"""Adaptations around training: harder batches for the model as it is, and a filter of what looks odd."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench._kit import sets
from bench.api import Augment, Clips, Log, silent_log
from bench.errors import DataError, UsageError
from bench.training import hardening

pytestmark = pytest.mark.numeric

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))
HOOKS = ("adversarial_training", "worst_of")


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def build(name: str, **given: Any) -> Any:
    return plugins.build("adaptations", name, given)


def clips() -> tuple[Clips, Clips, Clips]:
    """Train, validation and test set."""
    train, validation, test = sets.material("audio")
    assert isinstance(train, Clips)
    assert isinstance(validation, Clips)
    assert isinstance(test, Clips)
    return train, validation, test


class Watched(sets.Reader):
    """A `Reader` that keeps every loss it descends."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        value = super().loss(model, batch)
        if torch.is_grad_enabled() and not batch.audio.requires_grad:
            seen.append((model, batch, float(value.detach().mean())))
        return value


seen: list[tuple[nn.Module, Clips, float]] = []


@pytest.mark.parametrize("name", HOOKS)
def test_it_trains_on_a_higher_loss_than_the_batch_has(name: str) -> None:
    train, validation, test = clips()
    attacker, plugin = Watched(epochs=20), build(name)
    model = attacker.learn(train, validation, rng())
    hard = plugin._worst(attacker, model, train, rng(1))
    hard.check(name)
    assert hard.ids == train.ids
    given = train if name == "adversarial_training" else plugin._variant(train, rng(1))
    losses, harder = (attacker.loss(model, batch).detach() for batch in (given, hard))
    assert (harder >= losses - 1e-6).all()
    assert harder.mean() > 1.02 * losses.mean()
    seen.clear()
    trained = plugin.train(attacker, train, validation, rng(), log=silent_log)
    assert len(seen) == 20  # one a step: what looks for the worst is not descended
    # An untrained model finds silent pauses hardest, which noise does not make harder: clips are changed later.
    changed = [float((batch.audio != train.audio).flatten(1).any(1).float().mean()) for _, batch, _ in seen]
    assert sum(changed[10:]) > 3
    untrained = attacker.model(train, rng())
    assert attacker.quality(trained, test)["prediction"].mean() > attacker.quality(untrained, test)["prediction"].mean()


def test_adversarial_noise_is_within_epsilon_and_beats_random_noise() -> None:
    train, _, _ = clips()
    attacker = sets.Reader()
    model = attacker.model(train, rng())
    plugin = build("adversarial_training", epsilon=0.02, steps=4)
    noise = plugin._worst(attacker, model, train, rng()).audio - train.audio
    assert noise.abs().max() <= 0.02 + 1e-6
    assert (noise * ~train.support == 0).all()
    assert not any(parameter.grad is not None for parameter in model.parameters())
    random = ((2 * torch.rand(noise.shape, generator=rng()) - 1).sign() * 0.02) * train.support
    losses = [attacker.loss(model, train.with_audio(train.audio + n)).mean() for n in (noise, random)]
    assert losses[0] > losses[1]


def test_worst_of_takes_each_clips_hardest_version() -> None:
    train, _, _ = clips()
    attacker, plugin = sets.Reader(), build("worst_of", k=4)
    model = attacker.model(train, rng())
    draws = rng(5)
    versions = [plugin._variant(train, draws) for _ in range(4)]
    best = torch.stack([attacker.loss(model, version) for version in versions]).amax(0)
    torch.testing.assert_close(attacker.loss(model, plugin._worst(attacker, model, train, rng(5))), best)


@pytest.mark.parametrize("name", HOOKS)
def test_a_classifier_still_learns(name: str) -> None:
    attacker, data = Linear(steps=60), Tones()
    model = build(name).train(attacker, data.load("train"), data.load("validation"), rng(), log=silent_log)
    assert attacker.quality(model, data.load("test"))["accuracy"].mean() > 0.9


@pytest.mark.parametrize("name", HOOKS)
def test_training_depends_on_the_generator_alone(name: str) -> None:
    attacker, data = Linear(steps=3), Tones(clips=6)
    weights = [
        build(name).train(attacker, data.load("train"), data.load("validation"), rng(seed), log=silent_log).weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_every_batch_is_hardened_for_the_model_as_it_is_and_the_validation_set_is_not() -> None:
    data = Tones(clips=6)
    train, validation = data.load("train"), data.load("validation")
    weights, sizes = [], []

    def size(model: nn.Module) -> float:
        (weight, *_) = model.parameters()
        return float(weight.detach().abs().sum())

    def harden(model: nn.Module, batch: Clips) -> Clips:
        weights.append(size(model))
        sizes.append(len(batch))
        return batch.with_audio(batch.audio * 0)

    attacker = Linear(steps=3)
    model = hardening.learn(attacker, harden, train, validation, rng(), silent_log)
    assert sizes == [len(train)] * 3
    assert weights[0] == size(attacker.model(train, rng())), "the first batch meets the fresh model"
    silent = attacker.learn(train.with_audio(train.audio * 0), validation, rng())
    assert torch.equal(next(model.parameters()), next(silent.parameters())), "trained on the hardened batches alone"


def test_an_attacker_that_trains_on_tokens_is_refused() -> None:
    class Tokens(sets.Reader):
        def learn(
            self, train: Any, validation: Any, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
        ) -> nn.Module:
            assert augment is not None
            augment(train.audio.long(), rng, self.model(train, rng))
            raise AssertionError("tokens were accepted")

    data = Tones(clips=4)
    with pytest.raises(DataError, match="Tokens trains on Tensor, expected Clips"):
        build("worst_of").train(Tokens(), data.load("train"), data.load("validation"), rng(), log=silent_log)


def test_looking_for_the_worst_moves_no_running_mean_and_keeps_modes() -> None:
    normalisation = nn.BatchNorm1d(3)
    model = nn.Sequential(normalisation, nn.Dropout())
    model[1].eval()
    with hardening.evaluating(model):
        model(torch.randn(5, 3, generator=rng()))
    assert normalisation.running_mean is not None
    assert torch.equal(normalisation.running_mean, torch.zeros(3))
    assert [module.training for module in model.modules()] == [True, True, False]


def odd(clips: int, share: float) -> tuple[Clips, int]:
    """Noisy tones of two classes; the last ones, of a random order, hum at 3 kHz as well."""
    data = Tones(clips=clips).load("train")
    count = round(share * clips)
    hum = 0.1 * torch.sin(2 * torch.pi * 3000 * torch.arange(data.audio.shape[-1]) / data.rate)
    which = torch.zeros(clips, 1, 1)
    which[-count:] = 1
    return data.with_audio((data.audio + hum * which).clamp(-1, 1)), count


@pytest.mark.parametrize("clips", [20, 200])
def test_the_filter_drops_the_clips_that_hum(clips: int) -> None:
    data, count = odd(clips, 0.2)
    kept = build("anomaly_filter").transform(data, rng())
    assert kept.ids == data.ids[: clips - count]
    louder = data.with_audio(data.audio * torch.linspace(0.2, 1.0, clips)[:, None, None])
    assert build("anomaly_filter").transform(louder, rng()).ids == kept.ids


def test_the_filter_keeps_every_class_and_the_right_share() -> None:
    data, _ = odd(40, 0.2)
    labels = torch.zeros(40, dtype=torch.int64)
    labels[-2:] = torch.tensor([1, 2])
    rare = Clips.of(data.audio, data.rate, labels=labels, classes=("a", "b", "c", "none of these"))
    kept = build("anomaly_filter", share=0.5).transform(rare, rng())
    assert kept.labels is not None
    assert sorted(set(kept.labels.tolist())) == [0, 1, 2]
    assert len(kept) == 22
    assert build("anomaly_filter", share=0.0).transform(rare, rng()).ids == rare.ids


@pytest.mark.parametrize("samples", [1, 5, 300])
def test_the_filter_passes_what_is_short_silent_or_alone(samples: int) -> None:
    short = Clips.of(torch.cat([torch.zeros(3, 2, samples), torch.full((3, 2, samples), 0.5)]), 8000)
    assert 1 <= len(build("anomaly_filter").transform(short, rng())) <= 6
    assert len(build("anomaly_filter", share=0.99).transform(short.select([4]), rng())) == 1
    empty = Clips.of(torch.zeros(2, 1, samples), 8000, lengths=torch.tensor([0, 0]))
    assert len(build("anomaly_filter", share=0.5).transform(empty, rng())) == 1


def test_what_cannot_be_is_refused() -> None:
    for name, given in (("adversarial_training", {"steps": 0}), ("worst_of", {"k": 0}), ("anomaly_filter", {"share": 1.0})):  # fmt: skip  # noqa: E501
        with pytest.raises(UsageError, match="expected"):
            build(name, **given)
