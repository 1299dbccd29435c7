"""Class-wise marks without a surrogate model: each class gets its own noise, tone or equaliser.

The control that optimised noise must beat at the same audibility: on images, patches and autoregressive noise prevent
learning as well as noise that takes hours to optimise. All give the labels away. Kinds:

    noise   one white noise a class
    tones   one sine a class, evenly spaced in log frequency from `lowest` to `highest` of half the sampling rate
    lsp     linearly separable: one noise a class, held over `hold_ms` (Yu et al., "Availability Attacks Create
            Shortcuts", KDD 2022: patches)
    ar      autoregressive: new white noise for every clip, through a filter of the class (Sandoval-Segura et al.,
            "Autoregressive Perturbations", NeurIPS 2022), which no linear model separates
    eq      no noise: an equaliser a class, each of `bands` bands `decibels` up or down

Noise has a constant level over the recording, `snr_db` below each clip; a silent clip stays silent. The equaliser keeps
each clip's energy.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from bench.api import Clips, Defense, Knowledge, check_range
from bench.sound.filters import equalise
from bench.sound.levels import energy
from bench.training.classification import labels

_ORDER = 3  # of the autoregressive filters: pole pairs
_RADIUS = 0.97  # of their poles


@dataclass(frozen=True)
class Separable(Defense[Clips]):
    """Add a mark of its class to every clip.

    Attributes:
        kind: of mark, as listed at the head of this module.
        snr_db: signal-to-noise ratio of each clip; all kinds but "eq".
        lowest: kind "tones": lowest frequency as a share of half the sampling rate; 0.075 is 300 Hz at 8 kHz.
        highest: kind "tones": highest frequency as a share of half the sampling rate.
        hold_ms: kind "lsp": how long each value of the noise is held.
        bands: kind "eq": bands of the equaliser.
        decibels: kind "eq": gain of a band, up or down.
    """

    domains = ("audio",)
    per = "class"
    paper = "Yu et al. 2022, KDD; Sandoval-Segura et al. 2022, NeurIPS"

    kind: Literal["noise", "tones", "lsp", "ar", "eq"] = "tones"
    snr_db: float = 20.0
    lowest: float = 0.075
    highest: float = 0.435
    hold_ms: float = 1.0
    bands: int = 12
    decibels: float = 6.0

    def __post_init__(self) -> None:
        check_range(self, "lowest", above=0, most=1)
        check_range(self, "highest", least=self.lowest, most=1)
        check_range(self, "hold_ms", above=0)
        check_range(self, "bands", least=1)
        check_range(self, "decibels", least=0)

    def protect(self, data: Clips, knowledge: Knowledge, rng: Generator) -> Clips:
        """Mark the clips.

        Raises:
            DataError: the clips have no labels.
        """
        label, classes = labels(data), len(data.classes)
        if self.kind == "eq":
            return self._equalised(data, label, classes, rng)
        noise = self._noise(data, label, classes, rng) * data.support
        target_energy = energy(data.audio) * 10 ** (-self.snr_db / 10)
        noise = noise * (target_energy / energy(noise).clamp_min(1e-20)).sqrt()
        return data.with_audio((data.audio + noise).clamp(-1.0, 1.0))

    def _noise(self, data: Clips, label: Tensor, classes: int, rng: Generator) -> Tensor:
        """Generate the noise of each clip at an arbitrary level: [clip, 1, sample]."""
        samples = data.audio.shape[-1]

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng, device=rng.device).to(data.device)

        if self.kind == "noise":
            return normal(classes, 1, samples)[label]
        if self.kind == "lsp":
            hold = max(1, round(self.hold_ms * data.rate / 1000))
            return normal(classes, 1, -(-samples // hold)).repeat_interleave(hold, -1)[label][..., :samples]
        if self.kind == "tones":
            position = torch.randperm(classes, generator=rng, device=rng.device).to(data.device) / max(1, classes - 1)
            hz = data.rate / 2 * self.lowest * (self.highest / self.lowest) ** position
            phase = 2 * torch.pi * torch.rand(classes, 1, 1, generator=rng, device=rng.device).to(data.device)
            time = torch.arange(samples, device=data.device) / data.rate
            return torch.sin(2 * torch.pi * hz[:, None, None] * time + phase)[label]
        angle = torch.pi * (0.05 + 0.85 * torch.rand(classes, _ORDER, generator=rng, device=rng.device)).to(data.device)
        size = 2 * samples
        z = torch.exp(-1j * torch.pi * torch.arange(samples + 1, device=data.device) / samples)
        poles = _RADIUS * torch.exp(1j * angle)[..., None]
        response = 1 / ((1 - poles * z) * (1 - poles.conj() * z)).prod(1)  # [class, bin]
        white = torch.fft.rfft(normal(len(data), size))
        coloured: Tensor = torch.fft.irfft(white * response[label], size)
        return coloured[:, None, :samples]

    def _equalised(self, data: Clips, label: Tensor, classes: int, rng: Generator) -> Clips:
        """Equalise each clip by the random equaliser of its class; its energy stays."""
        signs = torch.randint(0, 2, (classes, self.bands), generator=rng, device=rng.device).to(data.device) * 2.0 - 1.0
        audio = equalise(data.audio, data.rate, self.decibels * signs[label]) * data.support
        audio = audio * (energy(data.audio) / energy(audio).clamp_min(1e-20)).sqrt()
        return data.with_audio(audio.clamp(-1.0, 1.0))
