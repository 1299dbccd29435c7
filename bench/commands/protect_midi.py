"""`bench protect` for a MIDI file: a defense changes its notes; every other byte of the file stays.

The file's notes are seen as rolls (`bench.notes.midi_edits`). A batch of pieces at a time is one set, which the defense
protects; its changes are transferred back to the notes in ticks, and only the bytes of changed notes are written anew
(`bench.notes.midi_writing`). The figures are measured on the written file, read again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.api import Knowledge, Rolls
from bench.errors import DataError, UsageError
from bench.files import printable, replacing
from bench.metrics.edits import edits
from bench.notes.midi import Score, read_score
from bench.notes.midi_edits import Frame, transfer_edits
from bench.notes.midi_writing import check_written, write_notes
from bench.notes.rolls import Notes

STEPS_PER_BEAT = 4
RIFF_SUFFIX = ".rmi"
PIECE_BARS = 8
ROOM = 1 << 25  # cells of the pieces that are protected together


def protect_score(
    source: Path, out: Path, maker: Any, knowledge: Knowledge, rng: torch.Generator, *, force: bool = False
) -> dict[str, float]:
    """Protect a MIDI file and print what that did to its notes.

    Args:
        source: the file.
        out: where the protected file is written.
        maker: the defense.
        knowledge: what the defense knows of the attacker.
        rng: random numbers; its device is where the defense works.
        force: `out` may replace an existing file.

    Returns:
        Name of a measure of `bench.metrics.edits.edits` -> its mean over the pieces.

    Raises:
        DataError: the file cannot be used, no note is left, or the written file differs from what was meant. Nothing is
            written then.
        UsageError: `out` cannot be written, or its ending does not fit the container of the source.
    """
    start, cpu = time.monotonic(), time.process_time()
    torch.set_num_threads(1)
    score = read_score(source)
    _check_container(source, score, out)
    frame = Frame(score, STEPS_PER_BEAT, PIECE_BARS)
    batches = _batches(frame)
    protected: list[Notes] = []
    for pieces in batches:
        clean = frame.rolls(pieces)
        protected_rolls = maker.protect(clean.to(rng.device), knowledge, rng).to("cpu")
        protected.append(frame.notes(_paired(clean, protected_rolls), pieces))
    notes = transfer_edits(frame, protected)
    if not len(notes):
        raise DataError(f"{printable(source)}: the defense leaves none of its {len(frame.score.notes)} notes")
    with replacing(out, force=force) as draft:
        draft.write_bytes(write_notes(frame.score, notes))
        written_score = check_written(frame.score, notes, draft.read_bytes(), out)
        figures = _figures(frame, written_score, batches)
    seconds = 60 * frame.score.length / frame.score.ticks_per_beat / frame.score.tempo
    count = f"{len(written_score.notes)} notes in {len(written_score.parts)} tracks"
    print(f"{printable(out)}: {seconds:.2f} s, {count}, as {printable(source)}")
    if unreleased := int((frame.score.notes[:, 6] < 0).sum()):
        print(
            f"  {unreleased} notes of the source have no release of their own: the next strike or the track's end is it"
        )
    for name, value in figures.items():
        print(f"  {name:<18} {value:.3f}")
    print(f"  took {time.monotonic() - start:.1f} s, {time.process_time() - cpu:.1f} CPU s")
    return figures


def _check_container(source: Path, score: Score, out: Path) -> None:
    """Raise a `UsageError` where the ending of `out` promises another container than the source's, RIFF or none."""
    suffix = out.suffix.lower()
    if suffix != source.suffix.lower() and (suffix == RIFF_SUFFIX) != score.file.riff:
        container = "RIFF MIDI (.rmi)" if score.file.riff else "a plain MIDI file"
        expected = RIFF_SUFFIX if score.file.riff else ".mid"
        raise UsageError(
            f"{printable(out)}: {printable(source)} is {container}, expected a name that ends in {expected}"
        )


def _batches(frame: Frame) -> list[list[int]]:
    """Numbers of pieces, as many together as memory has room for."""
    pieces = frame.pieces()
    count = max(1, ROOM // (frame.size * 128 * len(frame.score.parts)))
    return [pieces[start : start + count] for start in range(0, len(pieces), count)]


def _paired(clean: Rolls, protected: Rolls) -> Rolls:
    """The protected rolls, or a `DataError` if they are not those of the clean ones."""
    protected = protected.check("the protected file")
    one, other = ((r.ids, r.programs, tuple(r.velocity.shape), r.lowest) for r in (clean, protected))
    if one != other:
        raise DataError(f"the defense gave rolls {other[1:]}, expected the same pieces of {one[1:]}")
    return protected


def _figures(frame: Frame, written_score: Score, batches: Sequence[list[int]]) -> dict[str, float]:
    """Means over the pieces that have a figure; NaN where none has."""
    measures = [edits(frame.rolls(pieces), frame.rolls(pieces, written_score)) for pieces in batches]
    columns = {name: torch.cat([each[name] for each in measures]) for name in measures[0]}
    return {name: float(column.nanmean()) if not column.isnan().all() else math.nan for name, column in columns.items()}
