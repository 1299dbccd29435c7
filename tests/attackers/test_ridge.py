"""Ridge regression on random features: what the features ignore, that the solution is exact, and that it adapts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from bench import plugins
from bench.api import Clips, Epoch
from bench.errors import DataError
from bench.sound.filters import equalise

pytestmark = pytest.mark.numeric

RATE = 8000


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def ridge(**parameters: Any) -> Any:
    return plugins.build("attackers", "ridge", parameters)


def bursts(classes: int = 3, clips: int = 12, rate: int = RATE, channels: int = 1, seed: int = 0) -> Clips:
    """Noise in the band of a class, then in that of the next, at a random level in the middle of a silent second."""
    generator = rng(seed)
    labels = torch.arange(clips) % classes
    noise = torch.randn(clips, 1, rate // 2, generator=generator).expand(-1, channels, -1).contiguous()
    gains = 24.0 * torch.eye(classes).repeat_interleave(3, 1)
    early, late = equalise(noise, rate, gains[labels]), equalise(noise, rate, gains[(labels + 1) % classes])
    audio = torch.where(torch.arange(rate // 2) < rate // 4, early, late)
    audio = 0.2 * audio / audio.abs().amax((1, 2), keepdim=True) * (1 + torch.rand(clips, 1, 1, generator=generator))
    audio = nn.functional.pad(audio, (rate // 4, rate // 4))
    return Clips.of(audio, rate, labels=labels, classes=tuple("abcdefgh"[:classes]))


def cepstra(data: Clips, **parameters: Any) -> Tensor:
    """The trimmed cepstra of clips, [clip, coefficient or delta, frame]."""
    attacker = ridge(**parameters)
    model = attacker.model(data, rng())
    values: Tensor = model.front[0](data.audio)
    return values.view(len(data), -1, attacker.frames)


def likeness(a: Tensor, b: Tensor) -> float:
    """The smallest cosine between the vectors of two sets of clips."""
    return float(nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)).min())


def test_neither_level_nor_place_of_a_recording_matters() -> None:
    data = bursts()
    here = cepstra(data)
    assert torch.allclose(here.flatten(1).norm(dim=1), torch.ones(len(data)), atol=1e-3)
    assert likeness(here, cepstra(data.with_audio(0.1 * data.audio))) > 0.999
    later = data.with_audio(data.audio.roll(12 * 128, -1))  # by whole frames, so that they begin at the same samples
    assert likeness(here, cepstra(later)) > 0.999
    assert likeness(here[:1], here[1:2]) < 0.5  # another class


def test_soft_noise_around_a_recording_is_trimmed() -> None:
    data = bursts()
    noise = 1e-3 * torch.randn(data.audio.shape, generator=rng(1))
    noisy = data.with_audio(data.audio + noise)
    assert likeness(cepstra(data), cepstra(noisy)) > 0.9
    assert likeness(cepstra(data), cepstra(noisy, trim_db=100.0)) < 0.6


def test_centring_removes_a_fixed_filter() -> None:
    """Relative to the distance between classes, the filter moves centred cepstra by less."""
    data = bursts()
    gains = torch.linspace(-6.0, 6.0, 12)
    filtered = data.with_audio(equalise(data.audio, RATE, gains.expand(len(data), -1)))
    moved = []
    for centred in (True, False):
        before, after = cepstra(data, centred=centred), cepstra(filtered, centred=centred)
        moved.append(float((after - before).norm() / (before - before.roll(1, 0)).norm()))
    assert moved[0] < 0.12  # .08, and .17 if not centred
    assert moved[0] < 0.7 * moved[1]


def test_the_solution_is_that_of_the_normal_equations() -> None:
    train, validation = bursts(clips=24), bursts(clips=12, seed=1)
    attacker = ridge(features=64)
    model = attacker.learn(train, validation, rng())
    features = model.front(train.audio).double()
    assert train.labels is not None
    target = torch.eye(3, dtype=torch.float64)[train.labels]
    residual = target - target.mean(0)
    centred = features - features.mean(0)
    weight = model.body.weight.detach().T.double()
    found = []
    for scale in (1.0, 2.0, 4.0, 8.0):
        slope = centred.T @ (residual - centred @ (weight / scale))  # equals penalty times weight / scale
        penalty = (slope * weight / scale).sum() / (weight / scale).square().sum()
        found.append(float((slope - penalty * weight / scale).norm() / slope.norm()))
    assert min(found) < 1e-2  # the features are float32; at another scale it is .6
    mean = model(train.audio).detach().double().mean(0) / target.mean(0)
    assert torch.allclose(mean, mean[0].expand(3), rtol=1e-4)  # the bias carries the shares of the classes


def test_random_features_approximate_a_gaussian_kernel() -> None:
    data = bursts(clips=30)
    attacker = ridge(features=8192, bandwidth=0.7)
    model = attacker.model(data, rng())
    vectors = model.front[0](data.audio)
    exact = (-torch.cdist(vectors, vectors).square() / (2 * 0.7**2)).exp()
    features = model.front(data.audio)
    assert (features @ features.T - exact).abs().max() < 0.08  # 1 / sqrt(8192) is .011


@pytest.mark.parametrize(
    ("rate", "samples", "channels"), [(8000, 8000, 1), (16_000, 100, 1), (44_100, 9000, 2), (8000, 1, 1)]
)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_any_clip_has_a_loss_and_a_finite_gradient(rate: int, samples: int, channels: int, level: float) -> None:
    noise = torch.randn(4, channels, samples, generator=rng(1))
    audio = (level * noise.sign()).requires_grad_()
    data = Clips.of(audio, rate, labels=torch.arange(4) % 2, classes=("a", "b"))
    attacker = ridge()
    loss = attacker.loss(attacker.model(data, rng()), data)
    (slope,) = torch.autograd.grad(loss.sum(), audio)
    assert loss.shape == (4,)
    assert slope.isfinite().all()
    if samples >= 8000 and level:
        assert (slope.abs().amax((1, 2)) > 0).all()


def test_the_gradient_raises_the_loss_of_a_trained_model() -> None:
    train, validation = bursts(clips=24), bursts(clips=12, seed=1)
    attacker = ridge()
    model = attacker.learn(train, validation, rng())
    audio = train.audio.clone().requires_grad_()
    before = attacker.loss(model, train.with_audio(audio))
    (slope,) = torch.autograd.grad(before.sum(), audio)
    after = attacker.loss(model, train.with_audio((audio + 0.005 * slope.sign() * train.support).detach()))
    assert (after > before).float().mean() > 0.9


def test_without_augmentation_one_system_is_solved_and_a_repeated_set_changes_nothing() -> None:
    train, validation = bursts(clips=24), bursts(clips=12, seed=1)
    lines: list[Epoch] = []
    model = ridge(features=256).learn(train, validation, rng(), log=lines.append)
    assert [line.step for line in lines] == [0, 1]
    assert lines[1].loss is not None
    assert 0 <= lines[1].loss < 1
    part = ridge(features=256).learn(replace(train, whole=48), validation, rng())
    assert torch.equal(model.body.weight, part.body.weight)


@pytest.mark.parametrize("items", [24, 7, 2])
def test_a_part_of_a_set_is_augmented_as_often_as_the_whole(items: int) -> None:
    train = bursts(clips=24)
    seen: list[int] = []

    def augment(batch: Clips, generator: Generator, model: nn.Module) -> Clips:
        seen.append(len(batch))
        return batch

    lines: list[Epoch] = []
    attacker = ridge(epochs=2, batch=8, features=16)
    attacker.learn(replace(train.select(range(items)), whole=24), train, rng(), augment=augment, log=lines.append)
    assert len(seen) == 2 * 3
    assert [line.step for line in lines] == [0, 1, 2]


def test_each_version_is_made_against_the_solution_of_the_versions_before() -> None:
    train, validation = bursts(clips=24), bursts(clips=12, seed=1)
    attacker, losses = ridge(epochs=3, batch=24, features=256), []

    def augment(batch: Clips, generator: Generator, model: nn.Module) -> Clips:
        losses.append(float(attacker.loss(model, batch).detach().mean()))
        return batch

    attacker.learn(train, validation, rng(), augment=augment)
    assert len(losses) == 3
    assert losses[1] < losses[0] / 2


def test_the_best_on_validation_is_kept() -> None:
    """Trained on wrong labels alone, the untrained head, or a solution that is no worse, remains."""
    train, validation = bursts(clips=24), bursts(clips=30, seed=1)
    assert train.labels is not None
    attacker = ridge()
    wrong = replace(train, labels=(train.labels + 1) % 3)
    lines: list[Epoch] = []
    model = attacker.learn(wrong, validation, rng(), log=lines.append)
    kept = float(attacker.quality(model, validation)["accuracy"].mean())
    assert kept == pytest.approx(max(line.validation or 0.0 for line in lines), abs=1e-3)
    assert kept > 0.2


@pytest.mark.parametrize("name", ["adversarial_training", "worst_of", "spec_augment"])
def test_adaptations_reach_it(name: str) -> None:
    train, validation, test = bursts(clips=24), bursts(clips=12, seed=1), bursts(clips=60, seed=2)
    attacker, adaptation = ridge(epochs=3, features=256), plugins.build("adaptations", name)
    plain = attacker.learn(train, validation, rng())
    model = adaptation.train(attacker, train, validation, rng(), log=lambda line: None)
    assert not torch.equal(model.body.weight, plain.body.weight)
    assert float(attacker.quality(model, test)["accuracy"].mean()) > 0.8
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained == ["body.weight", "body.bias"]


def test_adversarial_training_lowers_the_loss_within_its_radius() -> None:
    train, validation, test = bursts(clips=24), bursts(clips=12, seed=1), bursts(clips=60, seed=2)
    attacker, adaptation = ridge(epochs=3, features=256), plugins.build("adaptations", "adversarial_training")
    plain = attacker.learn(train, validation, rng())
    hardened = adaptation.train(attacker, train, validation, rng(), log=lambda line: None)
    accuracies = []
    for model in (plain, hardened):
        worst = adaptation._worst(attacker, model, test, rng(3))
        accuracies.append(float(attacker.quality(model, worst)["accuracy"].mean()))
    assert accuracies[1] > accuracies[0] + 0.3  # .17 and 1.0


@pytest.mark.parametrize("layers", ["last", "all"])
def test_fine_tuning_corrects_wrong_labels(layers: str) -> None:
    train, granted, test = bursts(clips=24), bursts(clips=12, seed=1), bursts(clips=60, seed=2)
    assert train.labels is not None
    wrong = replace(train, labels=(train.labels + 1) % 3)
    attacker, parameters = ridge(features=256), {"layers": layers, "lr": 0.1}
    adaptation = plugins.build("adaptations", "finetune_on_granted", parameters)
    model = adaptation.train_with_granted(attacker, wrong, granted, granted, rng(), log=lambda line: None)
    assert float(attacker.quality(model, test)["accuracy"].mean()) > 0.8


@pytest.mark.parametrize("defense", ["constant_epsilon", "error_maximizing"])
def test_a_defender_crafts_against_it(defense: str) -> None:
    from bench.api import Knowledge

    train = bursts(clips=24)
    noise = plugins.build("defenses", defense, {"epsilon": 0.01})
    protected = noise.protect(train, Knowledge("white-box", (ridge(features=256),)), rng())
    protected.check(defense)
    assert not torch.equal(protected.audio, train.audio)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"coefficients": 41}, "coefficients = 41, expected 1..40"),
        ({"frames": 1}, "frames = 1, expected 2 or more"),
        ({"features": 0}, "features = 0, expected 1 or more"),
        ({"bandwidth": 0.0}, "bandwidth = 0.0, expected more than 0"),
        ({"trim_db": -1.0}, "trim_db = -1.0, expected more than 0"),
    ],
)
def test_parameters_are_checked(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said):
        ridge(**parameters)


def test_clips_without_labels_are_refused() -> None:
    with pytest.raises(DataError, match="no labels"):
        ridge().model(Clips.of(torch.zeros(2, 1, 8000), 8000), rng())


# Of 480 digits, it reaches .93 to .97 over three seeds; chance is .10.
def test_spoken_digits_are_learnt(bench_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(bench_data))
    digits = plugins.build("datasets", "spoken_digits", {"takes": 8, "test_takes": 2})
    attacker = ridge()
    model = attacker.learn(digits.load("train"), digits.load("validation"), rng())
    assert float(attacker.quality(model, digits.load("test"))["accuracy"].mean()) > 0.8
