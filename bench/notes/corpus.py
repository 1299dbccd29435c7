"""Scores of music21's corpus, read from the installed package: its files may not be redistributed.

MusicXML is read with MusPy, ABC in `bench.notes.abc`. Kern (Huron 1995, "The Humdrum Toolkit") is read here, as far as
the scores of Palestrina use it: one note a token, no spine that splits; music21's own reader needs a hundred times as
long.
"""

from __future__ import annotations

import importlib.util
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from bench.errors import DataError, PluginError
from bench.notes.excerpts import STEPS_PER_BEAT, Piece

__all__ = [
    "CHORALE_TUNES",
    "UnreadableError",
    "corpus_folder",
    "kern_work",
    "on_grid",
    "piece_of",
    "read_kern",
    "read_musicxml",
]

# Bach's four-part chorales, names without "bwv"; "=" joins the pieces of one tune, whose first gives it its name.
CHORALE_TUNES = """
2.6=77.6=153.1 3.6=25.6=30.6=32.6=39.7=70.7=153.9=194.6=295=409 4.8=158.4=277=278=279 5.7=89.6=148.6=188.6
6.6=42.7=126.6 7.7=176.6=280=335 9.7=86.6=117.4=155.5=177.4 10.7=323=324 11.6=43.11=248.12-2
13.6=44.7=244.10=244.37=245.11=367=392=393=394=395 14.5=114.7=178.7=256=257=258 16.6=28.6=183.5=435 17.7=389=390
18.5-lz=18.5-w 20.7=20.11=397 24.6=45.7=64.4=94.8=197.7-a=398=399 26.6 33.6=261 36.4-2=436 36.8-2=62.6=274
37.6=347=348 38.6 40.3=110.7=248.35-3=286 40.6 40.8 46.6 47.5=420=421 48.3=255 48.7=113.8=168.6=334
55.5=146.8=154.3=244.40=359=360 56.5=301 57.8 60.5 64.2=248.28=314 64.8=81.7=87.7=227.1=227.7=227.11=358 65.2
65.7=72.6=92.9=103.6=111.6=144.6=244.25 66.6=276 67.4=145.5 67.7=116.6 69.6-a=99.6=144.3 73.5=417=418=419 74.8=108.6
78.7=245.15=245.37=283=352=353=354=404 80.8=302=303 83.5=125.6=382 84.5=88.7=93.7=166.6=179.6=197.10=434 85.6
90.5=101.7=102.7=245.5=416 96.6=164.6 104.6=112.5=260 115.6 119.9=120.6=328 121.6 122.6 123.6 127.5=336 133.6
135.6=153.5=244.15=244.17=244.44=244.54=244.62=248.5=248.64-s=270=271=272 139.6=245.22=377 140.7 145-a=365
151.5=375=376 154.8=157.5=244.29-a=380=427 156.6=339 159.5=245.14=245.28 162.6-lpz 165.6=194.12 169.7=197.5=385
174.5=245.40=340 177.5 180.7 184.5 187.7 190.7=362 226.2 229.2 244.3=244.46=245.3=245.17 244.32=248.46-5 245.26=415
248.23-s 248.33-3=422 248.42-s 248.53-5 253=414 254 259 262 263 264=378 265 266 267 268 269 273 275 281=282 284 285
287 288=289 290 291 292 293 294 296 297 298 299 300 304 305 306 307 308 309 310 311=312 313 315 316 317 318 319 320
321 322 325 326=327 329 330=331 332 333 337 338 341 342 343 344 345 346 349 350 351 355 356 357 361 363 364 366 368
369 370 371 372 373 374 379 381 383 384 386 387 388 391 396 400 401 402 403 405=406 407 408 410 411 412 413 423 424
425 426 428=429=430 431=432 433 437 438
"""
_TOKEN = re.compile(r"\[?(?P<recip>\d+)(?P<dots>\.*)(?P<pitch>[a-gA-Gr]+)(?P<accidental>#*-*n?)(?P<tie>[\]_]?)")
_SEMITONES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


class UnreadableError(DataError):
    """A file that is there and that the reader of its format does not understand."""


def corpus_folder(what: str) -> Path:
    """Find the folder of scores, without an import of music21.

    Args:
        what: needs them, for the error.

    Raises:
        PluginError: music21 or muspy is not installed.
        DataError: music21 is installed without its corpus.
    """
    spec = importlib.util.find_spec("music21")  # found, not imported
    folder = Path(spec.origin).parent / "corpus" if spec and spec.origin else None
    if folder is None or importlib.util.find_spec("muspy") is None:
        raise PluginError(f"the {what} need music21 and muspy: pip install 'cloakbench[music]'")
    if not folder.is_dir():
        raise DataError(
            f"{folder}: music21 is installed without its corpus; pip install --force-reinstall 'music21>=9,<10'"
        )
    return folder


