"""Tunes of one voice in ABC (Walshaw, "The abc music standard 2.1", 2011), as far as two collections use it.

They are Ryan's fiddle tunes, a file each, and the Essen folk songs, hundreds in a file.

* Of the fields, M (metre), L (unit of length) and K (key) are read, in the head, between lines of music and inline.
* Grace notes, texts in quotes, decorations and slurs are passed over.
* An accidental holds to the end of its bar, in every octave, and for a note tied to it over the bar line.
* ">" and "<" dot one of the two notes beside them and shorten the other, whatever is passed over between these.
* Notes of a chord begin together; all last as long as the first of them.
* ":|" repeats from the latest "|:", double bar or ":|", or else from the beginning, without the first ending.
  "D.C." and the like are texts and not followed.
* A bar longer than its metre is cut where the metre ends.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NoReturn

import torch

from bench.errors import DataError
from bench.notes.corpus import UnreadableError, on_grid, piece_of
from bench.notes.excerpts import STEPS_PER_BEAT, Piece

__all__ = ["read_abc", "tune_of", "tunes_in"]

_LENGTH = r"(?:[1-9]\d{0,2})?(?:/+(?:[1-9]\d{0,2})?)?"
_NOTE = rf"(?P<accidental>\^\^?|__?|=)?(?P<letter>[a-gA-G])(?P<octave>[,']*)(?P<length>{_LENGTH})"
_TOKEN = re.compile(
    rf"""
    ^(?P<field>[A-Zmrsw]):(?![|:])(?P<value>.*) | \[(?P<inline>[A-Z]):(?P<setting>[^]\n]*)\]
    | "[^"]*" | ![^!\n]*! | \{{[^}}]*\}}                        # text, decoration, grace notes
    | (?P<line>(?:\[(?=\|)|[|:]|(?<=[|:])\])+)                 # a bar line
    | (?:\[|(?<=\|)|^)(?P<ending>[1-9])
    | \((?P<tuplet>[2-9])(?::(?P<time>[1-9]?))?(?::(?P<count>[1-9]?))?
    | {_NOTE} | z(?P<rest>{_LENGTH}) | \[(?P<chord>[^]|]*)\](?P<times>{_LENGTH})
    | (?P<broken><+|>+) | (?P<tie>-)
    | \s+ | [()}},.~=H-Yh-y\\`*;?@$+\#]|\[(?=")                 # slurs, decorations, spacers, slips, what is reserved
    """,
    re.VERBOSE | re.MULTILINE,
)
_CHORD_NOTE = re.compile(rf"{_NOTE}(?P<tie>-?)|z{_LENGTH}")
_METRE = re.compile(r"(\d+)/(1|2|4|8|16)")
_UNIT = re.compile(r"1/(\d+)")
_KEY = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)((?:\s*(?:\^\^?|__?|=)[a-gA-G])*)")
_ALTERED = re.compile(r"(\^\^?|__?|=)([a-gA-G])")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
_SHARPS = "FCGDAEB"  # in their order in key signatures
_MODES = {
    "": 0,
    "maj": 0,
    "ion": 0,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "mix": -1,
    "dor": -2,
    "phr": -4,
    "lyd": 1,
    "loc": -5,
}
_TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # number of notes: of how many they take the time


@dataclass
class _Event:
    """A rest, a note or a chord: pitches by name (letter and octave), length in quarters, names tied to the next."""

    pitches: dict[str, int]
    length: Fraction
    tied: set[str]


@dataclass
class _Bar:
    """A bar: the bar lines on its left, its ending (0: none), its metre in quarters, and its events."""

    lines: str = ""
    ending: int = 0
    metre: Fraction = Fraction(0)
    events: list[_Event] = field(default_factory=list)


def read_abc(path: Path, name: str, group: str) -> Piece:
    """Read a file with one tune onto the grid, see `tune_of`.

    Args:
        path: the file.
        name: of the piece.
        group: of the piece.

    Raises:
        DataError: the file is missing.
        UnreadableError: it is not ABC as described above.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such score; expected the corpus of music21 9")
    return tune_of(path.read_text(encoding="utf-8", errors="replace"), str(path), name, group)


def tunes_in(path: Path) -> dict[str, str]:
    """Split a file of many tunes, each of which begins with its number in a field X.

    Args:
        path: the file.

    Returns:
        The text of each tune by its number, in the order of the file; of two with one number, the later.

    Raises:
        DataError: the file is missing.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such score; expected the corpus of music21 9")
    tunes = re.split(r"^X: *(\d+)", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    return dict(zip(tunes[1::2], tunes[2::2], strict=True))


def tune_of(text: str, source: str, name: str, group: str) -> Piece:
    """Read a tune of one voice onto the grid, repeats unrolled; the beat is the quarter note.

    Args:
        text: the tune in ABC.
        source: where it is from, for the error.
        name: of the piece.
        group: of the piece.

    Raises:
        UnreadableError: it is not ABC as described above.
    """
    tune = _Tune(source)
    tune.read(text)
    bars = _unrolled(tune.bars)
    ticks = math.lcm(*(event.length.denominator for bar in tune.bars for event in bar.events))  # a quarter
    rows: list[list[int]] = []
    lines: list[int] = []
    clock = 0
    held: dict[int, list[int]] = {}  # rows of the notes that are tied over, by pitch
    for bar in bars:
        begin = clock
        for event in bar.events:
            length = event.length.numerator * (ticks // event.length.denominator)
            sounding, held = held, {}
            for key, pitch in event.pitches.items():
                row = sounding.get(pitch)
                if row is None:
                    row = [0, clock, 0, pitch]
                    rows.append(row)
                row[2] += length
                if key in event.tied:
                    held[pitch] = row
            clock += length
        lines += range(begin, clock, math.ceil(bar.metre * ticks))
    steps = [(2 * STEPS_PER_BEAT * line + ticks) // (2 * ticks) for line in lines]
    over, under = tune.metres[0]
    return piece_of(
        name,
        group,
        on_grid(torch.tensor(rows), ticks),
        steps,
        over * 4 * STEPS_PER_BEAT // under,
        common=set(tune.metres) == {(4, 4)},
    )


class _Tune:
    """What was read of a tune so far.

    Attributes:
        bars: in the order of the file; a bar without events stands for its bar lines alone.
        metres: that were stated.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.bars = [_Bar()]
        self.metres: list[tuple[int, int]] = []
        self._unit: Fraction | None = None  # in quarters
        self._key: dict[str, int] | None = None  # semitones by letter
        self._accidentals: dict[str, int] = {}  # of the bar
        self._last = _Event({}, Fraction(0), set())
        self._broken: Fraction | None = None  # factor of the next event
        self._tuplet = Fraction(1)
        self._in_tuplet = 0  # events that are still to come

    def read(self, text: str) -> None:
        """Read a file. Raises `UnreadableError` at what is not understood, or where there are no notes."""
        text = re.sub("%.*|=(20)?$", "", text, flags=re.MULTILINE)  # comments; line ends of mails ("quoted-printable"),
        text = text.replace("=3D", "=")  # whose "=" that is
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                self._refuse(f"'{text[place:].split()[0][:20]}'", "a note, rest or bar line of ABC")
            place = match.end()
            if match["letter"]:
                self._add(dict([self._pitch(match)]), match["length"])
            elif match["line"]:
                self._next_bar().lines += match["line"] + " "
            elif match["broken"]:
                self._break(match["broken"])
            elif match["rest"] is not None:
                self._add({}, match["rest"])
            elif match["tie"]:
                self._last.tied = set(self._last.pitches)
            elif match["tuplet"]:
                self._start_tuplet(int(match["tuplet"]), match["time"], match["count"])
            elif match["ending"]:
                self._next_bar().ending = int(match["ending"])
            elif match["chord"] is not None:
                self._chord(match["chord"], match["times"])
            elif name := match["field"] or match["inline"]:
                self._set(name, (match["value"] or match["setting"] or "").strip())
        if not any(event.pitches for bar in self.bars for event in bar.events):
            self._refuse("no notes", "a tune in ABC")

    def _refuse(self, found: str, expected: str) -> NoReturn:
        raise UnreadableError(f"{self.source}: {found}, expected {expected}")

    def _set(self, name: str, value: str) -> None:
        """Take a field."""
        if name == "M":
            match = _METRE.fullmatch({"C": "4/4", "C|": "2/2"}.get(value, value))
            if match is None or not int(match[1]):
                self._refuse(f"metre '{value}'", "one like 6/8, C or C|")
            self.metres.append((int(match[1]), int(match[2])))
        elif name == "L":
            match = _UNIT.fullmatch(value)
            if match is None or not int(match[1]):
                self._refuse(f"unit of length '{value}'", "one like 1/8")
            self._unit = Fraction(4, int(match[1]))
        elif name == "K":
            match = _KEY.match(value)
            if match is None or match[3][:3].lower() not in _MODES:
                self._refuse(f"key '{value}'", "one like G, F#m or Ador")
            fifths = _SHARPS.index(match[1]) - 1 + 7 * ((match[2] == "#") - (match[2] == "b"))
            fifths += _MODES[match[3][:3].lower()]
            letters = _SHARPS if fifths > 0 else _SHARPS[::-1]
            self._key = dict.fromkeys(_SHARPS, 0)
            for number in range(abs(fifths)):
                self._key[letters[number % 7]] += 1 if fifths > 0 else -1
            self._key.update({letter.upper(): _ACCIDENTALS[sign] for sign, letter in _ALTERED.findall(match[4])})
        elif name == "V":
            self._refuse("a field V", "one voice")

    def _next_bar(self) -> _Bar:
        """Begin a bar, unless the last one has no events yet."""
        self._accidentals = {}
        if self.bars[-1].events:
            self.bars.append(_Bar())
        return self.bars[-1]

    def _pitch(self, note: re.Match[str]) -> tuple[str, int]:
        """Name and MIDI pitch of a note: "C" is middle C, "c" an octave above."""
        if self._key is None:
            self._refuse("a note before the key", "a field K in the head")
        letter = note["letter"].upper()
        octave = note["letter"].islower() + note["octave"].count("'") - note["octave"].count(",")
        name = f"{letter}{octave}"
        if note["accidental"]:
            self._accidentals[letter] = _ACCIDENTALS[note["accidental"]]
        elif name in self._last.tied:
            return name, self._last.pitches[name]
        semitones = _SEMITONES[letter] + self._accidentals.get(letter, self._key[letter])
        return name, 60 + 12 * octave + semitones

    def _chord(self, text: str, times: str) -> None:
        """Take a chord."""
        notes = list(_CHORD_NOTE.finditer(text))
        if not notes or not notes[0]["letter"] or "".join(note[0] for note in notes) != text:
            self._refuse(f"'[{text}]'", "a chord like [ceg] or an ending")
        notes = [note for note in notes if note["letter"]]
        pitches = [self._pitch(note) for note in notes]
        self._add(dict(pitches), notes[0]["length"], times)
        self._last.tied = {name for (name, _), note in zip(pitches, notes, strict=True) if note["tie"]}

    def _add(self, pitches: dict[str, int], length: str, times: str = "") -> None:
        """Append an event to the bar."""
        if not self.metres:
            self._refuse("a note before the metre", "a field M in the head")
        over, under = self.metres[-1]
        unit = self._unit or (Fraction(1, 4) if over / under < 0.75 else Fraction(1, 2))
        value = _length(unit, length)
        if times:
            value *= _length(Fraction(1), times)
        if self._broken:
            value, self._broken = value * self._broken, None
        if self._in_tuplet:
            value, self._in_tuplet = value * self._tuplet, self._in_tuplet - 1
        self._last = _Event(pitches, value, set())
        if not self.bars[-1].events:
            self.bars[-1].metre = Fraction(4 * over, under)
        self.bars[-1].events.append(self._last)

    def _break(self, signs: str) -> None:
        """Dot the last event and shorten the next, or the reverse."""
        if not self._last.length:
            self._refuse(f"'{signs}' before the first note", "it between two notes")
        short = Fraction(1, 2 ** len(signs))
        first, self._broken = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        self._last.length *= first

    def _start_tuplet(self, notes: int, time: str | None, count: str | None) -> None:
        """Let the next events take another time."""
        over, under = self.metres[-1] if self.metres else (4, 4)
        usual = _TUPLETS.get(notes, 3 if over % 3 == 0 and under == 8 else 2)
        self._tuplet = Fraction(int(time or usual), notes)
        self._in_tuplet = int(count or notes)


@cache
def _length(unit: Fraction, text: str) -> Fraction:
    """A note's length: so many units, as in "3", "3/2", "/", "/4" or "//"."""
    over, slash, under = text.partition("/")
    return unit * Fraction(int(over or 1), int(under.lstrip("/") or 2 ** len(slash + under)) if slash else 1)


def _unrolled(bars: list[_Bar]) -> list[_Bar]:
    """Repeat what is to be repeated."""
    played: list[_Bar] = []
    start, marked = 0, False  # of what the next ":|" repeats; whether a "|:" says so
    first: int | None = None  # the bar with the first ending
    second = False  # in the second ending, which a ":|" closes
    for number, bar in enumerate(bars):
        if re.search(r"(?<!\|): ?[|\[]|::", bar.lines) or (first is not None and bar.ending > 1):
            if not second:
                played += bars[start : number if first is None else first]
            start, marked, first, second = number, False, None, False
        if re.search(r"\|:|::|[|\]] : $", bar.lines):
            start, marked, first, second = number, True, None, False
        elif not marked and first is None and re.search(r"\|[|\]]|\[\|", bar.lines):
            start, second = number, False
        if bar.ending == 1:
            first = number
        second = second or bar.ending > 1
        played.append(bar)
    return [bar for bar in played if bar.events]
