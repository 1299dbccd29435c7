"""`bench protect` of a sound file, in bounded memory.

The file is cut into pieces that overlap; a handful of pieces at a time is one set, which the defense protects together.
Where two pieces meet their noise is cross-faded, so that there is no seam. Length, rate, channels, sample type and tags
stay. Figures are of the file as it was read again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Clips, Knowledge
from bench.files import io_errors, printable, replacing
from bench.sound import files, tags
from bench.sound.encoding import Encoder, coding_for

PIECE_SECONDS = 8.0
OVERLAP_SECONDS = 0.05
PIECES_AT_ONCE = 8
_SAMPLE_SIZE = 1 << 24  # samples before coding that are kept, for comparison with the written file


def protect_sound(
    source: Path, out: Path, defense: Any, knowledge: Knowledge, rng: torch.Generator, *, force: bool
) -> dict[str, float]:
    """Protect a sound file and print what that did to the sound.

    Args:
        source: a sound file.
        out: the file to write; its suffix decides the format.
        defense: the defense, for audio.
        knowledge: what the defense knows of attackers.
        rng: the defense's random numbers.
        force: replace `out` if it is there.

    Returns:
        The figures printed: `snr_db` of the whole file, `segmental_snr_db` (mean over time), `masked_energy` (share of
        the noise's energy above the masking threshold), `peak_noise`, `noise_kept` (share of the defense's noise that
        the written file holds, by projection) and `coding_noise_db` (the rest of the change against that noise, dB).

    Raises:
        DataError: the source cannot be used, or the format of `out` cannot hold it; nothing is written.
        UsageError: `out` cannot be written; it is what it was before.
    """
    start, cpu = time.monotonic(), time.process_time()
    torch.set_num_threads(1)
    info = files.info(source)
    samples, peak = files.survey(source)
    files.require_audible(torch.tensor(peak), printable(source))
    with io_errors(out, "write"):
        coding = coding_for(out.suffix, info.rate, info.channels, samples, (info.format, info.subtype))
    labels = tags.read(source)
    sample = _Sample(samples * info.channels)
    with replacing(out, force=force) as draft:
        with Encoder(draft, coding) as encoder:
            for _, protected in _protected(source, info, defense, knowledge, rng):
                encoder.write(protected.T.numpy())
                sample.add(protected)
        lost_tags = tags.write(draft, labels)
        encoder.verify()
        figures = _figures(source, draft, sample)
    print(
        f"{printable(out)}: {samples / info.rate:.2f} s, {info.rate} Hz, {info.channels} channels, "
        f"{coding.subtype}, as {printable(source)}"
    )
    if coding.changed:
        print(f"  sample type {coding.subtype} in place of {info.subtype}: {coding.changed}")
    if lost_tags:
        print(f"  tags not kept: {', '.join(lost_tags)}")
    if not coding.lossless:
        print(f"  {coding.subtype} coding {_coding_words(figures)}")
    for name, value in figures.items():
        print(f"  {name:<18} {value:.3f}")
    print(f"  took {time.monotonic() - start:.1f} s, {time.process_time() - cpu:.1f} CPU s")
    return figures


def _coding_words(figures: dict[str, float]) -> str:
    """Say how much of the noise the coding kept."""
    share, own_noise_db = figures["noise_kept"], figures["coding_noise_db"]
    if math.isnan(share):
        return "has no noise of the defense to keep"
    direction = "above" if own_noise_db > 0 else "below"
    own_noise = f"its own noise lies {abs(own_noise_db):.1f} dB {direction} that"
    return f"kept {100 * share:.0f} % of the protection's noise; {own_noise}"


def _protected(
    source: Path, info: files.Info, defense: Any, knowledge: Knowledge, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield stretches of the file, [channel, sample] each: clean and protected, in order and without a gap."""
    piece, overlap = _sizes(info.rate)
    hop = piece - overlap
    tail = torch.zeros(info.channels, 0)  # the faded-out noise of the last piece, waiting for the next one
    pending: list[Tensor] = []

    def flush() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal tail
        for clean, noise in zip(pending, _noise(pending, piece, info.rate, defense, knowledge, rng), strict=True):
            noise = noise.clone()
            head = min(tail.shape[1], noise.shape[1])
            if head:
                rise = torch.linspace(0, 1, head)
                noise[:, :head] = noise[:, :head] * rise + tail[:, :head] * (1 - rise)
            body = min(hop, clean.shape[1])
            tail = noise[:, body:]
            yield clean[:, :body], (clean[:, :body] + noise[:, :body]).clamp(-1, 1)
        pending.clear()

    for part in _overlapping(files.blocks(source, hop), overlap):
        pending.append(part)
        if len(pending) == PIECES_AT_ONCE:
            yield from flush()
    if pending:
        yield from flush()


