"""Class-wise filters that change in time."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench import plugins
from bench._kit import sets
from bench.api import Clips, Knowledge
from bench.errors import DataError, UsageError
from bench.sound.bands import band_levels


def protect(data: Clips, seed: int = 0, **params: Any) -> Clips:
    defense = plugins.build("defenses", "time_filters", params)
    protected = defense.protect(data, Knowledge(), torch.Generator().manual_seed(seed))
    assert isinstance(protected, Clips)
    return protected.check()


def hiss(clips: int = 8, classes: int = 2) -> Clips:
    audio = 0.05 * torch.randn(clips, 1, 8000, generator=torch.Generator().manual_seed(1))
    label = torch.arange(clips) % classes
    return Clips.of(audio, 8000, labels=label, classes=[str(i) for i in range(classes)])


def gains(data: Clips, protected: Clips, bands: int = 8) -> torch.Tensor:
    """Gain in dB of each band and frame."""
    return band_levels(protected, bands)[0] - band_levels(data, bands)[0]


def test_the_energy_and_the_padding_stay() -> None:
    loud = sets.tones(6, 16000, 1.0)
    data = loud.with_audio(0.5 * loud.audio)
    protected = protect(data)
    before, after = (clips.audio.square().sum((1, 2)) for clips in (data, protected))
    assert torch.allclose(before, after, rtol=1e-3)
    assert torch.equal(protected.lengths, data.lengths)


def test_a_band_is_up_as_long_as_it_is_down() -> None:
    """A fixed filter of 6 dB would have a mean gain of +-6 dB; cepstral mean subtraction removes that."""
    data = hiss()
    change = gains(data, protect(data, milliseconds=100.0))
    change = change - change.mean((1, 2), keepdim=True)
    assert float(change.mean(-1).abs().mean()) < 1.5
    assert float(change.abs().mean()) > 2.5


def test_clips_of_a_class_share_filters_and_begin_anywhere() -> None:
    data = hiss(12)
    change = gains(data, protect(data, milliseconds=100.0))
    pattern = torch.linalg.svd((change - change.mean((1, 2), keepdim=True)).double()).U[
        :, :, 0
    ]  # the curve, up to sign
    likeness = (pattern @ pattern.T).abs()
    same = data.labels[:, None] == data.labels  # type: ignore[index]
    assert float(likeness[same].min()) > 0.8
    assert float(likeness[~same].mean()) < 0.7
    first = change[::2, :, 3]  # the third frame of clips of one class
    assert float((first - first.mean(0)).abs().mean()) > 1.0


def test_stronger_is_a_larger_change() -> None:
    data = hiss()
    changes = [
        float((protect(data, decibels=decibels).audio - data.audio).square().sum()) for decibels in (0.0, 2.0, 6.0)
    ]
    assert changes[0] < 1e-6
    assert changes[0] < changes[1] < changes[2] / 4


def test_more_curves_make_a_longer_sequence() -> None:
    """With one curve the gains after two stretches are the first ones again; with three they are not."""
    data = hiss()
    for curves, alike in ((1, True), (3, False)):
        change = gains(data, protect(data, milliseconds=128.0, curves=curves))
        period = 2 * 128 // 8
        later = torch.corrcoef(torch.stack([change[..., :-period].flatten(), change[..., period:].flatten()]))[0, 1]
        assert (float(later) > 0.6) == alike


def test_labels_are_needed() -> None:
    bare = replace(hiss(), labels=None, classes=())
    with pytest.raises(DataError, match="no labels"):
        protect(bare)


@pytest.mark.parametrize("params", [{"decibels": -1.0}, {"milliseconds": 5.0}, {"bands": 0}, {"curves": 0}])
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        plugins.build("defenses", "time_filters", params)
