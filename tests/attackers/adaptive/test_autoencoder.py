"""The autoencoder: a tone that marks a class is lowered, what classes share is kept."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import UsageError

RATE, SAMPLES, CLASSES = 8000, 4000, 3
TONES = (700.0, 1500.0, 2600.0)  # Hz


def purified(clips: Clips, **given: float) -> Clips:
    plugin = plugins.build("adaptations", "autoencoder", {"steps": 80, **given})
    transformed: Clips = plugin.transform(clips, torch.Generator().manual_seed(0)).check("autoencoder")
    return transformed


def spoken(items: int = 36, channels: int = 1) -> Clips:
    """Bursts of harmonics of random pitch, place and length, the same for every class, in faint noise."""
    rng = torch.Generator().manual_seed(0)
    time = torch.arange(SAMPLES) / RATE
    pitch, place, width = (
        low + span * torch.rand(items, 1, generator=rng) for low, span in ((110, 90), (0.12, 0.15), (0.05, 0.08))
    )
    voice = sum(torch.sin(2 * torch.pi * k * pitch * time) / k for k in range(1, 9))
    voice = 0.3 * voice * torch.exp(-(((time - place) / width) ** 2)) + 1e-3 * torch.randn(
        items, SAMPLES, generator=rng
    )
    return Clips.of(
        voice[:, None].expand(-1, channels, -1).contiguous(),
        RATE,
        lengths=torch.full((items,), SAMPLES),
        labels=torch.arange(items) % CLASSES,
        classes=("one", "two", "three"),
    )


def marked(clips: Clips) -> Clips:
    assert clips.labels is not None
    tones = 0.02 * torch.sin(2 * torch.pi * torch.tensor(TONES)[:, None] * torch.arange(SAMPLES) / RATE)
    return clips.with_audio(clips.audio + tones[clips.labels][:, None])


def of_the_tone(clips: Clips) -> float:
    """The mean amplitude of each clip's tone in its last 0.1 s, where no burst is."""
    assert clips.labels is not None
    inside = slice(SAMPLES - 1000, SAMPLES - 200)  # whole periods of every tone
    time = torch.arange(SAMPLES)[inside] / RATE
    wave = torch.exp(-2j * torch.pi * torch.tensor(TONES)[clips.labels][:, None] * time)
    return float(2 * (clips.audio[:, 0, inside] * wave).mean(-1).abs().mean())


def snr(clean: torch.Tensor, other: torch.Tensor) -> float:
    return float(10 * torch.log10(clean.square().sum() / (clean - other).square().sum()))


@pytest.mark.numeric
def test_class_tones_are_lowered_and_the_sound_is_kept() -> None:
    clean = spoken()
    protected = marked(clean)
    changed = purified(protected)
    assert of_the_tone(changed) < 0.5 * of_the_tone(protected)
    assert snr(clean.audio, changed.audio) > snr(clean.audio, protected.audio) + 1
    assert snr(clean.audio, purified(clean).audio) > 15


def test_tones_that_no_class_predicts_stay() -> None:
    protected = marked(spoken())
    unrelated = Clips.of(protected.audio, RATE, labels=torch.arange(36) // 12, classes=protected.classes)
    changed = protected.with_audio(purified(unrelated).audio)
    assert of_the_tone(changed) > 0.7 * of_the_tone(protected)


def test_the_generator_decides_and_nothing_else() -> None:
    clips = marked(spoken(6, channels=2))
    first = purified(clips, steps=3).audio
    torch.manual_seed(5)
    assert torch.equal(first, purified(clips, steps=3).audio)


@pytest.mark.parametrize("samples", [1, 5, 100])
def test_short_and_silent_clips_pass(samples: int) -> None:
    for level in (0.0, 1.0):
        clips = Clips.of(torch.full((2, 2, samples), level), 44_100, labels=torch.tensor([0, 1]), classes=("a", "b"))
        changed = purified(clips, steps=2).audio
        assert changed.shape == (2, 2, samples)
        assert level or (changed == 0).all()


@pytest.mark.parametrize("given", [{"rate": 0.0}, {"steps": 0}])
def test_what_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="expected"):
        purified(spoken(2), **given)
