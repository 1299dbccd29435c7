"""The probe filter: published items that outscore the granted ones leave, others hardly."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, nn

from attackers.adaptive.probe_filter import left_out_scores
from bench import plugins
from bench._kit import sets
from bench.api import Clips, Rolls, silent_log
from bench.errors import DataError, UsageError

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
Linear: Any = plugins.load("attackers", str(PLUGINS / "linear.py"))
Tones: Any = plugins.load("datasets", str(PLUGINS / "tones.py"))


class Watched(Linear):  # type: ignore[misc]
    """Keeps the set of every training."""

    def learn(self, train: Clips, *given: Any, **named: Any) -> nn.Module:
        trained.append(train)
        model: nn.Module = super().learn(train, *given, **named)
        return model


trained: list[Clips] = []


def left(published: Clips, granted: Clips, **given: Any) -> set[str]:
    """Which published items are trained on."""
    plugin: Any = plugins.build("adaptations", "probe_filter", given)
    rng = Generator().manual_seed(0)
    plugin.train_with_granted(Watched(), published, granted, granted, rng, log=silent_log)
    assert trained[-1].epoch_items == len(published) + len(granted)
    assert {*granted.ids} <= {*trained[-1].ids}
    return {*trained[-1].ids} - {*granted.ids}


def half_protected(template: bool) -> tuple[Clips, Clips, set[str]]:
    """Published items, of which every other pair carries noise, clean granted ones, and which are clean.

    A template, the same noise in each, is louder than noise of each clip's own, which its bands give away.
    """
    clean = Tones(clips=100).load("train")
    published, granted = clean.select(range(80)), clean.select(range(80, 100))
    rng = Generator().manual_seed(1)
    noise = torch.randn(1 if template else 80, 1, clean.audio.shape[-1], generator=rng)
    which = (torch.arange(80) // 2) % 2 == 0
    noisy = published.audio + (0.3 if template else 0.1) * noise * which[:, None, None]
    is_clean = {name for name, flag in zip(published.ids, which.tolist(), strict=True) if not flag}
    return published.with_audio(noisy.clamp(-1, 1)), granted, is_clean


@pytest.mark.parametrize("view", ["logmel", "waveform"])
def test_protected_items_leave_and_most_clean_ones_stay(view: str) -> None:
    published, granted, clean = half_protected(template=view == "waveform")
    rest = left(published, granted, view=view)
    assert len(rest - clean) <= 4
    assert len(rest & clean) >= 32  # of 40


@pytest.mark.parametrize("view", ["logmel", "waveform"])
def test_of_clean_items_few_leave(view: str) -> None:
    clean = Tones(clips=100).load("train")
    rest = left(clean.select(range(80)), clean.select(range(80, 100)), view=view)
    assert len(rest) >= 60


def test_the_fewer_granted_items_must_be_outscored_the_more_leave() -> None:
    published, granted, _ = half_protected(template=False)
    counts = [len(left(published, granted, outscored=share)) for share in (1.0, 0.9, 0.5, 0.1)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 0.6 * counts[0]


def test_at_most_the_share_leaves() -> None:
    published, granted, clean = half_protected(template=False)
    rest = left(published, granted, share=0.1)
    assert len(rest) == 72
    assert clean <= rest
    assert left(published, granted, share=0.0) == {*published.ids}


def test_an_item_is_scored_by_a_probe_that_has_not_seen_it() -> None:
    rng = Generator().manual_seed(0)
    rows, published = torch.randn(12, 40, generator=rng, dtype=torch.float64), torch.arange(12) < 6
    scores = left_out_scores(rows, published, 1.0)
    energy = rows.square().sum(1).mean()
    full = torch.cat([rows, torch.full((12, 1), 10.0) * energy.sqrt()], 1)
    for item in (0, 11):
        rest = torch.arange(12) != item
        gram = full[rest].T @ full[rest] + energy * torch.eye(41, dtype=torch.float64)
        weights = torch.linalg.solve(gram, full[rest].T @ torch.where(published[rest], 1.0, -1.0).double())
        assert float(scores[item]) == pytest.approx(float(full[item] @ weights), abs=1e-6)


def test_rolls_are_filtered_by_their_features() -> None:
    train, validation, _ = sets.material("midi")
    assert isinstance(train, Rolls)
    plugin: Any = plugins.build("adaptations", "probe_filter", {})
    granted, published = train.select(range(4)), train.select(range(4, 16))
    model = plugin.train_with_granted(
        sets.Reader(epochs=2), published, granted, validation, Generator().manual_seed(0), log=silent_log
    )
    assert isinstance(model, nn.Module)


def test_without_granted_items_it_is_refused() -> None:
    clean = Tones(clips=4).load("train")
    with pytest.raises(DataError, match="granted"):
        left(clean, clean.select([]))


@pytest.mark.parametrize("given", [{"share": 1.1}, {"ridge": 0.0}, {"outscored": 0.0}, {"view": "mfcc"}])
def test_parameters_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"expected|should be"):
        plugins.build("adaptations", "probe_filter", given)
