"""`bench protect`: a user's sound file or MIDI file through a defense, in bounded memory.

A MIDI file is the business of `bench.commands.protect_midi`. A sound file is cut into pieces that overlap; a handful of
pieces at a time is one set, which the defense protects together. Where two pieces meet their noise is cross-faded, so
that there is no seam. Length, rate and channels stay.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch import Tensor

from bench import plugins
from bench.api import Clips, Knowledge
from bench.commands.settings import parse_settings
from bench.errors import DataError, UsageError
from bench.files import check_output, check_source, replacing
from bench.notes.midi import MIDI_SUFFIXES
from bench.sound import files
from bench.trials.stages import generator
from bench.vocabulary import Kind

PIECE_SECONDS = 8.0
OVERLAP_SECONDS = 0.05
PIECES_AT_ONCE = 8
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"}
USUAL = {"audio": "musicgen", "midi": "symphonynet"}  # the surrogate where none is named
ALIKE = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF"}  # formats that keep the source's sample type


def protect_file(
    source: Path,
    out: Path,
    defense: str,
    attacker: str | None,
    preset: str,
    seed: int,
    settings: Sequence[str],
    *,
    force: bool = False,
) -> dict[str, float]:
    """Protect `source` into `out` and print what that did to the sound, or to the notes; the figures.

    `attacker` None: the usual one for such a file. Raises `DataError` for a file that cannot be used and `UsageError`
    for a place that cannot be written; then nothing is written.
    """
    midi = source.suffix.lower() in MIDI_SUFFIXES
    check_source(source)
    check_output(out, sources=[source], suffixes=MIDI_SUFFIXES if midi else SUFFIXES, force=force)
    domain = "midi" if midi else "audio"
    maker, knowledge = made(domain, defense, attacker or USUAL[domain], preset, settings)
    if midi:
        from bench.commands.protect_midi import protect_score

        return protect_score(source, out, maker, knowledge, generator("protect", seed), force=force)
    info = files.info(source)
    started, cpu = time.monotonic(), time.process_time()
    torch.set_num_threads(1)
    meter = _Meter()
    with replacing(out, force=force) as draft:
        subtype = info.subtype if ALIKE.get(out.suffix.lower()) == info.format else None
        with soundfile.SoundFile(draft, "w", info.rate, info.channels, subtype) as writer:
            rng = generator("protect", seed)
            for clean, protected in _protected(source, info, maker, knowledge, rng):
                meter.add(clean, protected, info.rate)
                writer.write(protected.T.numpy())
        if meter.peak == 0.0:
            raise DataError(f"{source} is silent: there is nothing to protect")
    figures = meter.figures()
    print(f"{out}: {meter.samples / info.rate:.2f} s, {info.rate} Hz, {info.channels} channels, as {source}")
    for name, value in figures.items():
        print(f"  {name:<18} {value:.3f}")
    print(f"  took {time.monotonic() - started:.1f} s, {time.process_time() - cpu:.1f} CPU s")
    return figures


def _protected(
    source: Path, info: files.Info, maker: Any, knowledge: Knowledge, rng: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Stretches of the file, [channel, sample] each, clean beside protected, in order and without a gap."""
    piece, overlap = round(PIECE_SECONDS * info.rate), round(OVERLAP_SECONDS * info.rate)
    hop = piece - overlap
    carried = torch.zeros(info.channels, 0)  # the faded-out noise of the last piece, waiting for the next one
    pending: list[Tensor] = []

    def flush() -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal carried
        for clean, noise in zip(pending, _noise(pending, piece, info.rate, maker, knowledge, rng), strict=True):
            noise = noise.clone()
            head = min(carried.shape[1], noise.shape[1])
            if head:
                rise = torch.linspace(0, 1, head)
                noise[:, :head] = noise[:, :head] * rise + carried[:, :head] * (1 - rise)
            body = min(hop, clean.shape[1])
            carried = noise[:, body:]
            yield clean[:, :body], (clean[:, :body] + noise[:, :body]).clamp(-1, 1)
        pending.clear()

    for part in _overlapping(files.blocks(source, hop), hop, overlap):
        pending.append(part)
        if len(pending) == PIECES_AT_ONCE:
            yield from flush()
    if pending:
        yield from flush()


def _overlapping(blocks: Iterator[Tensor], hop: int, overlap: int) -> Iterator[Tensor]:
    """Every block of `hop` samples with the first `overlap` samples of the next one behind it."""
    held = next(blocks, None)
    for block in blocks:
        assert held is not None
        yield torch.cat([held, block[:, :overlap]], dim=1)
        held = block
    if held is not None:
        yield held


def _noise(
    pieces: list[Tensor], piece: int, rate: int, maker: Any, knowledge: Knowledge, rng: torch.Generator
) -> list[Tensor]:
    """What the defense adds to each piece."""
    lengths = torch.tensor([part.shape[1] for part in pieces])
    audio = torch.stack([torch.nn.functional.pad(part, (0, piece - part.shape[1])) for part in pieces])
    clips = Clips.of(audio, rate, lengths=lengths)
    added = maker.protect(clips, knowledge, rng).check("the protected file").audio - audio
    return [noise[:, :length] for noise, length in zip(added, lengths.tolist(), strict=True)]


class _Meter:
    """Audibility of a file that passes by in stretches."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.samples = 0
        self._signal = self._noise = self._highest = 0.0
        self._weighted: dict[str, float] = {}
        self._weight: dict[str, float] = {}

    def add(self, clean: Tensor, protected: Tensor, rate: int) -> None:
        from bench.metrics.audibility import audibility

        self.peak = max(self.peak, float(clean.abs().max()))
        self.samples += clean.shape[1]
        noise = protected - clean
        self._signal += float(clean.double().square().sum())
        self._noise += float(noise.double().square().sum())
        self._highest = max(self._highest, float(noise.abs().max()))
        energy = float(noise.double().square().sum())
        heard = audibility(Clips.of(clean[None], rate), Clips.of(protected[None], rate))
        for name in ("segmental_snr_db", "masked_energy"):
            value = float(heard[name])
            weight = energy if name == "masked_energy" else clean.shape[1]
            if math.isfinite(value):
                self._weighted[name] = self._weighted.get(name, 0.0) + weight * value
                self._weight[name] = self._weight.get(name, 0.0) + weight

    def figures(self) -> dict[str, float]:
        """SNR of the whole file; the others as means over its stretches, weighted by length or by noise energy."""
        snr = 10 * math.log10(self._signal / self._noise) if self._noise else math.inf
        means = {name: total / self._weight[name] for name, total in self._weighted.items() if self._weight[name]}
        return {"snr_db": snr, **means, "peak_noise": self._highest}


def made(domain: str, defense: str, attacker: str, preset: str, settings: Sequence[str]) -> tuple[Any, Knowledge]:
    """The defense, and what it knows: of the attacker, or nothing of "none". Raises `UsageError` for another domain."""
    named = {"defense": [defense]} | ({} if attacker == "none" else {"attacker": [attacker]})
    given = parse_settings(settings, named)
    built = []
    kinds: dict[str, Kind] = {"defense": "defenses", "attacker": "attackers"}
    for kind, names in named.items():
        for name in names:
            plugin = plugins.build(kinds[kind], name, given.get(kind, {}).get(name), preset)
            able = plugin.domains
            if domain not in able:
                raise UsageError(f"{kind} '{name}' is for {' and '.join(able)}, the file is {domain}")
            built.append(plugin)
    return built[0], Knowledge("white-box", tuple(built[1:])) if built[1:] else Knowledge()
