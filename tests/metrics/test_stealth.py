"""Detectors find what is plain, find nothing where there is nothing, and hold out what they score."""

import builtins
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench._kit.sets import melodies, tones
from bench.api import Clips, Data, Rolls, concatenate
from bench.errors import DataError
from bench.extras import command, explained
from bench.metrics import roc, stealth
from bench.metrics.stealth import detection
from bench.notes.restrikes import split

ITEMS = 40
AUDIO = {"isolation_forest", "one_class_svm", "outlier", "linear_probe", "codec_residual"}
MIDI = {"isolation_forest", "one_class_svm", "outlier", "linear_probe", "surprise"}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def named(data: Any, prefix: str) -> Any:
    return replace(
        data,
        ids=tuple(f"{prefix}{item}" for item in data.ids),
        groups=tuple(f"{prefix}{number}" for number in range(len(data))),
    )


@pytest.fixture(scope="module")
def clips() -> tuple[Clips, Clips, Clips]:
    """Clean, others and a reference: plucked tones in random keys and levels."""
    every = tones(3 * ITEMS, seconds=0.5)
    order = torch.randperm(3 * ITEMS, generator=rng(7))
    gain = 0.3 + 0.7 * torch.rand(3 * ITEMS, 1, 1, generator=rng(8))
    every = every.with_audio(every.audio * gain).select(order)
    first, second, third = (named(every.select(part), f"{part[0]}/") for part in torch.arange(3 * ITEMS).split(ITEMS))
    return first, second, third


@pytest.fixture(scope="module")
def rolls() -> tuple[Rolls, Rolls, Rolls]:
    every = melodies(3 * ITEMS)
    every = every.select(torch.randperm(3 * ITEMS, generator=rng(7)))
    first, second, third = (named(every.select(part), f"{part[0]}/") for part in torch.arange(3 * ITEMS).split(ITEMS))
    return first, second, third


def with_noise(clips: Clips, level: float) -> Clips:
    noise = level * torch.randn(clips.audio.shape, generator=rng(3)) * clips.support
    return clips.with_audio((clips.audio + noise).clamp(-1, 1))


def test_plain_noise_is_found_by_every_detector(clips: tuple[Clips, Clips, Clips]) -> None:
    clean, _, reference = clips
    found = detection(clean, with_noise(clean, 0.03), reference, rng())
    assert set(found) == AUDIO
    for name, figures in found.items():
        assert figures["auc"] > (0.7 if name == "isolation_forest" else 0.9), name
        assert figures["eer"] < 0.4, name
    assert found["linear_probe"]["tpr_at_1_fpr"] == 1.0


def test_clean_against_other_clean_clips_is_near_chance(clips: tuple[Clips, Clips, Clips]) -> None:
    for name, figures in detection(*clips, rng()).items():
        assert 0.2 < figures["auc"] < 0.75, name  # held-out folds push a probe without information below 0.5
        assert figures["tpr_at_1_fpr"] < 0.3, name


def test_clips_against_themselves_are_at_chance(clips: tuple[Clips, Clips, Clips]) -> None:
    clean, _, reference = clips
    for name, figures in detection(clean, clean, reference, rng()).items():
        assert figures["auc"] == pytest.approx(0.5, abs=0.02), name


def test_soft_repeats_are_found_in_rolls(rolls: tuple[Rolls, Rolls, Rolls]) -> None:
    clean, other, reference = rolls
    ghosts = torch.rand(clean.onset.shape, generator=rng(4)) < 0.4
    struck = clean.onset | ((clean.velocity > 0) & ghosts)
    protected = replace(clean, velocity=torch.where(struck & ~clean.onset, 0.1, clean.velocity), onset=struck)
    found = detection(clean, protected, reference, rng())
    assert set(found) == MIDI
    for name, figures in found.items():
        assert figures["auc"] > 0.9, name
    for name, figures in detection(clean, other, reference, rng()).items():
        assert 0.2 < figures["auc"] < 0.75, name


def test_the_same_random_numbers_give_the_same_figures(clips: tuple[Clips, Clips, Clips]) -> None:
    assert detection(*clips, rng(5)) == detection(*clips, rng(5))


def test_the_probe_holds_out_both_versions_of_a_recording() -> None:
    """Features without any information, the same in both versions but for a label-like sign of the pair."""
    rows = torch.randn(60, 30, generator=rng(1)).double()
    groups = [str(number) for number in range(60)]
    scores = stealth.linear_probe(rows, rows.clone(), [*groups, *groups], rng(2))
    assert torch.allclose(scores[:60], scores[60:])
    assert float(scores.abs().max()) < 1e-3


