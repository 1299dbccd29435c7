"""Mixup: the sound and the loss of a mixture are those of its parts, in the same shares."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn
from torch.nn import functional

from bench import plugins
from bench._kit import sets
from bench.api import Augment, Clips, Log, silent_log
from bench.errors import DataError, UsageError
from bench.training import mixing

pytestmark = pytest.mark.numeric

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def build(**given: Any) -> Any:
    return plugins.build("adaptations", "mixup", given)


def test_a_mixture_holds_both_clips_in_their_shares() -> None:
    clips = Tones(clips=12).load("train")
    mixture = build(alpha=1.0)._mixed(clips, rng()).check("mixup")
    shares = mixture.shares
    assert shares.shape == (2, 12)
    torch.testing.assert_close(shares.sum(0), torch.ones(12))
    others = mixture.audio - shares[0, :, None, None] * clips.audio
    for clip in range(12):
        distances = (clips.audio * shares[1, clip] - others[clip]).abs().amax((1, 2))
        partner = int(distances.argmin())
        assert distances[partner] < 1e-5
        assert mixture.part_labels[:, clip].tolist() == [int(clips.labels[clip]), int(clips.labels[partner])]


def test_its_loss_is_the_cross_entropy_to_the_mixed_label() -> None:
    clips, attacker = Tones(clips=12).load("train"), Linear()
    model = attacker.model(clips, rng())
    mixture = build(alpha=1.0)._mixed(clips, rng())
    loss = mixing._by_shares(attacker).loss(model, mixture)
    target = (functional.one_hot(mixture.part_labels, len(clips.classes)) * mixture.shares[..., None]).sum(0)
    frequencies = [
        attacker.loss(model, replace(mixture, labels=torch.full((12,), c))) for c in range(len(clips.classes))
    ]
    expected = (torch.stack(frequencies, -1) * target).sum(-1)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(mixing._by_shares(attacker).loss(model, clips), attacker.loss(model, clips))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    clips = Clips.of(torch.zeros(4000, 1, 1), 8000, labels=torch.zeros(4000, dtype=torch.int64), classes=("a",))
    share = build(alpha=alpha)._mixed(clips, rng()).shares[0]
    assert float(share.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_a_mixture_is_as_long_as_its_longest_part_and_selects_its_labels() -> None:
    audio = torch.full((6, 1, 100), 0.5)
    lengths = torch.arange(10, 70, 10)
    clips = Clips.of(audio, 8000, lengths=lengths, labels=torch.arange(6), classes=tuple("abcdef"))
    clips = clips.with_audio(clips.audio * clips.support)
    mixture = build()._mixed(clips, rng()).check("mixup")
    expected = torch.maximum(lengths, lengths[mixture.part_labels[1]])
    assert torch.equal(mixture.lengths, expected)
    part = mixture.select([4, 2])
    assert torch.equal(part.part_labels, mixture.part_labels[:, [4, 2]])
    assert torch.equal(part.shares, mixture.shares[:, [4, 2]])


def test_a_classifier_learns_from_mixtures_alone_and_is_chosen_on_clean_clips() -> None:
    class Watched(Linear):  # type: ignore[misc]
        def learn(
            self,
            train: Clips,
            validation: Clips,
            rng: Generator,
            *,
            augment: Augment | None = None,
            log: Log = silent_log,
        ) -> nn.Module:
            assert augment is not None
            assert type(validation) is Clips
            assert isinstance(augment(train, rng, self.model(train, rng)), mixing.Mixture)
            model: nn.Module = super().learn(train, validation, rng, augment=augment, log=log)
            return model

    attacker, data = Watched(steps=60), Tones()
    model = build().train(attacker, data.load("train"), data.load("validation"), rng(), log=silent_log)
    assert attacker.quality(model, data.load("test"))["accuracy"].mean() > 0.9


def test_training_depends_on_the_generator_alone() -> None:
    attacker, data = Linear(steps=3), Tones(clips=6)
    weights = [
        build().train(attacker, data.load("train"), data.load("validation"), rng(seed), log=silent_log).weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", ["m5", "melcnn", "mfcc"])
def test_every_classifier_can_be_trained(name: str) -> None:
    clips = sets.material("audio")[0]
    assert isinstance(clips, Clips)
    attacker = plugins.build("attackers", name, {"epochs": 1})
    model = build().train(attacker, clips.select(range(4)), clips.select(range(2)), rng(), log=silent_log)
    assert attacker.quality(model, clips)["log likelihood"].isfinite().all()


def test_clips_without_labels_and_tokens_are_refused() -> None:
    class Tokens(sets.Reader):
        def learn(
            self, train: Any, validation: Any, rng: Generator, *, augment: Augment | None = None, log: Log = silent_log
        ) -> nn.Module:
            assert augment is not None
            augment(train.audio.long(), rng, self.model(train, rng))
            raise AssertionError("tokens were accepted")

    clips = Tones(clips=4).load("train")
    with pytest.raises(DataError, match="Tokens trains on Tensor, expected Clips"):
        build().train(Tokens(), clips, clips, rng(), log=silent_log)
    unlabelled = replace(clips, labels=None, classes=())
    with pytest.raises(DataError, match="no labels"):
        build().train(Linear(steps=1), unlabelled, clips, rng(), log=silent_log)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="expected"):
        build(alpha=0.0)
