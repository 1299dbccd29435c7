"""Mel front ends of classifiers: differentiable, without parameters, at any rate.

Frames are centred, half a window apart, the ends padded with silence; the window is Hann's, its length the power of two
nearest to what is asked for. Powers are those of torchaudio's transforms, which do the work.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from bench.compat import mend_torchaudio

__all__ = ["LogMel", "Mfcc"]

_FLOOR = 1e-6  # of the power: about what 16-bit silence has
_SLOPE_FRAMES = 5  # over which the change of a coefficient is taken


class LogMel(nn.Module):
    """Audio [clip, channel, sample], channels averaged -> log power [clip, band, frame], natural logarithm."""

    def __init__(self, rate: int, bands: int, window_ms: float):
        super().__init__()
        mend_torchaudio()
        from torchaudio.transforms import MelSpectrogram

        size = _power_of_two(rate * window_ms / 1000)
        self.mel = MelSpectrogram(rate, size, hop_length=size // 2, n_mels=bands, pad_mode="constant")

    def forward(self, audio: Tensor) -> Tensor:
        power: Tensor = self.mel(audio.mean(1))
        return (power + _FLOOR).log()


class Mfcc(nn.Module):
    """Audio [clip, channel, sample] -> mel cepstral coefficients and their slopes [clip, 2 coefficients, frame].

    The orthonormal cosine transform of `LogMel`. Of each coefficient the clip's mean may be taken away (cepstral mean
    normalisation: what a fixed filter adds is gone).
    """

    def __init__(self, rate: int, bands: int, window_ms: float, coefficients: int, *, centred: bool):
        super().__init__()
        mend_torchaudio()
        from torchaudio.functional import create_dct

        self.mel = LogMel(rate, bands, window_ms)
        self.centred = centred
        self.cosines: Tensor
        self.register_buffer("cosines", create_dct(coefficients, bands, "ortho"), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        from torch import cat
        from torchaudio.functional import compute_deltas

        cepstra = (self.mel(audio).mT @ self.cosines).mT
        if self.centred:
            cepstra = cepstra - cepstra.mean(-1, keepdim=True)
        return cat([cepstra, compute_deltas(cepstra, _SLOPE_FRAMES)], dim=1)


def _power_of_two(samples: float) -> int:
    return max(16, 1 << round(math.log2(max(1.0, samples))))