def read_musicxml(path: Path, name: str, group: str, parts: range, *, halves: bool = False) -> Piece | None:
    """Read a score onto the grid; the beat is the quarter note.

    Args:
        path: a file of MusicXML, compressed or not.
        name: of the piece.
        group: of the piece.
        parts: how many parts with notes are expected.
        halves: the half note is the beat where the metre counts halves.

    Returns:
        The piece; None where it has another number of parts, or no metre.

    Raises:
        DataError: the file is missing.
        UnreadableError: MusPy cannot read it.
    """
    import muspy

    if not path.is_file():
        raise DataError(f"{path}: no such score; expected the corpus of music21 9")
    try:
        music = muspy.read_musicxml(path)
    except Exception as error:  # whatever its XML and ZIP readers raise
        raise UnreadableError(f"{path}: not a score that can be read ({type(error).__name__}: {error})") from error
    tracks = music.tracks
    if len(tracks) not in parts or not all(track.notes for track in tracks) or not music.time_signatures:
        return None
    first = music.time_signatures[0]
    quarters = 2 if halves and first.denominator == 2 else 1  # of a beat
    ticks = music.resolution * quarters
    rows = [(part, n.time, n.duration, n.pitch) for part, track in enumerate(tracks) for n in track.notes]
    notes = torch.tensor(rows, dtype=torch.int64)
    bar = first.numerator * 4 * STEPS_PER_BEAT // (first.denominator * quarters)
    lines = [round(line.time * STEPS_PER_BEAT / ticks) for line in music.barlines]
    key = music.key_signatures[0] if music.key_signatures else None
    return piece_of(
        name,
        group,
        on_grid(notes, ticks),
        lines,
        bar,
        common=all(metre.numerator == 4 and metre.denominator == 4 // quarters for metre in music.time_signatures),
        tempo=float(music.tempos[0].qpm) / quarters if music.tempos else None,
        mode=key.mode if key else None,
    )


def kern_work(path: Path) -> str:
    """Return the title of the work that a score in kern is part of; the file's name where it has none."""
    with path.open(encoding="latin-1") as file:
        title = re.search(r"^!!!OPR:(.*)$", file.read(1000), re.MULTILINE)
    return title[1].strip() if title else path.stem


def read_kern(path: Path, name: str, group: str, parts: range) -> Piece | None:
    """Read a score of Palestrina's in kern onto the grid; the beat is the half note.

    Args:
        path: the file.
        name: of the piece.
        group: of the piece.
        parts: how many parts are expected.

    Returns:
        The piece; None where it has another number of parts.

    Raises:
        DataError: the file is missing or not kern as described above.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such score; expected the corpus of music21 9")
    text = path.read_text(encoding="latin-1")
    metres = re.findall(r"^\*M(\d+)/(\d+)", text, re.MULTILINE)
    voices = text.count("**kern")
    if not metres or not voices:
        raise DataError(f"{path}: not a score that can be read, expected kern with a metre")
    if voices not in parts:
        return None
    clocks = [Fraction(0)] * voices
    rows: list[list[Fraction | int]] = []
    lines: list[Fraction] = []
    open_notes: dict[int, list[Fraction | int]] = {}  # by part: the note that is tied over
    for line in text.splitlines():
        if line.startswith("="):
            lines.append(clocks[0])
        if not line or line[0] in "!*=":
            continue
        for spine, token in enumerate(line.split("\t")):
            if token == ".":
                continue
            match = _TOKEN.match(token)
            if not match:
                raise DataError(f"{path}: token '{token}', expected a note or a rest of kern")
            # 0 is a breve, two whole notes; a beat is half a whole note.
            value = Fraction(2) if match["recip"] == "0" else Fraction(1, int(match["recip"]))
            value *= (2 - Fraction(1, 2 ** len(match["dots"]))) * 2
            part = voices - 1 - spine  # kern begins with the bass
            if match["tie"] and part in open_notes:
                open_notes[part][2] += value
            elif match["pitch"] != "r":
                rows.append([part, clocks[spine], value, _pitch(match["pitch"], match["accidental"])])
            if match["tie"] != "_":
                open_notes.pop(part, None)
            if token.startswith("["):
                open_notes[part] = rows[-1]
            clocks[spine] += value
    beats = {int(over) * 2 // int(under) for over, under in metres}
    notes = torch.tensor(
        [[int(12 * field) if i in (1, 2) else int(field) for i, field in enumerate(row)] for row in rows]
    )
    return piece_of(
        name,
        group,
        on_grid(notes, 12),
        [round(line * STEPS_PER_BEAT) for line in lines],
        int(metres[0][0]) * 2 * STEPS_PER_BEAT // int(metres[0][1]),
        common=beats == {4},
    )


def _pitch(letters: str, accidental: str) -> int:
    """MIDI pitch of kern's letters: "c" is middle C, "cc" an octave above, "C" an octave below."""
    octave = len(letters) if letters.islower() else 1 - len(letters)
    return 48 + 12 * octave + _SEMITONES[letters[0].lower()] + accidental.count("#") - accidental.count("-")


def on_grid(notes: Tensor, ticks: int) -> Tensor:
    """Round starts and ends of notes to steps; a note lasts at least one.

    Args:
        notes: int64 [note, 4]: part, start, duration, pitch; in ticks. Changed in place.
        ticks: of a beat.
    """
    stop = _steps(notes[:, 1] + notes[:, 2], ticks)
    notes[:, 1] = _steps(notes[:, 1], ticks)
    notes[:, 2] = (stop - notes[:, 1]).clamp(min=1)
    return notes


def _steps(ticks: Tensor, resolution: int) -> Tensor:
    """Round ticks to steps."""
    return (2 * ticks * STEPS_PER_BEAT + resolution).div(2 * resolution, rounding_mode="floor")


def piece_of(
    name: str,
    group: str,
    notes: Tensor,
    lines: list[int],
    bar: int,
    *,
    common: bool,
    tempo: float | None = None,
    mode: str | None = None,
) -> Piece:
    """Assemble a piece. A bar of less than half its length is a pick-up, at the beginning or after a repeat.

    Args:
        name: of the piece.
        group: of the piece.
        notes: int64 [note, 4]: part, start, duration, pitch; in steps.
        lines: steps at which bars begin, ascending.
        bar: steps of a whole bar.
        common: in bars of four beats throughout.
        tempo: beats a minute, where the score states them.
        mode: of the key signature, where the score has one.
    """
    end = int((notes[:, 1] + notes[:, 2]).max())
    downs = tuple(step for step, next_bar in pairwise([*lines, end]) if 2 * (next_bar - step) >= bar)
    return Piece(name, group, notes, downs, end, bar, common, tempo, mode)
