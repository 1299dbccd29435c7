"""Directions by which a linear model tells classes are taken out, and little else."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import DataError

RATE, CLIPS = 2000, 60


def recordings(mark: float) -> Clips:
    """Unrelated noise of three classes, each with a waveform of its own added at a level."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(CLIPS) % 3
    audio = 0.1 * torch.randn(CLIPS, 1, RATE, generator=rng) + mark * torch.randn(3, 1, RATE, generator=rng)[labels]
    return Clips.of(audio.clamp(-1, 1), RATE, labels=labels, classes=("a", "b", "c"))


def projected(clips: Clips) -> Clips:
    made: Clips = plugins.build("adaptations", "project_out").transform(clips, torch.Generator())
    return made.check("project_out")


def separation(clips: Clips) -> float:
    """How far the classes' means lie apart, relative to what chance leaves."""
    means = torch.stack([clips.audio[clips.labels == label].mean(0) for label in range(3)])
    within = clips.audio.square().mean() / (CLIPS / 3)
    return float((means - means.mean(0)).square().mean() / within)


def test_a_mark_of_the_class_is_taken_out() -> None:
    marked = recordings(0.1)
    assert separation(marked) > 3
    assert separation(projected(marked)) < 0.5


def test_clean_clips_lose_little() -> None:
    clean = recordings(0.0)
    lost = (projected(clean).audio - clean.audio).square().sum() / clean.audio.square().sum()
    assert float(lost) < 0.1


def test_without_labels_it_is_refused() -> None:
    with pytest.raises(DataError, match="labels"):
        projected(Clips.of(torch.zeros(2, 1, 10), RATE))
