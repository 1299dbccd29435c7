"""A gain on every cell of the spectrogram."""

import torch

from bench.api import Clips
from bench.sound.gains import with_gain
from bench.sound.spectra import stft


def test_a_gain_scales_within_full_scale_and_leaves_the_padding_silent() -> None:
    sound = torch.rand(2, 2, 3000, generator=torch.Generator().manual_seed(0)) - 0.5
    lengths = torch.tensor([3000, 1500])
    clips = Clips.of(sound * (torch.arange(3000) < lengths[:, None])[:, None], 8000, lengths=lengths)
    cells = stft(clips.audio, clips.rate)
    same, half, loud = (with_gain(clips, cells, torch.tensor(gain)) for gain in (1.0, 0.5, 100.0))
    torch.testing.assert_close(same.audio, clips.audio, atol=1e-5, rtol=0)
    torch.testing.assert_close(half.audio, clips.audio / 2, atol=1e-5, rtol=0)
    assert loud.check().audio.abs().max() == 1
