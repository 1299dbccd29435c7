"""Griffin-Lim: the phase is thrown away and estimated anew from the magnitudes of the spectrogram.

Perturbations that rest on phase, or on the exact waveform, are lost; what a listener or a log-mel network reads is
nearly kept. The vocoder of a synthesis pipeline does the same to what was published.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator
from torch.nn import functional

from bench.api import Adaptation, Clips, check_range
from bench.sound.spectra import hop_size, power, stft, window_size


@dataclass(frozen=True)
class GriffinLim(Adaptation[Clips]):
    """Synthesise clips from their magnitudes by the fast Griffin-Lim algorithm, from a phase of zero.

    Attributes:
        iterations: estimates of the phase.
        momentum: of the fast algorithm, 0 to under 1; 0: the algorithm of 1984.
    """

    domains = ("audio",)
    preprocess = True
    aligned = False  # by some samples: the phase that it finds is not that of the recording
    sweep = ("iterations", 100, 8)
    paper = "Griffin and Lim 1984, IEEE TASSP 32; Perraudin, Balazs, Søndergaard 2013, WASPAA"

    iterations: int = 32
    momentum: float = 0.99

    def __post_init__(self) -> None:
        check_range(self, "iterations", least=1)
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum = {self.momentum}, expected 0 to under 1, such as 0.99")

    def transform(self, data: Clips, rng: Generator) -> Clips:
        import torchaudio

        size, hop, samples = window_size(data.rate), hop_size(data.rate), data.audio.shape[-1]
        whole = functional.pad(data.audio, (0, max(0, size - samples)))  # torch warns below one window
        with torch.no_grad():
            magnitude = power(stft(whole, data.rate)).sqrt()
            sound = torchaudio.functional.griffinlim(
                magnitude,
                window=torch.hann_window(size, device=data.device),
                n_fft=size,
                hop_length=hop,
                win_length=size,
                power=1.0,
                n_iter=self.iterations,
                momentum=self.momentum,
                length=whole.shape[-1],
                rand_init=False,
            )
        return data.with_audio(sound[..., :samples].nan_to_num().clamp(-1.0, 1.0) * data.support)
