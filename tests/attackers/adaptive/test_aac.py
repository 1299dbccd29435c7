"""The AAC round trip: aligned within a sample at every rate, in range, and coarser at a lower bit rate."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import DataError, UsageError

pytest.importorskip("av")


def coded(clips: Clips, **given: int) -> Clips:
    transformed: Clips = plugins.build("adaptations", "aac", given).transform(clips, torch.Generator()).check("aac")
    return transformed


def chirps(rate: int, channels: int = 1) -> Clips:
    """Three chirps from 100 Hz to 1.5 kHz of different lengths."""
    time = torch.arange(rate) / rate
    audio = (0.6 * torch.sin(2 * torch.pi * (100 * time + 700 * time**2))).expand(3, channels, -1)
    lengths = torch.tensor([rate, rate // 2 + 1, rate // 3])
    return Clips.of(audio * (torch.arange(rate) < lengths[:, None])[:, None], rate, lengths=lengths)


def lag(late: torch.Tensor, early: torch.Tensor) -> int:
    size = 2 * early.shape[-1]
    at = int(torch.fft.irfft(torch.fft.rfft(late, size) * torch.fft.rfft(early, size).conj(), size).argmax())
    return at if at < size // 2 else at - size


def error(clips: Clips, changed: Clips) -> float:
    return float((changed.audio - clips.audio).square().sum() / clips.audio.square().sum())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 20_000, 44_100])
def test_chirps_stay_in_place_and_close(rate: int, channels: int) -> None:
    clips = chirps(rate, channels)
    changed = coded(clips, kbps=48)
    assert all(abs(lag(a, b)) <= 1 for a, b in zip(changed.audio[:, 0], clips.audio[:, 0], strict=True))
    assert 1e-7 < error(clips, changed) < 0.02
    assert torch.equal(changed.lengths, clips.lengths)
    assert (changed.audio * ~changed.support == 0).all()


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_clicks_stay_in_place(rate: int) -> None:
    clicks = torch.zeros(4, 1, rate // 2)
    places = [0, 1023, rate // 4 + 5, rate // 2 - 1]
    for click, place in zip(clicks, places, strict=True):
        click[0, place] = 0.9
    found = coded(Clips.of(clicks, rate), kbps=64).audio[:, 0].abs().argmax(-1)
    assert (found - torch.tensor(places)).abs().max() <= 1


def test_a_lower_bit_rate_loses_more() -> None:
    clips = chirps(16_000)
    noise = 0.05 * torch.randn(clips.audio.shape, generator=torch.Generator().manual_seed(0))
    clips = clips.with_audio((clips.audio + noise) * clips.support)
    assert error(clips, coded(clips, kbps=12)) > 3 * error(clips, coded(clips, kbps=96))
    eight = Clips.of(clips.audio[..., :8000], 8000)
    assert torch.equal(coded(eight, kbps=48).audio, coded(eight, kbps=256).audio)  # the most that AAC has there


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    clips = chirps(16_000)
    torch.testing.assert_close(coded(clips).audio[1:2], coded(clips.select([1])).audio)


@pytest.mark.parametrize("samples", [1, 5, 1024, 1025])
def test_short_silent_and_loud_clips_pass(samples: int) -> None:
    assert coded(Clips.of(torch.ones(2, 1, samples), 8000)).audio.shape == (2, 1, samples)
    silent = Clips.of(torch.zeros(1, 2, samples), 16_000, lengths=torch.tensor([samples // 2]))
    assert coded(silent).audio.abs().max() < 1e-4


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"kbps = 4, expected 8\.\.256"):
        coded(chirps(8000), kbps=4)
    with pytest.raises(DataError, match="3 channels, expected 1 or 2"):
        coded(Clips.of(torch.zeros(1, 3, 800), 8000))
