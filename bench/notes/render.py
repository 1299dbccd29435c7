"""Render piano rolls as audio: a General MIDI soundfont played by TinySoundFont, one stem a track.

Conventions
-----------

* The mix is the sum of the stems, to the last bit. One gain a piece scales them all, so that the mix peaks at `peak`.
* A note sounds as a MIDI file would store it: its velocity rounded to 1..127.
* The synthesizer interpolates its samples linearly, which causes aliasing; it therefore runs at twice the target rate,
  and the result is low-pass filtered and decimated.
* The same rolls give the same samples, whatever was rendered before and whatever else is in the set.
* The soundfont is TimGM6mb (David Bolton, GPL), found inside the wheel of pretty_midi, which is not imported.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Clips, Rolls
from bench.errors import DataError, PluginError, UsageError
from bench.files import printable
from bench.notes.rolls import DRUMS, Notes, notes_of

__all__ = ["render", "soundfont"]

OVERSAMPLING = 2
QUIET_DB = -12.0  # headroom in the synthesizer, compensated by the gain of the piece
FADE = 0.005  # seconds of fade-out where a piece ends before its clip


def soundfont() -> Path:
    """Find the General MIDI soundfont that comes with pretty_midi.

    Returns:
        The path of TimGM6mb.sf2.

    Raises:
        PluginError: pretty_midi is not installed.
    """
    spec = importlib.util.find_spec("pretty_midi")
    path = Path(spec.origin).parent / "TimGM6mb.sf2" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise PluginError("no soundfont to render with: pip install pretty_midi, whose wheel holds TimGM6mb.sf2")
    return path


def render(
    rolls: Rolls,
    rate: int = 16000,
    *,
    programs: Sequence[Sequence[int]] | None = None,
    channels: int = 1,
    seconds: float | None = None,
    release: float = 0.5,
    peak: float = 0.9,
    keep_stems: bool = True,
    font: str | Path | None = None,
) -> Clips:
    """Play every roll of a set by a soundfont.

    Args:
        rolls: the set.
        rate: samples a second.
        programs: [roll][track], General MIDI 0..127 or 128 for drums, in place of the rolls' own.
        channels: 1, the mean of left and right, or 2.
        seconds: length of every clip; by default that of the longest roll with its release.
        release: seconds that a piece may sound on after its last step; what follows is zero and not part of `lengths`.
        peak: of the mix, in 0..1.
        keep_stems: return the tracks one by one as well.
        font: a soundfont (.sf2); by default `soundfont()`.

    Returns:
        Clips: audio float32 [roll, channel, sample], stems [roll, track, channel, sample]; ids, groups, labels and
        texts are those of the rolls.

    Raises:
        PluginError: tinysoundfont or the soundfont is not installed.
        DataError: the file is no soundfont.
        UsageError: a number is out of range.
    """
    if channels not in (1, 2):
        raise UsageError(f"channels = {channels}, expected 1 (mono) or 2 (stereo)")
    if not 0 < peak < 1:
        raise UsageError(f"peak = {peak}, expected a number between 0 and 1, such as 0.9")
    table = _programs(rolls, programs)
    rolls = rolls.to("cpu")
    step = 60.0 / rolls.tempo.double() / rolls.steps_per_beat  # seconds
    ends = ((rolls.lengths * step + release) * rate).round().long()
    samples = int(ends.max()) if seconds is None else round(seconds * rate)
    if samples < 1:
        raise UsageError(f"seconds = {seconds} at {rate} samples a second, expected at least one sample")
    lengths = ends.clamp(max=samples)
    synth = _synthesizer(rate * OVERSAMPLING, font)
    audio = torch.zeros(len(rolls), channels, samples)
    stems = torch.zeros(len(rolls), len(rolls.programs), channels, samples) if keep_stems else None
    notes = notes_of(rolls)
    for roll in range(len(rolls)):
        played = _played(
            synth, notes[notes.roll == roll], table[roll], float(step[roll]) * rate * OVERSAMPLING, samples
        )
        parts = _faded_out(_decimated(played, channels), int(lengths[roll]), rate)
        loudest = float(parts.sum(0).abs().max())
        parts *= peak / loudest if loudest > 0 else 1.0
        audio[roll] = parts.sum(0)
        if stems is not None:
            stems[roll] = parts
    return Clips(
        audio=audio,
        rate=rate,
        ids=rolls.ids,
        groups=rolls.groups,
        lengths=lengths,
        labels=rolls.labels,
        classes=rolls.classes,
        texts=rolls.texts,
        stems=stems,
        stem_names=_names(rolls) if stems is not None else (),
    )


def _programs(rolls: Rolls, given: Sequence[Sequence[int]] | None) -> Sequence[Sequence[int]]:
    """Return the program of every track of every roll: those given, or the rolls' own."""
    if given is None:
        return [rolls.programs] * len(rolls)
    tracks = len(rolls.programs)
    if len(given) != len(rolls) or any(len(row) != tracks for row in given):
        raise UsageError(
            f"programs has {len(given)} rows of {sorted({len(row) for row in given})} tracks, "
            f"expected {len(rolls)} of {tracks}"
        )
    return given


