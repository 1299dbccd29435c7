"""Mel front ends of classifiers: differentiable, without parameters, at any rate.

Frames are centred, half a window apart, and the ends are padded with silence. The window is Hann's, its length the
power of two nearest to the one requested. Powers are computed by torchaudio's transforms.
"""

from __future__ import annotations

from torch import Tensor, nn

from bench.compat import workaround_torchaudio
from bench.sound.spectra import nearest_power_of_two

__all__ = ["LogMel", "Mfcc"]

_FLOOR = 1e-6  # added to the power: about that of 16-bit rounding
_SILENCE = 1e-12  # largest power of a silent frame: far below one step of 16 bits
_SLOPE_FRAMES = 5  # frames for the slope of a coefficient


class LogMel(nn.Module):
    """Logarithm of the power in Mel bands."""

    def __init__(self, rate: int, bands: int, window_ms: float):
        """Build the filters.

        Args:
            rate: samples a second.
            bands: number of Mel bands.
            window_ms: length of a window, ms.
        """
        super().__init__()
        workaround_torchaudio()
        from torchaudio.transforms import MelSpectrogram

        size = nearest_power_of_two(rate * window_ms / 1000, 16)
        self.mel = MelSpectrogram(rate, size, hop_length=size // 2, n_mels=bands, pad_mode="constant")

    def power(self, audio: Tensor) -> Tensor:
        """Return the power in each Mel band.

        Args:
            audio: [clip, channel, sample]; channels are averaged.

        Returns:
            [clip, band, frame].
        """
        power: Tensor = self.mel(audio.mean(1))
        return power

    def forward(self, audio: Tensor) -> Tensor:
        """Return the natural logarithm of `power`, with a floor.

        Args:
            audio: [clip, channel, sample].

        Returns:
            [clip, band, frame].
        """
        return (self.power(audio) + _FLOOR).log()


class Mfcc(nn.Module):
    """Mel cepstral coefficients and their slopes over time: the orthonormal cosine transform of `LogMel`."""

    def __init__(self, rate: int, bands: int, window_ms: float, coefficients: int, *, centred: bool):
        """Build the filters.

        Args:
            rate: samples a second.
            bands: number of Mel bands.
            window_ms: length of a window, ms.
            coefficients: number of coefficients kept.
            centred: cepstral mean normalisation (Atal 1974): the clip's mean over its active frames is taken from each
                coefficient, so that what a fixed filter adds is gone. Frames of digital silence, such as padding, are
                not active: they count for no mean and are 0.
        """
        super().__init__()
        workaround_torchaudio()
        from torchaudio.functional import create_dct

        self.mel = LogMel(rate, bands, window_ms)
        self.centred = centred
        self.cosines: Tensor
        self.register_buffer("cosines", create_dct(coefficients, bands, "ortho"), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the coefficients and their slopes.

        Args:
            audio: [clip, channel, sample].

        Returns:
            [clip, 2 coefficients, frame].
        """
        from torch import cat
        from torchaudio.functional import compute_deltas

        power = self.mel.power(audio)
        cepstra = ((power + _FLOOR).log().mT @ self.cosines).mT
        if self.centred:
            active = (power.detach().amax(1, keepdim=True) > _SILENCE).to(cepstra.dtype)
            mean = (cepstra * active).sum(-1, keepdim=True) / active.sum(-1, keepdim=True).clamp_min(1.0)
            cepstra = (cepstra - mean) * active
        return cat([cepstra, compute_deltas(cepstra, _SLOPE_FRAMES)], dim=1)