def test_the_probe_learns_one_shifted_feature_and_not_memory() -> None:
    rows = torch.randn(2, 60, 30, generator=rng(1)).double()
    rows[1, :, 0] += 4.0
    groups = [str(number) for number in range(120)]
    assert roc.auc(*reversed(stealth.linear_probe(rows[0], rows[1], groups, rng()).split(60))) > 0.95
    rows[1, :, 0] -= 4.0
    null = roc.auc(*reversed(stealth.linear_probe(rows[0], rows[1], groups, rng()).split(60)))
    assert null == pytest.approx(0.5, abs=0.2)


def test_a_probe_with_one_group_has_no_scores() -> None:
    rows = torch.randn(4, 3).double()
    assert stealth.linear_probe(rows, rows, ["a"] * 8, rng()).isnan().all()


def test_robust_z_is_not_moved_by_a_tenth_of_outliers_and_is_bounded() -> None:
    reference = torch.randn(200, 2, generator=rng(1)).double()
    spoilt = reference.clone()
    spoilt[:20] = 1e6
    points = torch.tensor([[0.0, 0.0], [3.0, 3.0]]).double()
    clean = stealth.robust_z(points, reference)
    assert clean[1].tolist() == pytest.approx([3.0, 3.0], abs=0.6)
    assert torch.allclose(stealth.robust_z(points, torch.zeros(9, 2).double())[1], torch.tensor(1000.0).double())
    middle = stealth.robust_z(torch.tensor([[1e9, 0.0]]).double(), reference)
    assert middle[0, 0] == 1000.0
    assert stealth.outlier(points, reference)[1] == clean[1].max()
    # the median has moved by an eighth of a standard deviation, the spread is bounded below by the outliers' share
    assert float(stealth.robust_z(points, spoilt).abs().max()) < 3.0


def test_the_surprise_of_known_rolls_is_lower_than_that_of_scrambled_ones() -> None:
    known = melodies(20)
    shuffled = known.velocity[..., torch.randperm(128, generator=rng(1))]
    other = replace(known, velocity=shuffled, onset=shuffled > 0)
    assert float((stealth.surprise(other, known) - stealth.surprise(known, known)).min()) > 1.0


def test_the_surprise_of_an_unseen_token_is_finite_and_of_no_notes_is_zero() -> None:
    empty = replace(melodies(1), velocity=torch.zeros(1, 4, 64, 128), onset=torch.zeros(1, 4, 64, 128).bool())
    assert stealth.surprise(empty, melodies(8)).tolist() == [0.0]
    unfitted = stealth.surprise(melodies(1), empty)
    tokens = 49 * 7 * 6
    assert unfitted.tolist() == [pytest.approx(math.log(tokens), abs=1e-6)]


def test_a_roll_split_into_restrikes_is_more_surprising() -> None:
    known = melodies(12)
    cells = (known.velocity > 0) & ~known.onset
    assert cells.any()
    struck = split(known, cells, known.velocity)
    assert float(stealth.surprise(struck, known).min()) > float(stealth.surprise(known, known).max())


def refused(clean: Data, protected: Data, reference: Data, match: str) -> None:
    with pytest.raises(DataError, match=match) as error:
        detection(clean, protected, reference, rng())
    assert "\n" not in str(error.value)


def test_sets_that_do_not_fit_are_one_line() -> None:
    clips, few = tones(8, seconds=0.2), tones(7, seconds=0.2)
    refused(clips, clips, few, "7 reference items, expected at least 8")
    refused(clips, melodies(8), clips, "expected one kind")
    refused(clips, clips, tones(8, rate=8000, seconds=0.2), "expected one rate")
    refused(clips.select([]), clips, clips, "0 clean items")


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    monkeypatch.setattr("bench.extras._installed", lambda package: False)
    with pytest.raises(ModuleNotFoundError) as error:
        stealth.one_class_svm(torch.zeros(2, 2), torch.zeros(8, 2))
    assert command("detection") in str(explained(error.value))


def test_sets_of_different_lengths_are_taken() -> None:
    longer = tones(10, seconds=0.4)
    both = concatenate(named(longer, "a"), named(tones(6, seconds=0.2, seed=1), "b"))
    assert set(detection(both, named(tones(8, seconds=0.3), "c"), named(longer, "d"), rng())) == AUDIO
