"""What pairs of clean and protected clips teach: to subtract marks, to filter noise, to tell protected clips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Knowledge
from bench.errors import UsageError

PUBLISHED, PAIRS = 56, 24


def rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def recordings() -> tuple[Clips, Clips]:
    """Plucked tones of two classes: those that are published, and granted ones."""
    clips = sets.tones(PUBLISHED + PAIRS, 8000, 0.5)
    return clips.select(range(PUBLISHED)), clips.select(range(PUBLISHED, PUBLISHED + PAIRS))


def protect(clips: Clips, seed: int, defense: str = "separable", **given: Any) -> Clips:
    made: Clips = plugins.build("defenses", defense, given).protect(clips, Knowledge(), rng(seed))
    return made


def restored(name: str, data: Clips, clean: Clips, protected: Clips, **given: Any) -> Clips:
    adaptation = plugins.build("adaptations", name, given)
    made: Clips = adaptation.transform_with_pairs(data, clean, protected, rng(7))
    return made.check(name)


def removed(after: Clips, protected: Clips, clean: Clips) -> float:
    """The share of the noise energy that is gone; negative where more was added."""
    left, noise = (items.audio - clean.audio for items in (after, protected))
    return 1 - float(left.square().sum() / noise.square().sum())


@pytest.mark.parametrize(("kind", "other", "same"), [("noise", 0.5, 0.7), ("tones", 0.6, 0.6), ("lsp", 0.15, 0.6)])
def test_wiener_removes_the_mark_of_a_class(kind: str, other: float, same: float) -> None:
    """Also where the attacker's pairs have other marks, as those of another seed; more where they have the same."""
    published, granted = recordings()
    marked = protect(published, 0, kind=kind)
    for seed, least in ((1, other), (0, same)):
        after = restored("pairs_wiener", marked, granted, protect(granted, seed, kind=kind))
        assert removed(after, marked, published) > least


def test_wiener_filters_noise_that_no_clips_share() -> None:
    published, granted = recordings()
    noisy = protect(published, 0, "noise", snr_db=5.0)
    after = restored("pairs_wiener", noisy, granted, protect(granted, 1, "noise", snr_db=5.0))
    assert removed(after, noisy, published) > 0.2
    half = restored("pairs_wiener", noisy, granted, protect(granted, 1, "noise", snr_db=5.0), strength=0.5)
    assert torch.allclose(half.audio, (noisy.audio + after.audio) / 2, atol=1e-5)


def test_wiener_needs_no_labels_where_all_clips_share_a_mark() -> None:
    published, granted = (replace(clips, labels=None, classes=()) for clips in recordings())
    mark = 0.03 * torch.randn(1, 1, published.audio.shape[-1], generator=rng())
    marked, theirs = (
        clips.with_audio((clips.audio + mark * clips.support).clamp(-1, 1)) for clips in (published, granted)
    )
    assert removed(restored("pairs_wiener", marked, granted, theirs), marked, published) > 0.75


def test_unet_removes_noise_as_the_pairs_show_it() -> None:
    published, granted = recordings()
    noisy = protect(published, 0, "noise", snr_db=5.0)
    after = restored(
        "pairs_unet", noisy, granted, protect(granted, 1, "noise", snr_db=5.0), steps=30, width=8, frames=32
    )
    assert removed(after, noisy, published) > 0.3


@pytest.mark.parametrize("name", ["pairs_wiener", "pairs_unet", "pairs_filter"])
def test_where_nothing_is_protected_nothing_changes(name: str) -> None:
    published, granted = recordings()
    given = {"steps": 3, "width": 4} if name == "pairs_unet" else {}
    after = restored(name, published, granted, granted, **given)
    assert after.ids == published.ids
    assert torch.allclose(after.audio, published.audio, atol=1e-5)


def test_filter_leaves_out_protected_clips_and_keeps_clean_ones() -> None:
    published, granted = recordings()
    marked = protect(published, 0, kind="noise")
    half = torch.arange(PUBLISHED) % 4 < 2
    mixed = published.with_audio(torch.where(half[:, None, None], marked.audio, published.audio))
    theirs = protect(granted, 1, kind="noise")
    kept = set(restored("pairs_filter", mixed, granted, theirs).ids)
    was_protected = [name in kept for name, mark in zip(published.ids, half.tolist(), strict=True) if mark]
    was_clean = [name in kept for name, mark in zip(published.ids, half.tolist(), strict=True) if not mark]
    assert sum(was_protected) < 0.2 * len(was_protected)
    assert sum(was_clean) > 0.8 * len(was_clean)


def test_filter_leaves_out_no_more_than_its_share_and_no_class() -> None:
    published, granted = recordings()
    marked, theirs = protect(published, 0, kind="noise"), protect(granted, 1, kind="noise")
    assert len(restored("pairs_filter", marked, granted, theirs, share=0.25)) == PUBLISHED * 3 // 4
    few = marked.select([0, 1])
    assert len(restored("pairs_filter", few, granted, theirs, share=0.95)) == 2


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("pairs_wiener", {"strength": 1.5}),
        ("pairs_wiener", {"bandwidth": 0.0}),
        ("pairs_unet", {"steps": 0}),
        ("pairs_unet", {"frames": 3}),
        ("pairs_unet", {"lr": 0.0}),
        ("pairs_filter", {"share": 1.0}),
        ("pairs_filter", {"certainty": 0.5}),
        ("pairs_filter", {"ridge": 0.0}),
    ],
)
def test_parameters_that_make_no_sense_are_refused(name: str, given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        plugins.build("adaptations", name, given)