def _sizes(rate: int) -> tuple[int, int]:
    """Return the samples of a piece and of the overlap of two."""
    piece = max(2, round(PIECE_SECONDS * rate))
    return piece, min(piece // 2, round(OVERLAP_SECONDS * rate))


def _overlapping(blocks: Iterator[Tensor], overlap: int) -> Iterator[Tensor]:
    """Yield every block with the first `overlap` samples of the next one appended."""
    previous = next(blocks, None)
    for block in blocks:
        assert previous is not None
        yield torch.cat([previous, block[:, :overlap]], dim=1)
        previous = block
    if previous is not None:
        yield previous


def _noise(
    pieces: list[Tensor], piece: int, rate: int, defense: Any, knowledge: Knowledge, rng: torch.Generator
) -> list[Tensor]:
    """Return what the defense adds to each piece."""
    lengths = torch.tensor([part.shape[1] for part in pieces])
    audio = torch.stack([torch.nn.functional.pad(part, (0, piece - part.shape[1])) for part in pieces])
    clips = Clips.of(audio, rate, lengths=lengths)
    protected = defense.protect(clips.to(rng.device), knowledge, rng).to("cpu")
    noise = protected.check("the protected file").audio - audio
    return [part[:, :length] for part, length in zip(noise, lengths.tolist(), strict=True)]


class _Sample:
    """Keeps stretches of the protected sound before coding, evenly spread over the file."""

    def __init__(self, numbers: int):
        self._every = max(1, math.ceil(numbers / _SAMPLE_SIZE))
        self._count = 0
        self._stretches: dict[int, Tensor] = {}

    def add(self, protected: Tensor) -> None:
        """Take the next stretch, and keep it if it is one of the sample."""
        if self._count % self._every == 0:
            self._stretches[self._count] = protected
        self._count += 1

    def get(self, number: int) -> Tensor | None:
        """Return a stretch by its number; None where it was not kept."""
        return self._stretches.get(number)


def _figures(source: Path, output: Path, sample: _Sample) -> dict[str, float]:
    """Compare the written file with its source, stretch by stretch."""
    rate = files.info(source).rate
    piece, overlap = _sizes(rate)
    meter = _Meter()
    pairs = zip(files.blocks(source, piece - overlap), files.blocks(output, piece - overlap), strict=True)
    for number, (clean, protected) in enumerate(pairs):
        meter.add(clean, protected, sample.get(number), rate)
    return meter.figures()


class _Meter:
    """Accumulates the audibility of a file over its stretches, and how much of the noise survived coding."""

    def __init__(self) -> None:
        self._signal = self._noise = self._highest = 0.0
        self._noise_energy = self._product = self._change_energy = 0.0  # <n, n>, <n, c>, <c, c> of noise n and change c
        self._weighted_sum: dict[str, float] = {}
        self._weights: dict[str, float] = {}

    def add(self, clean: Tensor, written: Tensor, uncoded: Tensor | None, rate: int) -> None:
        """Take a stretch [channel, sample] of the source, of the written file, and of the sound before coding."""
        from bench.metrics.audibility import audibility

        noise = (written - clean).double()
        energy = float(noise.square().sum())
        self._signal += float(clean.double().square().sum())
        self._noise += energy
        self._highest = max(self._highest, float(noise.abs().max()))
        if uncoded is not None:
            defense_noise = (uncoded - clean).double()
            self._noise_energy += float(defense_noise.square().sum())
            self._product += float((defense_noise * noise).sum())
            self._change_energy += energy
        measures = audibility(Clips.of(clean[None], rate), Clips.of(written[None], rate))
        for name in ("segmental_snr_db", "masked_energy"):
            value = float(measures[name])
            weight = energy if name == "masked_energy" else clean.shape[1]
            if math.isfinite(value):
                self._weighted_sum[name] = self._weighted_sum.get(name, 0.0) + weight * value
                self._weights[name] = self._weights.get(name, 0.0) + weight

    def figures(self) -> dict[str, float]:
        """Return SNR of the whole file; the others as means over stretches, weighted by length or noise energy."""
        snr = 10 * math.log10(self._signal / self._noise) if self._noise else math.inf
        means = {name: total / self._weights[name] for name, total in self._weighted_sum.items() if self._weights[name]}
        share = self._product / self._noise_energy if self._noise_energy else math.nan
        coding_energy = self._change_energy - share * self._product
        coding_db = -math.inf
        if coding_energy > 0 and share > 0:
            coding_db = 10 * math.log10(coding_energy / (share * self._product))
        return {
            "snr_db": snr, **means, "peak_noise": self._highest, "noise_kept": share, "coding_noise_db": coding_db,
        }  # fmt: skip
