"""Adaptations that recode the recording: in place, in range, padding zero."""

import pytest
import torch

from bench import plugins
from bench.api import Clips
from bench.errors import DataError, UsageError

RATE = 16_000
CASES = [("mp3", {}), ("mp3", {"kbps": 32}), ("opus", {"kbps": 64}), ("vorbis", {"quality": 0.5}), ("resample", {}), ("resample", {"fraction": 0.689}), ("resample", {"fraction": 2 / 3})]  # fmt: skip  # noqa: E501


def sweeps(channels: int = 1) -> Clips:
    """Three chirps from 100 Hz to 1.5 kHz of different lengths."""
    lengths = torch.tensor([12_000, 7_001, 9_999])
    time = torch.arange(12_000) / RATE
    audio = (0.6 * torch.sin(2 * torch.pi * (100 * time + 930 * time**2))).expand(3, channels, -1)
    support = torch.arange(12_000) < lengths[:, None]
    return Clips.of(audio * support[:, None], RATE, lengths=lengths)


def lag(late: torch.Tensor, early: torch.Tensor) -> int:
    size = 2 * early.shape[-1]
    product = torch.fft.rfft(late, size) * torch.fft.rfft(early, size).conj()
    at = int(torch.fft.irfft(product, size).argmax())
    return at if at < size // 2 else at - size


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("name", "given"), CASES)
def test_it_leaves_everything_but_the_sound(name: str, given: dict[str, float], channels: int) -> None:
    clips = sweeps(channels)
    changed = plugins.build("adaptations", name, given).transform(clips, torch.Generator()).check(name)
    assert changed.audio.shape == clips.audio.shape
    assert changed.rate == clips.rate
    assert changed.ids == clips.ids
    assert torch.equal(changed.lengths, clips.lengths)
    assert (changed.audio * ~changed.support == 0).all()
    assert not torch.equal(changed.audio, clips.audio)


@pytest.mark.parametrize(("name", "given"), CASES)
def test_it_is_aligned_and_close(name: str, given: dict[str, float]) -> None:
    clips = sweeps()
    changed = plugins.build("adaptations", name, given).transform(clips, torch.Generator())
    for before, after, length in zip(clips.audio[:, 0], changed.audio[:, 0], clips.lengths, strict=True):
        assert lag(after, before) == 0
        error = (after - before)[100 : length - 100].square().mean() / before.square().mean()
        assert error < 0.01


@pytest.mark.parametrize(("name", "given"), CASES)
def test_a_clip_does_not_depend_on_its_neighbours(name: str, given: dict[str, float]) -> None:
    clips = sweeps()
    plugin = plugins.build("adaptations", name, given)
    whole, alone = (plugin.transform(data, torch.Generator()) for data in (clips, clips.select([1])))
    torch.testing.assert_close(whole.audio[1:2], alone.audio)


def test_resample_removes_the_upper_half_and_mp3_does_not() -> None:
    tone = 0.3 * torch.sin(2 * torch.pi * 5_500 * torch.arange(16_000) / RATE)
    clips = Clips.of(tone[None, None], RATE)
    inside = slice(400, -400)
    low = plugins.build("adaptations", "resample").transform(clips, torch.Generator()).audio[..., inside]
    kept = plugins.build("adaptations", "mp3").transform(clips, torch.Generator()).audio[..., inside]
    assert low.abs().max() < 0.003
    torch.testing.assert_close(kept, clips.audio[..., inside], atol=0.03, rtol=0)


def test_stems_are_dropped_since_they_no_longer_add_up() -> None:
    clips = sweeps()
    stems = torch.stack([clips.audio / 2, clips.audio / 2], dim=1)
    clips = Clips.of(clips.audio, RATE, lengths=clips.lengths, stems=stems, stem_names=("a", "b"))
    assert plugins.build("adaptations", "mp3").transform(clips, torch.Generator()).stems is None


def test_what_cannot_be_is_refused() -> None:
    eight = Clips.of(torch.zeros(1, 1, 800), 8_000)
    with pytest.raises(DataError, match="no 128 kbit/s: nearest is 64"):
        plugins.build("adaptations", "mp3", {"kbps": 128}).transform(eight, torch.Generator())
    with pytest.raises(UsageError, match="expected between 0 and 1"):
        plugins.build("adaptations", "resample", {"fraction": 1.5})
