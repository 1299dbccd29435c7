"""Psychoacoustic masking: sound pressure, the threshold in quiet, the Bark scale and the masking threshold.

Conventions
-----------
* Audio is float [..., sample] with full scale 1.0. Digital audio has no absolute level: a sine of amplitude 1 is
  *assumed* to be `full_scale_db` = 96 dB SPL, so that one step of 16 bits lies at 6 dB SPL. Quieter playback: 80 to 90.
* Frames are centred on samples 0, hop, 2 hop, ...; the sound is followed and preceded by zeros. There are
  `1 + samples // hop` of them, of `size` samples under a Hann window, and `1 + size // 2` bins.
* Powers are scaled so that a sine of amplitude a on a bin's frequency reads a^2 there, in dB `amplitude_to_spl(a)`.
* Every frame and every channel is evaluated alone: temporal and binaural masking are not modelled.

Sources: Terhardt 1979, "Calculating virtual pitch"; Zwicker and Terhardt 1980, "Analytical expressions for critical-
band rate and critical bandwidth"; Schroeder, Atal and Hall 1979, "Optimizing digital speech coders by exploiting
masking properties of the human ear"; Johnston 1988, "Transform coding of audio signals using perceptual noise
criteria"; ISO/IEC 11172-3 (MPEG-1 audio), annex D.1, psychoacoustic model 1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

FULL_SCALE_DB = 96.0  # dB SPL of a sine of amplitude 1
AUDIBLE_HZ = (20.0, 20_000.0)
WINDOW_SECONDS = 0.032  # longest window: short enough for temporal resolution, long enough to separate harmonics

_HANN_BINS = 1.5  # equivalent noise bandwidth of the Hann window: the bins of a sine of amplitude a add up to 1.5 a^2
_SILENCE = 1e-24  # least power before a logarithm: 240 dB below full scale
_TONE_RATIO = 10.0**0.7  # a tone is 7 dB above the bins around it
# (reach of these bins, up to which frequency), Hz: Layer II's table for 1024 samples at 44.1 kHz.
_TONE_REACH_HZ = ((86.0, 2_700.0), (129.0, 5_500.0), (258.0, 11_000.0), (516.0, float("inf")))
_BLOCK = 1 << 21  # numbers in one block of frames, which bounds the memory


def threshold_in_quiet(hz: Tensor) -> Tensor:
    """Return the level of the softest audible tone.

    `3.64 k^-0.8 - 6.5 exp(-0.6 (k - 3.3)^2) + 0.001 k^4`, k = f / 1 kHz (Terhardt 1979, with the last term).

    Args:
        hz: frequencies, Hz, of any shape. Below 20 Hz and above 20 kHz the value at that edge is taken (83 and 160 dB:
            beyond any playback).

    Returns:
        dB SPL, of the same shape.
    """
    k = hz.clamp(*AUDIBLE_HZ) / 1000.0
    return 3.64 * k**-0.8 - 6.5 * torch.exp(-0.6 * (k - 3.3) ** 2) + 1e-3 * k**4


def amplitude_to_spl(amplitude: Tensor | float, full_scale_db: float = FULL_SCALE_DB) -> Tensor:
    """Return the level of sines.

    Args:
        amplitude: their peaks, full scale 1.0.
        full_scale_db: dB SPL of a sine of amplitude 1.

    Returns:
        dB SPL; -inf of amplitude 0.
    """
    return full_scale_db + 20.0 * torch.log10(torch.as_tensor(amplitude))


def spl_to_amplitude(spl: Tensor | float, full_scale_db: float = FULL_SCALE_DB) -> Tensor:
    """Return the amplitude of sines: the inverse of `amplitude_to_spl`.

    Args:
        spl: their levels, dB SPL.
        full_scale_db: dB SPL of a sine of amplitude 1.

    Returns:
        Peaks, full scale 1.0.
    """
    return 10.0 ** ((torch.as_tensor(spl) - full_scale_db) / 20.0)


def hz_to_bark(hz: Tensor) -> Tensor:
    """Return the critical-band rate (Zwicker and Terhardt 1980).

    Args:
        hz: frequencies, Hz, of any shape.

    Returns:
        Bark, 0 to about 25, of the same shape.
    """
    k = hz / 1000.0
    return 13.0 * torch.atan(0.76 * k) + 3.5 * torch.atan((k / 7.5) ** 2)


def spreading(bark: Tensor) -> Tensor:
    """Return the share of a masker's power that reaches other places of the Bark scale (Schroeder et al. 1979).

    Args:
        bark: distance from the masker, Bark; positive towards higher frequencies.

    Returns:
        1 at 0; it falls by 25 dB a Bark towards lower frequencies and by 10 dB a Bark towards higher ones.
    """
    offset = bark + 0.474
    return 10.0 ** ((15.81 + 7.5 * offset - 17.5 * torch.sqrt(1.0 + offset**2)) / 10.0)


def frame_size(rate: int) -> int:
    """Return the default window: the largest power of two within 32 ms (256 at 8 kHz, 512 at 16, 1024 at 44.1).

    Args:
        rate: samples a second.

    Returns:
        Samples.
    """
    return 1 << (max(int(rate * WINDOW_SECONDS), 16).bit_length() - 1)


def spectrogram(
    audio: Tensor, rate: int, full_scale_db: float = FULL_SCALE_DB, size: int | None = None, hop: int | None = None
) -> Tensor:
    """Return the levels of audio, in the frames of `masking_threshold`.

    Args:
        audio: [..., sample].
        rate: samples a second.
        full_scale_db: dB SPL of a sine of amplitude 1.
        size: samples in a window; None: `frame_size(rate)`.
        hop: samples from one frame to the next; None: half a window.

    Returns:
        dB SPL, [..., frame, bin]. A sine of amplitude a on a bin's frequency reads `amplitude_to_spl(a)` there;
        silence reads `full_scale_db` - 240.
    """
    model = MaskingModel.create(rate, audio, full_scale_db, size, hop)
    return _levels(audio, model, lambda power: power)


def masking_threshold(
    audio: Tensor, rate: int, full_scale_db: float = FULL_SCALE_DB, size: int | None = None, hop: int | None = None
) -> Tensor:
    """Return the global masking threshold of audio.

    Noise whose `spectrogram` is nowhere above it is inaudible beside the audio. It is a level *per bin*: the threshold
    of the critical band is divided evenly among the band's bins, because noise usually fills them all. (A lone tone
    may be louder: `MaskingModel.band` adds up the power in a critical band, which is what a metric should compare.)

    After MPEG-1 model 1: tonal peaks and the rest are separated, each is spread over the Bark scale and lowered by an
    offset, and all add up in power with the threshold in quiet. Simplified: the spreading does not depend on the level
    (Schroeder et al. 1979); what is not tonal masks bin by bin instead of once a band; nothing is decimated. Tones are
    lowered by 14.5 + z dB, noise by 5.5 dB (Johnston 1988): stricter than model 1, a tone hides little noise.

    Args:
        audio: [..., sample].
        rate: samples a second.
        full_scale_db: dB SPL of a sine of amplitude 1.
        size: samples in a window; None: `frame_size(rate)`.
        hop: samples from one frame to the next; None: half a window.

    Returns:
        dB SPL, [..., frame, bin].
    """
    model = MaskingModel.create(rate, audio, full_scale_db, size, hop)
    return _levels(audio, model, model.threshold)


@dataclass(frozen=True, eq=False)
class MaskingModel:
    """Framing and masking at one rate, in powers (full scale 1.0), which can be added where levels in dB cannot.

    Methods take and give powers [..., bin]; `frames` and `power` compute them from audio.

    Attributes:
        rate: Samples a second.
        size: Samples in a window, even.
        hop: Samples from one frame to the next.
        full_scale_db: dB SPL of a sine of amplitude 1.
        window: [size], scaled so that a sine of amplitude a on a bin reads a^2.
        hz: Frequency of each bin, Hz.
        bark: Critical-band rate of each bin, Bark.
        bins_per_bark: Bins in a Bark around each bin.
        quiet: Power of the threshold in quiet, [bin].
        spread: Share of a bin's power that masks another bin, [masker, bin].
        tone_offset: Factor from a tonal masker's power to the threshold, [masker].
        noise_offset: The same of a noise masker, [masker].
        around: 1 where two bins lie within half a Bark, [bin, bin].
    """

    rate: int
    size: int
    hop: int
    full_scale_db: float
    window: Tensor  # [size]
    hz: Tensor  # [bin]
    bark: Tensor  # [bin]
    bins_per_bark: Tensor  # [bin]
    quiet: Tensor  # [bin], the threshold in quiet
    spread: Tensor  # [masker, bin]
    tone_offset: Tensor  # [masker], factors below 1
    noise_offset: Tensor  # [masker]
    around: Tensor  # [bin, bin]: 1 within half a Bark

    @staticmethod
    def create(
        rate: int,
        like: Tensor,
        full_scale_db: float = FULL_SCALE_DB,
        size: int | None = None,
        hop: int | None = None,
    ) -> MaskingModel:
        """Build the model, or take it from a cache.

        Args:
            rate: samples a second.
            like: a tensor of the device and precision wanted.
            full_scale_db: dB SPL of a sine of amplitude 1.
            size: samples in a window, even; None: `frame_size(rate)`.
            hop: samples from one frame to the next; None: half a window.

        Returns:
            The model.

        Raises:
            ValueError: an odd or small size, or a hop outside 1..size.
        """
        size = size or frame_size(rate)
        dtype = like.dtype if like.dtype.is_floating_point else torch.float32
        return _model(rate, size, hop or size // 2, full_scale_db, dtype, like.device)

    def frame_count(self, samples: int) -> int:
        """Return the number of frames.

        Args:
            samples: Samples of the audio.

        Returns:
            At least 1.
        """
        return 1 + samples // self.hop

    def frames(self, audio: Tensor) -> Tensor:
        """Return the frames of audio, with zeros before and after it.

        Args:
            audio: [..., sample].

        Returns:
            [..., frame, size], a view of the padded audio.
        """
        before = self.size // 2
        return functional.pad(audio, (before, self.size - before)).unfold(-1, self.size, self.hop)

    def power(self, frames: Tensor) -> Tensor:
        """Return the power of frames; a sine of amplitude a on a bin reads a^2 there.

        Args:
            frames: [..., size].

        Returns:
            [..., bin].
        """
        spectrum: Tensor = torch.fft.rfft(frames * self.window)
        return spectrum.real.square() + spectrum.imag.square()

    def band(self, power: Tensor) -> Tensor:
        """Return the power within half a Bark of each bin, which is a critical band; a lone sine reads a^2.

        Args:
            power: [..., bin].

        Returns:
            [..., bin].
        """
        together: Tensor = power @ self.around
        return together / _HANN_BINS

    def tones(self, power: Tensor) -> Tensor:
        """Find tones: local maxima 7 dB above the bins around them (model 1, step 3a).

        Args:
            power: [..., bin].

        Returns:
            bool [..., bin].
        """
        rows = power.detach().reshape(-1, power.shape[-1])
        padded = functional.pad(rows, (1, 1))
        peak = (rows > padded[:, :-2]) & (rows >= padded[:, 2:]) & (rows > _SILENCE)
        peak[:, :2] = False  # too close to 0 Hz for a tone
        start = 0
        for reach_hz, below_hz in _TONE_REACH_HZ:
            reach = max(2, round(reach_hz * self.size / self.rate))
            width = int((self.hz < below_hz).sum()) - start
            if width > 0:
                around = functional.pad(rows, (reach, reach))[:, start : start + width + 2 * reach]
                highest = functional.max_pool1d(around[:, None], reach - 1, stride=1)[:, 0]
                rival = torch.maximum(highest[:, :width], highest[:, reach + 2 :][:, :width])
                peak[:, start : start + width] &= rows[:, start : start + width] >= _TONE_RATIO * rival
                start += width
        return peak.view(power.shape)

    def threshold(self, power: Tensor) -> Tensor:
        """Return the masking threshold of a sound (see `masking_threshold`).

        Args:
            power: The sound's power, [..., bin].

        Returns:
            Power a bin, [..., bin].
        """
        tone = self.tones(power)
        neighbours = functional.pad(power, (1, 1))
        of_tone = (neighbours[..., :-2] + power + neighbours[..., 2:]) * tone
        wide = functional.pad(tone, (2, 2))
        free = ~(wide[..., :-4] | wide[..., 1:-3] | tone | wide[..., 3:-1] | wide[..., 4:])
        maskers = of_tone * self.tone_offset + power * free * self.noise_offset
        of_band = (maskers @ self.spread) / _HANN_BINS + self.quiet
        return of_band * (_HANN_BINS / self.bins_per_bark.clamp(min=_HANN_BINS))

    def level(self, power: Tensor) -> Tensor:
        """Return powers as levels.

        Args:
            power: Of any shape.

        Returns:
            dB SPL, of the same shape.
        """
        return self.full_scale_db + 10.0 * torch.log10(power.clamp(min=_SILENCE))

    def blocks(self, audio: Tensor) -> Iterator[tuple[slice, slice]]:
        """Yield slices of (sound, frame), each small enough to be processed at once.

        Args:
            audio: [sound, sample].

        Returns:
            An iterator over pairs of slices.
        """
        frames = self.frame_count(audio.shape[-1])
        at_once = max(1, _BLOCK // self.size)
        for sound in range(0, len(audio), max(1, at_once // frames)):
            for frame in range(0, frames, at_once):
                yield slice(sound, sound + max(1, at_once // frames)), slice(frame, frame + at_once)


@functools.lru_cache(maxsize=8)
def _model(
    rate: int, size: int, hop: int, full_scale_db: float, dtype: torch.dtype, device: torch.device
) -> MaskingModel:
    if rate < 1 or size < 16 or size % 2 or not 1 <= hop <= size:
        raise ValueError(f"rate {rate}, size {size}, hop {hop}: expected an even size from 16 on and 1 <= hop <= size")
    window = torch.hann_window(size, periodic=True, dtype=torch.float64, device="cpu")
    hz = torch.arange(1 + size // 2, dtype=torch.float64, device="cpu") * (rate / size)
    bark = hz_to_bark(hz)
    bins_per_bark = 1.0 / torch.gradient(bark)[0]
    spread = spreading(bark - bark[:, None])
    # Bands next to noise contain noise too: normalising the area, not the height, preserves the level of flat noise.
    area = spreading(torch.linspace(-20.0, 20.0, 4001, dtype=torch.float64, device="cpu")).mean() * 40.0
    quiet = 10.0 ** ((threshold_in_quiet(hz) - full_scale_db) / 10.0)
    tensors = {
        "window": window * (2.0 / window.sum()),
        "hz": hz,
        "bark": bark,
        "bins_per_bark": bins_per_bark,
        "quiet": quiet,
        "spread": spread,
        "tone_offset": 10.0 ** (-(14.5 + bark) / 10.0),
        "noise_offset": torch.full_like(bark, 10.0**-0.55) / area,
        "around": ((bark - bark[:, None]).abs() <= 0.5).to(torch.float64),
    }
    converted = {name: tensor.to(dtype).to(device).contiguous() for name, tensor in tensors.items()}
    return MaskingModel(rate=rate, size=size, hop=hop, full_scale_db=full_scale_db, **converted)


def _levels(audio: Tensor, model: MaskingModel, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """Return `transform(power)` in dB SPL, [..., frame, bin], block by block."""
    sounds = audio.reshape(-1, audio.shape[-1])
    frames = model.frames(sounds)
    levels = frames.new_empty(*frames.shape[:2], len(model.hz))
    for block in model.blocks(sounds):
        levels[block] = model.level(transform(model.power(frames[block])))
    return levels.view(*audio.shape[:-1], *levels.shape[1:])
