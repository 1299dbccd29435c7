"""Noise from a linear classifier."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Knowledge
from bench.errors import DataError, UsageError
from bench.sound.filters import equalise
from bench.sound.mel import LogMel


def protect(data: Clips, seed: int = 0, **params: Any) -> Clips:
    defense = plugins.build("defenses", "pil", {"learner_steps": 60, "steps": 15, **params})
    protected = defense.protect(data, Knowledge(), torch.Generator().manual_seed(seed))
    assert isinstance(protected, Clips)
    return protected.check()


def coloured(clips: int = 20) -> Clips:
    """Noise of a colour for each class, and of another for each clip; no padding."""
    rng = torch.Generator().manual_seed(0)
    label = torch.arange(clips) % 2
    decibels = torch.randn(2, 6, generator=rng)[label] * 5 + torch.randn(clips, 6, generator=rng) * 3
    audio = equalise(0.05 * torch.randn(clips, 1, 4000, generator=rng), 8000, decibels)
    return Clips.of(audio.clamp(-1, 1), 8000, labels=label, classes=("one", "other"))


def told(noise: torch.Tensor, data: Clips) -> float:
    """Share of clips whose class the noise alone tells, along the line between the clean classes' means."""
    assert data.labels is not None
    line, along = (_spectra(audio) for audio in (data.audio, noise))
    direction = line[data.labels == 1].mean(0) - line[data.labels == 0].mean(0)
    place = along @ direction
    return float(((place > place.median()) == (data.labels == 1)).float().mean())


def _spectra(audio: torch.Tensor) -> torch.Tensor:
    levels: torch.Tensor = LogMel(8000, 20, 32.0)(audio)
    return (levels - levels.mean((1, 2), keepdim=True)).flatten(1)


def test_the_noise_alone_tells_the_class() -> None:
    """White noise within the same bound does not: .5 within its error of .11."""
    data = coloured()
    noise = protect(data).audio - data.audio
    white = 0.01 * (2 * torch.rand(noise.shape, generator=torch.Generator().manual_seed(1)) - 1) * data.support
    assert told(noise, data) >= 0.9
    assert told(white, data) <= 0.8


def test_without_the_shortcut_the_noise_does_not() -> None:
    data = coloured()
    shares = [told(protect(data, shortcut=weight).audio - data.audio, data) for weight in (0.0, 1.0)]
    assert shares[0] < shares[1] - 0.1


@pytest.mark.parametrize("read", ["logmel", "waveform"])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_noise_keeps_its_bound_and_the_padding(read: str, channels: int) -> None:
    data = sets.tones(4, 8000, 0.5, channels)
    noise = protect(data, epsilon=0.004, input=read).audio - data.audio
    assert 0.003 < float(noise.abs().max()) <= 0.004 + 1e-6
    assert not (noise * ~data.support).any()


def test_noise_of_a_waveform_is_alike_within_a_class() -> None:
    data = sets.tones(8, 8000, 0.5)
    assert data.labels is not None
    noise = (protect(data, input="waveform").audio - data.audio).flatten(1)[:, :1500]
    likeness = torch.corrcoef(noise)
    same = data.labels[:, None] == data.labels
    assert float(likeness[same].mean()) > float(likeness[~same].mean()) + 0.2


def test_no_surrogate_is_needed_but_labels_are() -> None:
    bare = replace(sets.tones(2, 8000, 0.3), labels=None, classes=())
    with pytest.raises(DataError, match="no labels"):
        protect(bare)


@pytest.mark.parametrize("params", [{"epsilon": 2.0}, {"steps": -1}, {"bands": 0}, {"input": "pixels"}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plugins.build("defenses", "pil", params)
