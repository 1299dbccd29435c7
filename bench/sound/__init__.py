"""Audio signals: files, tags, resampling, spectra, filters, masking, codecs, augmentation. Independent of trials.

Plugins may rely on the names below; their arguments are documented where they are defined.
"""

from bench.sound.augmentation import amplified, band_stopped, equalised, interrupted, noisy, shifted
from bench.sound.codecs import highest_kbps, mp3, mp3_kbps, opus, opus_rates, vorbis
from bench.sound.files import AUDIO_SUFFIXES, Info, blocks, info, read, require_audible, survey, write
from bench.sound.filters import equalise
from bench.sound.levels import energy
from bench.sound.masking import (
    FULL_SCALE_DB,
    MaskingModel,
    amplitude_to_spl,
    hz_to_bark,
    masking_threshold,
    spectrogram,
    spl_to_amplitude,
    threshold_in_quiet,
)
from bench.sound.mel import LogMel, Mfcc
from bench.sound.resampling import resample
from bench.sound.segments import continuous_mask, segment_amplitude, stepped_mask
from bench.sound.spectra import (
    filtered,
    frames_inside,
    hop_size,
    hz_to_mel,
    istft,
    mel_to_hz,
    noise_floor,
    power,
    spectrum_with_floor,
    stft,
)

__all__ = [
    "AUDIO_SUFFIXES", "FULL_SCALE_DB", "Info", "LogMel", "MaskingModel", "Mfcc", "amplified", "amplitude_to_spl",
    "band_stopped", "blocks", "continuous_mask", "energy", "equalise", "equalised", "filtered", "frames_inside",
    "highest_kbps", "hop_size", "hz_to_bark", "hz_to_mel", "info", "interrupted", "istft", "masking_threshold",
    "mel_to_hz", "mp3", "mp3_kbps", "noise_floor", "noisy", "opus", "opus_rates", "power", "read",
    "require_audible", "resample", "segment_amplitude", "shifted", "spectrogram", "spectrum_with_floor",
    "spl_to_amplitude", "stepped_mask", "stft", "survey", "threshold_in_quiet", "vorbis", "write",
]  # fmt: skip
