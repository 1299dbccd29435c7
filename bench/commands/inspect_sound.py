"""`bench inspect` of one sound file, in bounded memory: what it measures, and what that says without other files.

The file is decoded once, in pieces. Every piece counts for peak, clipping, digest and spectrum; features and codec
residual are those of at most `FEATURED` pieces, evenly spread.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.api import Clips
from bench.errors import DataError
from bench.files import printable
from bench.metrics.stealth_features import clip_features, codec_residual
from bench.sound import files
from bench.sound.bands import band_levels
from bench.sound.encoding import LOSSY
from bench.sound.spectra import hop_size

PIECE_SECONDS = 8.0
FEATURED = 8
SLOTS, BANDS = 64, 16  # of a fingerprint: parts of the file's duration, and Mel bands
MARK_SECONDS = 1.0
_MARK_FROM_HZ = 70.0  # below lie offsets and hum, which recordings share

_SILENT = 1e-5  # peak; as `files.require_audible`
_FULL, _RUN = 0.999, 3  # a clipped run: at least so many equal samples at full scale
_EQUAL = 1e-6
_WINDOW_HZ = 10.0  # spacing of the bins of the spectrum, about
_KAISER = 14.0  # side lobes of -105 dB: a loud partial is no band, a few bins wide
_LEAST_DB = -150.0
_STEP_DB = 25.0  # fall of the spectrum at a cut-off
_WIDTH = 20  # bins whose median is a band's level, at least
_HIGHEST = 0.925  # of half the rate: above it a fall is the filter of any converter
_EMPTY_DB = 60.0  # what lies above a cut-off is at least so far below the loudest bin
_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_PASSED, _USUAL = (0.86, 1.02), 0.975  # where in the band of a former rate its filter cuts
_SHELF_HZ = 14_500.0  # lossy codecs at usual bit rates keep what lies below
_TO_THE_END = 0.99  # of the band of a former rate: no filter of a converter lets so much pass


@dataclass
class SoundFacts:
    """What is known of a sound file by itself.

    Attributes:
        rate: Samples a second.
        channels: Number of channels.
        seconds: Length.
        lossy: The file's own coding is a lossy one.
        digest: SHA-256 of its rate and samples as decoded.
        peak: Largest absolute value.
        clipped: Share of the samples that lie in clipped runs.
        runs: Number of clipped runs.
        cut_hz: Where the spectrum ends by a steep fall; NaN where it does not.
        features: Means over the featured pieces, weighted by length; empty for silence.
        fingerprint: Levels in bands and parts of the duration, less the mean of each band, float16 [band x part].
        phases: Of the first second's spectrum, complex64 [bin] of absolute value 1; None for silence.
    """

    rate: int
    channels: int
    seconds: float = 0.0
    lossy: bool = False
    digest: str = ""
    peak: float = 0.0
    clipped: float = 0.0
    runs: int = 0
    cut_hz: float = math.nan
    features: dict[str, float] = field(default_factory=dict)
    fingerprint: Tensor | None = None
    phases: Tensor | None = None

    @property
    def silent(self) -> bool:
        """Whether no sample reaches 1e-5 of full scale."""
        return self.peak < _SILENT


def measure(path: Path) -> SoundFacts:
    """Read a sound file and measure it.

    Args:
        path: The file.

    Returns:
        The facts.

    Raises:
        DataError: It cannot be read. One line.
    """
    info = files.info(path)
    facts = SoundFacts(info.rate, info.channels, lossy=info.subtype in LOSSY)
    piece = max(1, round(PIECE_SECONDS * info.rate))
    every = max(1, math.ceil((info.samples or 0) / piece / FEATURED))
    sha = hashlib.sha256(f"{info.rate} {info.channels} ".encode())
    spectrum, clipping, features = _Spectrum(info.rate), _Clipping(info.channels), _Features()
    prints = _Fingerprint(info.samples or 0)
    samples = 0
    for number, block in enumerate(files.blocks(path, piece)):
        sha.update(np.ascontiguousarray(block.T.numpy()).tobytes())
        if number == 0:
            facts.phases = _phases(block, info.rate)
        facts.peak = max(facts.peak, float(block.abs().max()))
        clipping.add(block)
        spectrum.add(block)
        prints.add(block, info.rate, samples)
        if number % every == 0:
            features.add(block, info.rate)
        samples += block.shape[1]
    if not samples:
        raise DataError(f"'{printable(path)}' holds 0 samples, expected some sound")
    facts.digest, facts.seconds = sha.hexdigest(), samples / info.rate
    facts.runs, facts.clipped = clipping.runs, clipping.samples / (samples * info.channels)
    facts.cut_hz = cut_off(spectrum.levels(), info.rate)
    facts.features, facts.fingerprint = features.means(), None if facts.silent else prints.rows()
    return facts


def former(facts: SoundFacts) -> tuple[str, str] | None:
    """Say what a steep end of the spectrum comes from.

    A sound whose highest band is empty was resampled from a lower rate, or coded by a lossy codec that drops it. A
    lossy file has such an end by its own coding, so that of those only a cut far below is named.

    Args:
        facts: Of a sound file.

    Returns:
        "resampled" or "lossy", and the reason; None where nothing is to be said.
    """
    cut, nyquist = facts.cut_hz, facts.rate / 2
    if math.isnan(cut) or (facts.lossy and cut > 0.45 * nyquist):
        return None
    said = f"hardly any energy above {cut / 1000:.1f} kHz, of {nyquist / 1000:.4g} kHz"
    used = {rate: 2.0 * cut / rate for rate in _RATES if rate < facts.rate}
    likely = min(used, key=lambda rate: abs(used[rate] - _USUAL), default=0)
    fits = likely > 0 and _PASSED[0] <= used[likely] <= _PASSED[1]
    shelf = cut >= _SHELF_HZ and not facts.lossy
    if shelf and not (fits and used[likely] < _TO_THE_END):
        other = f", unless it is from {likely} Hz" if fits else ""
        return "lossy", f"{said}: as MP3 and other lossy codecs leave it{other}"
    if not fits:
        return "resampled", f"{said}: from a lower rate, or through a low-pass filter"
    return "resampled", f"{said}: likely from {likely} Hz{', unless by a lossy codec' if shelf else ''}"


def cut_off(levels: Tensor, rate: int) -> float:
    """Find where a spectrum ends by a steep fall, with nothing above.

    Medians over bins are compared, so that a single partial is no band that ends.

    Args:
        levels: dB [bin], evenly from 0 to half the rate, the loudest 0.
        rate: Samples a second.

    Returns:
        Hz; NaN where there is no such end between a tenth and 92.5 % of half the rate.
    """
    bins = len(levels)
    gap, width = max(1, bins // 100), max(_WIDTH, bins // 25)
    if bins < 8 * (gap + width):
        return math.nan
    medians = levels.unfold(0, width, 1).median(1).values  # of bins i to i + width
    centre = torch.arange(bins // 10, round(_HIGHEST * bins))
    centre = centre[(centre >= gap + width) & (centre + gap + width <= bins)]
    below, above = medians[centre - gap - width], medians[centre + gap]
    highest = levels.flip(0).cummax(0).values.flip(0)[(centre + gap).clamp(max=bins - 1)]
    fall = torch.where((highest < -_EMPTY_DB) & (highest < below - 0.6 * _STEP_DB), below - above, -torch.inf)
    best = int(fall.argmax())
    if float(fall[best]) < _STEP_DB:
        return math.nan
    at = int(centre[best])
    middle = 0.5 * (below[best] + above[best])
    inside = (levels[at - gap - width : at + gap + width] > middle).nonzero()[:, 0]
    return float(at - gap - width + int(inside[-1]) + 1) / (bins - 1) * rate / 2


class _Spectrum:
    """Sums the power of frames over a file, channels averaged; frames across two pieces are left out."""

    def __init__(self, rate: int) -> None:
        self._size = 1 << max(8, round(math.log2(rate / _WINDOW_HZ)))
        self._window = torch.kaiser_window(self._size, True, _KAISER)
        self._power = torch.zeros(1 + self._size // 2, dtype=torch.float64)

    def add(self, block: Tensor) -> None:
        """Take the next piece [channel, sample]; the rest of a file that is shorter than a frame counts for nothing."""
        if block.shape[1] >= self._size:
            cells = torch.stft(
                block, self._size, self._size // 2, window=self._window, center=False, return_complex=True
            )
            self._power += cells.abs().double().square().sum((0, 2))

    def levels(self) -> Tensor:
        """Return dB [bin], the loudest bin 0; empty without a frame or sound."""
        loudest = float(self._power.max())
        if loudest <= 0:
            return torch.empty(0)
        return (10.0 * (self._power / loudest).clamp_min(1e-30).log10()).clamp_min(_LEAST_DB)


class _Clipping:
    """Counts runs of equal samples at full scale, across pieces too."""

    def __init__(self, channels: int) -> None:
        self._tail = torch.zeros(channels, _RUN)
        self.runs = 0
        self.samples = 0

    def add(self, block: Tensor) -> None:
        """Take the next piece [channel, sample]."""
        joined = torch.cat([self._tail, block], 1)
        full = (joined[:, 1:].abs() >= _FULL) & (joined.diff(dim=1).abs() <= _EQUAL)  # equal to the one before
        windows = full.unfold(1, _RUN - 1, 1)
        inside = windows.all(-1)  # ends a stretch of `_RUN` equal samples
        begins = inside[:, 1:] & ~inside[:, :-1]
        self.runs += int(begins.sum())
        self.samples += int(inside[:, 1:].sum()) + (_RUN - 1) * int(begins.sum())
        self._tail = joined[:, -_RUN:]


class _Features:
    """Averages features over pieces with sound, weighted by length."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weight = 0

    def add(self, block: Tensor, rate: int) -> None:
        """Take a piece [channel, sample]."""
        if float(block.abs().max()) < _SILENT:
            return
        clips = Clips.of(block[None], rate)
        values = clip_features(clips) | {"codec_residual_db": codec_residual(clips)}
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + block.shape[1] * float(value)
        self._weight += block.shape[1]

    def means(self) -> dict[str, float]:
        """Return the means; empty without sound."""
        return {name: total / self._weight for name, total in self._sums.items()}