def _synthesizer(rate: int, font: str | Path | None) -> Any:
    try:
        import tinysoundfont
    except ImportError as error:
        raise PluginError("rendering needs tinysoundfont: pip install --no-deps tinysoundfont==0.3.7") from error
    path = Path(font) if font is not None else soundfont()
    if not path.is_file():
        raise DataError(f"{printable(path)}: no such file, expected a soundfont (.sf2)")
    synth = tinysoundfont.Synth(gain=QUIET_DB, samplerate=rate)
    try:
        synth.sfload(str(path))
    except RuntimeError as error:
        raise DataError(f"{printable(path)}: not a soundfont (.sf2) that can be read") from error
    return synth


def _played(synth: Any, notes: Notes, programs: Sequence[int], step: float, samples: int) -> Tensor:
    """Render the tracks of one roll one by one, float32 [track, 2, sample] at the synthesizer's rate; see `_play`."""
    tracks = [
        _play(synth, notes[notes.track == track], program, step, samples) for track, program in enumerate(programs)
    ]
    return torch.stack(tracks)


def _play(synth: Any, notes: Notes, program: int, step: float, samples: int) -> Tensor:
    """Render one track alone, float32 [2, sample] at the synthesizer's rate; `step` is in samples at that rate."""
    import numpy as np

    total = samples * OVERSAMPLING
    if not len(notes):
        return torch.zeros(2, total)
    drums = program == DRUMS
    channel = 9 if drums else 0
    # Reset, so that no note of an earlier track is still sounding.
    synth.soundfonts[0].reset()
    synth.generate_simple(1024)
    synth.program_change(channel, 0 if drums else program, drums)
    begin = (notes.start.double() * step).round().long()
    end = (notes.end.double() * step).round().long()
    velocity = (notes.velocity * 127).round().clamp(1, 127).long()
    strikes = torch.stack([begin, notes.pitch, velocity], 1)
    releases = torch.stack([end, notes.pitch, torch.zeros_like(velocity)], 1)
    # Sorted by time; at equal times releases (velocity 0) precede strikes, so that a repeated note sounds.
    events = sorted(
        (position, bool(loud), pitch, loud)
        for position, pitch, loud in torch.cat([strikes, releases]).tolist()
        if position < total
    )
    data = bytearray(total * 8)  # stereo, float32, interleaved
    view, rendered = memoryview(data), 0
    for position, _, pitch, loud in events:
        if position > rendered:
            synth.generate_simple(position - rendered, view[rendered * 8 : position * 8])
            rendered = position
        if loud:
            synth.noteon(channel, pitch, loud)
        else:
            synth.noteoff(channel, pitch)
    if total > rendered:
        synth.generate_simple(total - rendered, view[rendered * 8 :])
    return torch.from_numpy(np.frombuffer(data, dtype=np.float32).reshape(-1, 2).T.copy())


def _decimated(stereo: Tensor, channels: int) -> Tensor:
    """Decimate [track, 2, sample] at the synthesizer's rate to [track, channel, sample] at the target rate.

    A windowed sinc (Kaiser, beta 8: 80 dB) that reaches -6 dB at 0.95 of the new Nyquist frequency.
    """
    sound = stereo.mean(1, keepdim=True) if channels == 1 else stereo
    reach = 24 * OVERSAMPLING
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.sinc(0.95 * taps / OVERSAMPLING) * torch.kaiser_window(
        2 * reach + 1, False, 8.0, dtype=torch.float64
    )
    kernel = (kernel / kernel.sum()).float()[None, None]
    flat = sound.reshape(-1, 1, sound.shape[-1])
    lower = torch.nn.functional.conv1d(torch.nn.functional.pad(flat, (reach, reach)), kernel, stride=OVERSAMPLING)
    return lower.reshape(len(sound), channels, -1)


def _faded_out(parts: Tensor, length: int, rate: int) -> Tensor:
    """Silence the stems from `length` on, after a short fade where the piece ends before its clip."""
    samples = parts.shape[-1]
    if length < samples:
        fade = min(length, max(1, round(FADE * rate)))
        parts[..., length - fade : length] *= torch.linspace(1, 0, fade + 1)[1:]
        parts[..., length:] = 0
    return parts


def _names(rolls: Rolls) -> tuple[str, ...]:
    if rolls.tracks:
        return rolls.tracks
    return tuple("drums" if program == DRUMS else f"program {program}" for program in rolls.programs)
