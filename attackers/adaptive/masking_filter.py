"""A masking filter: what lies below the published clip's own masking threshold is attenuated.

Noise that a defense keeps under the masking threshold stands alone in those cells of the spectrogram. The threshold is
computed from the published clip, as a perceptual coder does; unlike a coder, nothing else is changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from bench.api import Adaptation, Clips, check_range
from bench.sound.gains import with_gain
from bench.sound.masking import MaskingModel
from bench.sound.spectra import hop_size, power, stft, window_size


@dataclass(frozen=True)
class MaskingFilter(Adaptation[Clips]):
    """Attenuate cells of the spectrogram below the masking threshold.

    Attributes:
        margin: cells up to this many decibels above the threshold are attenuated too.
        reduction: attenuation, dB.
    """

    domains = ("audio",)
    preprocess = True
    sweep = ("margin", 0.0, 12.0)
    paper = "Johnston 1988, IEEE JSAC 6"

    margin: float = 0.0
    reduction: float = 40.0

    def __post_init__(self) -> None:
        check_range(self, "margin", "reduction", least=0)

    def transform(self, data: Clips, rng: Generator) -> Clips:
        model = MaskingModel.create(data.rate, data.audio, size=window_size(data.rate), hop=hop_size(data.rate))
        cells = stft(data.audio, data.rate)
        # A sine of amplitude a on a bin reads a^2, as the model expects.
        level = (
            power(cells.detach()).transpose(-1, -2)
            * (2.0 / torch.hann_window(model.size, device=data.device).sum()) ** 2
        )
        audible = level > model.threshold(level) * 10.0 ** (self.margin / 10.0)
        gain = torch.where(audible, 1.0, 10.0 ** (-self.reduction / 20.0)).transpose(-1, -2)
        return with_gain(data, cells, gain)