class _Fingerprint:
    """Averages levels in bands over equal parts of the duration."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._levels = torch.zeros(BANDS, SLOTS)
        self._counts = torch.zeros(SLOTS)

    def add(self, block: Tensor, rate: int, start: int) -> None:
        """Take a piece [channel, sample] that begins at a sample of the file."""
        if self._samples:
            levels = band_levels(Clips.of(block[None], rate), BANDS)[0][0]
            at = start + torch.arange(levels.shape[1]) * hop_size(rate)
            slot = (at * SLOTS // self._samples).clamp(max=SLOTS - 1)
            self._levels.index_add_(1, slot, levels)
            self._counts.index_add_(0, slot, torch.ones(len(slot)))

    def rows(self) -> Tensor | None:
        """Return the levels less the mean of each band; None where the header does not state the length.

        A part without a frame of its own, in a short file, takes the levels of the part before.
        """
        if not float(self._counts.sum()):
            return None
        levels = self._levels / self._counts.clamp_min(1)
        filled = torch.where(self._counts > 0, torch.arange(SLOTS), 0).cummax(0).values
        levels = levels[:, filled]
        return (levels - levels.mean(1, keepdim=True)).flatten().half()


def _phases(block: Tensor, rate: int) -> Tensor | None:
    """Return the phases of the first second's spectrum; None for silence."""
    size = max(2, round(MARK_SECONDS * rate))
    sound = block.mean(0)[:size]
    if float(sound.abs().max()) < _SILENT:
        return None
    sound = sound - sound.mean()
    spectrum = torch.fft.rfft(functional.pad(sound, (0, size - len(sound))))[round(_MARK_FROM_HZ * MARK_SECONDS) :]
    phases: Tensor = spectrum / spectrum.abs().clamp_min(1e-12)
    return phases
