"""Classifiers: their sizes, M5's two ways through the same function, features made once, and that they learn digits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Epoch
from bench.errors import DataError
from bench.training import classification

pytestmark = pytest.mark.numeric

NAMES = ("m5", "melcnn", "mfcc")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ten_classes(rate: int = 8000, samples: int = 8000, clips: int = 6, channels: int = 1) -> Clips:
    audio = 0.1 * torch.randn(clips, channels, samples, generator=rng(1))
    return Clips.of(audio, rate, labels=torch.arange(clips) % 10, classes=tuple("0123456789"))


def size(name: str) -> int:
    model = plugins.build("attackers", name).model(ten_classes(), rng())
    return sum(p.numel() for p in model.parameters())


def test_m5_has_the_size_that_is_published() -> None:
    assert size("m5") == 25_290
    many = Clips.of(torch.zeros(1, 1, 8000), 8000, labels=torch.zeros(1).long(), classes=tuple(map(str, range(35))))
    tutorial = plugins.build("attackers", "m5").model(many, rng())
    assert sum(p.numel() for p in tutorial.parameters()) == 26_915  # torchaudio's speech command tutorial


def test_the_others_are_small() -> None:
    assert size("melcnn") == 62_330
    assert size("mfcc") == 34_010


def test_m5_in_evaluation_mode_is_the_network_that_was_trained() -> None:
    model = plugins.build("attackers", "m5").model(ten_classes(), rng())
    data = ten_classes(clips=16)
    for _ in range(3):
        model(data.audio)  # running statistics that are not those of the start
    for norm in model.norms:
        torch.nn.init.uniform_(norm.weight, -1.0, 1.0)  # also a negative factor, which would swap a pool's order
    x = data.audio
    for convolution, norm in zip(model.convolutions, model.norms, strict=True):
        norm.eval()
        x = torch.nn.functional.max_pool1d(torch.relu(norm(convolution(x))), 4)
    expected = model.head(x.mean(-1))
    assert torch.allclose(model.eval()(data.audio), expected, atol=1e-5)


@pytest.mark.parametrize("samples", [8000, 7999, 7001, 16000, 2000])
def test_m5s_gradient_by_shifted_additions_is_that_of_the_convolution(samples: int) -> None:
    model = plugins.build("attackers", "m5").model(ten_classes(), rng()).eval()
    first, norm = model.convolutions[0], model.norms[0]
    audio = torch.randn(2, 1, samples, generator=rng(2), requires_grad=True)
    weight = torch.randn(10, generator=rng(3))
    (fast,) = torch.autograd.grad((model(audio) * weight).sum(), audio)
    x = torch.nn.functional.pad(audio, (0, max(0, 6848 - samples)))
    x = torch.nn.functional.max_pool1d(torch.relu(norm(first(x))), 4)
    for convolution, norm in list(zip(model.convolutions, model.norms, strict=True))[1:]:
        x = torch.nn.functional.max_pool1d(torch.relu(norm(convolution(x))), 4)
    (slow,) = torch.autograd.grad((model.head(x.mean(-1)) * weight).sum(), audio)
    assert fast.shape == audio.shape
    assert torch.allclose(fast, slow, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rate", "samples", "channels"), [(8000, 8000, 1), (16000, 16000, 2), (8000, 800, 1)])
def test_any_rate_and_length_has_a_loss(name: str, rate: int, samples: int, channels: int) -> None:
    attacker = plugins.build("attackers", name)
    data = ten_classes(rate, samples, 4, channels)
    loss = attacker.loss(attacker.model(data, rng()).eval(), data)
    assert loss.shape == (4,)
    assert loss.isfinite().all()


@pytest.mark.parametrize("name", ["melcnn", "mfcc"])
def test_features_made_once_train_the_same_model(name: str) -> None:
    attacker = plugins.build("attackers", name, {"epochs": 2})
    train, validation, test = sets.material("audio")
    assert isinstance(train, Clips)
    once = attacker.learn(train, validation, rng())
    anew = attacker.learn(train, validation, rng(), augment=lambda batch, rng, model: batch)
    for a, b in zip(once.state_dict().values(), anew.state_dict().values(), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert set(attacker.quality(once, test)) == {"accuracy", "log likelihood"}


@pytest.mark.parametrize("name", NAMES)
def test_clips_without_labels_are_refused(name: str) -> None:
    attacker = plugins.build("attackers", name)
    with pytest.raises(DataError, match="no labels"):
        attacker.model(Clips.of(torch.zeros(2, 1, 8000), 8000), rng())


def test_quality_is_in_evaluation_mode_and_leaves_the_mode_alone() -> None:
    attacker = plugins.build("attackers", "m5")
    data = ten_classes()
    model = attacker.model(data, rng()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quality = attacker.quality(model, data)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(quality["log likelihood"], -attacker.loss(model.eval(), data).detach())


def test_the_schedule_rises_to_one_and_falls_to_nothing() -> None:
    factors = [classification.one_cycle(i / 100) for i in range(101)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[25] == 1.0
    assert factors[100] == pytest.approx(0.0)
    assert factors[:26] == sorted(factors[:26])


# Of 480 digits, a fifth of the training set, so that it is quick; all of it reaches .95 to 1.00 (see the speech suite).
# Over three seeds m5 reaches .78 (SD .03), melcnn .94 (.03), mfcc .97 (.01); another instruction set moves them by .03.
# The bounds lie 4 of these two, added in squares, below. A broken learner lies below them: one of a single epoch
# reaches .10, .26 and .62, one with a hundredth of the learning rate .18 to .23, one with shuffled labels .10 to .13.
LEARNT = {"m5": 0.6, "melcnn": 0.78, "mfcc": 0.82}


@pytest.mark.parametrize("name", NAMES)
def test_spoken_digits_are_learnt(name: str, bench_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DATA", str(bench_data))
    digits = plugins.build("datasets", "spoken_digits", {"takes": 8, "test_takes": 2})
    attacker = plugins.build("attackers", name, {"epochs": 8})
    epochs: list[dict[str, float]] = []
    model = attacker.learn(
        digits.load("train"), digits.load("validation"), rng(), log=lambda row: epochs.append(row.numbers())
    )
    assert len(epochs) == 9
    assert float(attacker.quality(model, digits.load("test"))["accuracy"].mean()) > LEARNT[name]


@pytest.mark.parametrize("name", [*NAMES, "ast"])
@pytest.mark.parametrize("items", [0, 2, 7])  # of 40: n/32 rounded up to a pair, and one that fills no batch
def test_a_part_of_a_set_takes_as_many_steps_as_the_whole(name: str, items: int) -> None:
    """Arms that are trained on a part (the unprotected rest, clean subsets) are given the same effort."""
    data = ten_classes(clips=40, samples=2000)
    attacker = plugins.build("attackers", name, {"epochs": 2, "batch": 8})
    parts = [data, replace(data.select(range(items or 40)), whole=40 if items else 0)]
    steps, evaluations = [], []
    for part in parts:
        epochs: list[Epoch] = []
        attacker.learn(part, data, rng(), log=epochs.append)
        steps.append(epochs[-1].step)
        evaluations.append(len(epochs))
    assert steps == [2 * 40 // 8] * 2
    assert evaluations[0] == evaluations[1]
