"""Speed of codecs and of audibility measures on one core: audio-seconds per second of processor time.

    python benchmarks/codecs_and_masking.py

Noise at -20 dB with a noise 20 dB under it; 5 s clips, mono. The best of three rounds. The figures are ratios to real
time. Expected: over 50 in every row at 44.1 kHz (the slowest, MP3, had 57; all of audibility 163), and over 150 at
16 kHz (157 and 550).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch

from bench.api import Clips
from bench.metrics.audibility import audibility, noise_to_mask, segmental_snr_db, snr_db
from bench.metrics.embeddings import logmel
from bench.sound.codecs import mp3, vorbis
from bench.sound.masking import masking_threshold, spectrogram
from bench.sound.resampling import resample


def pair(rate: int, seconds: int, clips: int) -> tuple[Clips, Clips]:
    """A clean and a noisy set."""
    rng = torch.Generator().manual_seed(0)
    clean, noise = (0.1 * torch.randn(clips, 1, rate * seconds, generator=rng) for _ in range(2))
    return Clips.of(clean.clamp(-1, 1), rate), Clips.of((clean + 0.1 * noise).clamp(-1, 1), rate)


def speed(work: Callable[[], object], seconds: float) -> float:
    """Audio-seconds per processor-second, the best of three."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return seconds / best


def main() -> None:
    torch.set_num_threads(1)
    rates = (8_000, 16_000, 44_100)
    rows: dict[str, list[float]] = {}
    for rate in rates:
        clean, protected = pair(rate, 5, 8)
        audio = clean.audio
        tasks: dict[str, Callable[[], object]] = {
            "spectrogram": partial(spectrogram, audio, rate),
            "masking threshold": partial(masking_threshold, audio, rate),
            "noise to mask": partial(noise_to_mask, clean, protected),
            "SNR": partial(snr_db, clean, protected),
            "segmental SNR": partial(segmental_snr_db, clean, protected),
            "all of audibility": partial(audibility, clean, protected),
            "log-mel embedding": partial(logmel, clean),
            "MP3 64 kbit/s": partial(mp3, audio, rate, 64),
            "Vorbis 0.5": partial(vorbis, audio, rate, 0.5),
            "resample to half": partial(resample, audio, rate, rate // 2),
        }
        for name, work in tasks.items():
            rows.setdefault(name, []).append(speed(work, clean.seconds))
    print(f"{'audio-seconds per processor-second':36}" + "".join(f"{rate:>10} Hz" for rate in rates))
    for name, speeds in rows.items():
        print(f"{name:36}" + "".join(f"{value:>13.0f}" for value in speeds))


if __name__ == "__main__":
    main()
