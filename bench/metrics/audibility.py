"""Audibility of a defense: one number a clip, from a clean set and its protected version.

Conventions: both are `Clips` of the same ids, shape, rate and lengths, aligned to the sample; the noise is their
difference. Padding is ignored; channels are taken together. Results are float64 [clip]. Where a clip has no noise, its
SNR is +inf, its noise-to-mask ratio -inf and its correlation NaN; what is undefined for a silent clip is NaN.
`DataError` is raised where the set is empty or the two sets do not match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from bench.api import Clips
from bench.errors import DataError
from bench.sound.masking import FULL_SCALE_DB, MaskingModel
from bench.sound.spectra import frames_inside

__all__ = [
    "audibility", "correlation", "gain_db", "masked_energy", "nmr_db", "noise_to_mask", "peak_noise",
    "segmental_snr_db", "snr_db",
]  # fmt: skip

_FRAME_SECONDS = 0.02
_LOWEST_DB, _HIGHEST_DB = -10.0, 35.0
_SILENT_DB = -60.0  # a frame this much below the clip's loudest one is a pause
_SAMPLES_PER_BLOCK = 1 << 24  # bounds the memory


def audibility(clean: Clips, protected: Clips, full_scale_db: float = FULL_SCALE_DB) -> dict[str, Tensor]:
    """Compute every metric of this module.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        full_scale_db: dB SPL of a sine of amplitude 1.

    Returns:
        Name of the metric -> float64 [clip].

    Raises:
        DataError: the two sets do not pair.
    """
    masked, nmr = noise_to_mask(clean, protected, full_scale_db)
    products = _products(clean, protected)
    return {
        "snr_db": _snr_db(*products),
        "segmental_snr_db": segmental_snr_db(clean, protected),
        "masked_energy": masked,
        "nmr_db": nmr,
        "peak_noise": peak_noise(clean, protected),
        "correlation": _correlation(*products),
        "gain_db": _gain_db(*products),
    }


def snr_db(clean: Clips, protected: Clips) -> Tensor:
    """Compute the signal-to-noise ratio: energy of the recording over energy of the noise.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.

    Returns:
        dB, [clip]; +inf without noise.

    Raises:
        DataError: the two sets do not pair.
    """
    return _snr_db(*_products(clean, protected))


def segmental_snr_db(clean: Clips, protected: Clips) -> Tensor:
    """Compute the mean over frames of 20 ms of the SNR in dB, each clipped to -10..35 (Hansen and Pellom 1998).

    Whole frames within the recording that are not pauses (60 dB under the clip's loudest frame); NaN if there is none.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.

    Returns:
        dB, [clip].

    Raises:
        DataError: the two sets do not pair.
    """
    size = max(1, round(_FRAME_SECONDS * clean.rate))
    return _join(_segmental(signal, noise, lengths, size) for signal, noise, lengths in _pairs(clean, protected))


def masked_energy(clean: Clips, protected: Clips, full_scale_db: float = FULL_SCALE_DB) -> Tensor:
    """Compute the share of the noise's energy *above* the masking threshold of the recording: 0 = all of it is masked.

    With P the power of the noise in a frame and bin, N its power in the critical band around the bin and A what the
    masking threshold allows in that band: `sum P max(0, 1 - A / N) / sum P` over frames and bins.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        full_scale_db: dB SPL of a sine of amplitude 1.

    Returns:
        0..1, [clip]; 0 without noise.

    Raises:
        DataError: the two sets do not pair.
    """
    return noise_to_mask(clean, protected, full_scale_db)[0]


def nmr_db(clean: Clips, protected: Clips, full_scale_db: float = FULL_SCALE_DB) -> Tensor:
    """Compute the noise-to-mask ratio: the mean of N / A (see `masked_energy`) over frames and the Bark scale.

    The total NMR of ITU-R BS.1387 (PEAQ), with the masking threshold of `bench.sound.masking`. A few frames of noise in
    a pause raise it far above 0.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        full_scale_db: dB SPL of a sine of amplitude 1.

    Returns:
        dB, [clip].

    Raises:
        DataError: the two sets do not pair.
    """
    return noise_to_mask(clean, protected, full_scale_db)[1]


def noise_to_mask(clean: Clips, protected: Clips, full_scale_db: float = FULL_SCALE_DB) -> tuple[Tensor, Tensor]:
    """Compute `masked_energy` and `nmr_db`, which share their work.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.
        full_scale_db: dB SPL of a sine of amplitude 1.

    Returns:
        Both, [clip] each.

    Raises:
        DataError: the two sets do not pair.
    """
    parts = [
        _noise_to_mask(signal, noise, lengths, MaskingModel.create(clean.rate, signal, full_scale_db))
        for signal, noise, lengths in _pairs(clean, protected)
    ]
    return _join(share for share, _ in parts), _join(ratio for _, ratio in parts)


def peak_noise(clean: Clips, protected: Clips) -> Tensor:
    """Compute the largest absolute value of the noise.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.

    Returns:
        Full scale 1.0, [clip].

    Raises:
        DataError: the two sets do not pair.
    """
    return _join(noise.abs().amax((1, 2)).double() for _, noise, _ in _pairs(clean, protected))


def correlation(clean: Clips, protected: Clips) -> Tensor:
    """Compute the correlation of noise and recording: `<noise, clean> / (|noise| |clean|)`.

    1 or -1: the "noise" is a copy of the recording, which is a change of gain and protects nothing.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.

    Returns:
        -1..1, [clip]; NaN where one of them is 0.

    Raises:
        DataError: the two sets do not pair.
    """
    return _correlation(*_products(clean, protected))


def gain_db(clean: Clips, protected: Clips) -> Tensor:
    """Compute the change of gain of the recording itself: `20 log10 |<protected, clean> / <clean, clean>|`.

    Args:
        clean: the recordings.
        protected: the same ids, shape, rate and lengths.

    Returns:
        dB, [clip].

    Raises:
        DataError: the two sets do not pair.
    """
    return _gain_db(*_products(clean, protected))


def _products(clean: Clips, protected: Clips) -> tuple[Tensor, Tensor, Tensor]:
    """Return <clean, clean>, <noise, noise> and <noise, clean> of every clip."""
    parts = []
    for signal, noise, _ in _pairs(clean, protected):
        x, n = signal.double().flatten(1), noise.double().flatten(1)
        parts.append(torch.stack([x.square().sum(1), n.square().sum(1), (n * x).sum(1)]))
    of_signal, of_noise, shared = torch.cat(parts, dim=1)
    return of_signal, of_noise, shared


def _snr_db(of_signal: Tensor, of_noise: Tensor, shared: Tensor) -> Tensor:
    return torch.where(of_noise > 0, 10.0 * torch.log10(of_signal / of_noise), float("inf"))


def _correlation(of_signal: Tensor, of_noise: Tensor, shared: Tensor) -> Tensor:
    return (shared / (of_noise.sqrt() * of_signal.sqrt())).clamp(-1.0, 1.0)


def _gain_db(of_signal: Tensor, of_noise: Tensor, shared: Tensor) -> Tensor:
    return 20.0 * torch.log10((1.0 + shared / of_signal).abs())


def _pairs(clean: Clips, protected: Clips) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield recording, noise and lengths of a few clips at a time, with silent padding."""
    if clean.ids != protected.ids or clean.rate != protected.rate or clean.audio.shape != protected.audio.shape:
        raise DataError(
            f"clean and protected clips do not match: {_described(clean)} and {_described(protected)}, "
            "expected the same ids, shape and rate"
        )
    if len(clean) == 0:
        raise DataError("no clips to compare, expected at least one")
    if not torch.equal(clean.lengths, protected.lengths):
        raise DataError("clean and protected clips do not match: their lengths differ, expected the same")
    at_once = max(1, _SAMPLES_PER_BLOCK // max(1, clean.audio[:1].numel()))
    for start in range(0, len(clean), at_once):
        part = slice(start, start + at_once)
        lengths = clean.lengths[part]
        support = (torch.arange(clean.audio.shape[-1], device=clean.device) < lengths[:, None])[:, None]
        signal = clean.audio.detach()[part] * support
        yield signal, protected.audio.detach()[part] * support - signal, lengths


def _described(clips: Clips) -> str:
    return f"{tuple(clips.audio.shape)} at {clips.rate}, first '{clips.ids[0] if clips.ids else ''}'"


def _join(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat(list(parts))


def _segmental(signal: Tensor, noise: Tensor, lengths: Tensor, size: int) -> Tensor:
    frames = signal.shape[-1] // size

    def energy(audio: Tensor) -> Tensor:  # [clip, frame]
        whole_frames = audio[..., : frames * size].double().reshape(*audio.shape[:2], frames, size)
        return torch.einsum("cifs,cifs->cf", whole_frames, whole_frames)

    if frames == 0:
        return torch.full((len(signal),), float("nan"), dtype=torch.float64, device=signal.device)
    of_signal, of_noise = energy(signal), energy(noise)
    within = torch.arange(frames, device=signal.device) < (lengths // size)[:, None]
    loudest = (of_signal * within).amax(1, keepdim=True)
    counted = within & (of_signal > 0) & (of_signal >= loudest * 10.0 ** (_SILENT_DB / 10.0))
    ratio = (10.0 * torch.log10(of_signal / of_noise)).clamp(_LOWEST_DB, _HIGHEST_DB)
    mean: Tensor = torch.where(counted, ratio, 0.0).sum(1) / counted.sum(1)
    return mean


def _noise_to_mask(signal: Tensor, noise: Tensor, lengths: Tensor, model: MaskingModel) -> tuple[Tensor, Tensor]:
    """Compute `masked_energy` and `nmr_db` of clips that fit into memory."""
    channels = signal.shape[1]
    signals, noises = signal.flatten(0, 1), noise.flatten(0, 1)
    unmasked_energy, energy, ratio = (
        torch.zeros(len(signals), dtype=torch.float64, device=signal.device) for _ in range(3)
    )
    signal_frames, noise_frames = model.frames(signals), model.frames(noises)
    within = frames_inside(lengths.repeat_interleave(channels), signal_frames.shape[1], model.hop)
    bin_weight = 1.0 / model.bins_per_bark
    bin_weight = bin_weight / bin_weight.sum()
    for block in model.blocks(signals):
        power = model.power(noise_frames[block])
        band = model.band(power)
        allowed = model.band(model.threshold(model.power(signal_frames[block])))
        counted = within[block].double()
        unmasked = power * (1.0 - allowed / band.clamp(min=allowed))
        unmasked_energy[block[0]] += (unmasked.sum(2) * counted).sum(1)
        energy[block[0]] += (power.sum(2) * counted).sum(1)
        ratio[block[0]] += (((band / allowed) @ bin_weight) * counted).sum(1)
    unmasked_energy, energy, ratio = (total.view(-1, channels).sum(1) for total in (unmasked_energy, energy, ratio))
    frames = within.sum(1).view(-1, channels).sum(1)
    return torch.where(energy > 0, unmasked_energy / energy, 0.0), 10.0 * torch.log10(ratio / frames)
