"""A procedural five-track band with drums, as rolls or rendered; its styles are the labels.

Made, not collected: nothing to download, nothing to license, as much of it as wanted, and drums, which chorales lack.

* A song has a key, a mode, a tempo, a progression of four chords (one a bar) and a motif of two bars that the guitar
  repeats on every chord, its last note varied. Each style (`STYLES`) has a tempo range and patterns of its own for
  drums, piano and bass. Tracks rest for sections of four bars; every fourth bar may end in a fill.
* Velocities: the part's base U(65, 100), + 10 on the down-beat, + 4 on other beats, + N(0, 4), within 30..120.
* Every song is a row of one table of uniform numbers, made from the seed and the split's name. So a larger set begins
  with the smaller one, and the whole set is written at once, without a loop over songs.
* A song gives `per_song` items, one after the other; it is their group.

The shapes follow MuseGAN (Dong et al., AAAI 2018): 84 pitches from C1, bars of 4/4, drums as pitches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from bench.api import Clips, Data, Dataset, Needs, Rolls
from bench.errors import DataError, UsageError, unknown
from bench.notes.render import render
from bench.notes.rolls import DRUMS, Notes, grid
from bench.seeds import name_generator

TRACKS = ("drums", "piano", "guitar", "bass", "strings")
PROGRAMS = (DRUMS, 0, 27, 33, 48)
ACTIVE = (0.97, 0.92, 0.8, 0.96, 0.64)  # chance that a track plays in a section of four bars
SPLITS = ("train", "validation", "test")
STYLES = ("ballad", "pop", "rock", "funk")
TEMPI = ((62.0, 82.0), (96.0, 124.0), (112.0, 146.0), (88.0, 112.0))
LOWEST, PITCHES = 24, 84  # C1..B7
BAR = 16  # steps, sixteenths
SECTION = 4  # bars
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # major, natural minor
MODES = ("major", "minor")
PROGRESSIONS = (  # degrees of the scale, a bar each
    ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (1, 4, 0, 5), (0, 3, 4, 3), (0, 2, 3, 4)),
    ((0, 6, 5, 6), (0, 3, 4, 0), (0, 5, 2, 6), (0, 2, 6, 3), (0, 5, 3, 4), (0, 3, 6, 2)),
)
# Drums of one bar: x strikes, by General MIDI pitch. Two variants a style.
KICK, SNARE, CLOSED, OPEN, CRASH = 36, 38, 42, 46, 49
GROOVES = (
    ({KICK: "x.......x.......", SNARE: "........x.......", CLOSED: "x...x...x...x..."},
     {KICK: "x.........x.....", SNARE: "........x.......", CLOSED: "x...x...x...x..."}),
    ({KICK: "x...x...x...x...", SNARE: "....x.......x...", OPEN: "..x...x...x...x."},
     {KICK: "x.......x.......", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.x."}),
    ({KICK: "x.......x.x.....", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.x."},
     {KICK: "x.x.....x.......", SNARE: "....x.......x...", OPEN: "x...x...x...x..."}),
    ({KICK: "x..x......x.....", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.x."},
     {KICK: "x.....x...x..x..", SNARE: "....x.......x...", CLOSED: "x.x.x.x.x.x.x.x."}),
)  # fmt: skip
FILL = {SNARE: "............x.x.", KICK: "............x..."}
# Chord parts of one bar: (step, duration, tones of the chord: 0 root, 1 third, 2 fifth, 3 octave). Two variants each.
PIANO = (
    ([(0, 8, (0, 1, 2)), (8, 8, (0, 1, 2))], [(0, 4, (0,)), (4, 4, (1,)), (8, 4, (2,)), (12, 4, (1,))]),
    ([(0, 6, (0, 1, 2)), (6, 4, (0, 1, 2)), (12, 4, (0, 1, 2))],
     [(0, 4, (0,)), (2, 4, (1,)), (4, 4, (2,)), (6, 4, (1,)), (8, 4, (0,)), (10, 4, (1,)), (12, 4, (2,))]),
    ([(0, 8, (0, 2)), (8, 8, (0, 2))], [(0, 4, (0, 2)), (4, 4, (0, 2)), (8, 8, (0, 1, 2))]),
    ([(2, 2, (1, 2)), (7, 3, (1, 2)), (12, 3, (1, 2))], [(3, 3, (0, 1, 2)), (10, 3, (0, 1, 2))]),
)  # fmt: skip
BASS = (
    ([(0, 8, (0,)), (8, 8, (0,))], [(0, 12, (0,)), (12, 4, (2,))]),
    ([(0, 4, (0,)), (4, 4, (0,)), (8, 4, (0,)), (12, 4, (0,))],
     [(0, 6, (0,)), (6, 2, (0,)), (8, 6, (0,)), (14, 2, (2,))]),
    ([(step, 2, (0,)) for step in range(0, 16, 2)],
     [(0, 4, (0,)), (4, 4, (0,)), (8, 4, (0,)), (12, 2, (0,)), (14, 2, (2,))]),
    ([(0, 3, (0,)), (3, 2, (0,)), (8, 2, (3,)), (10, 4, (0,))],
     [(0, 3, (0,)), (6, 2, (2,)), (8, 2, (0,)), (12, 3, (3,))]),
)  # fmt: skip
STRINGS = ([(0, 16, (0, 2))], [(0, 16, (1,))])  # in every style
# Rhythms of the guitar's motif, two bars of (step, duration).
MOTIFS = (
    [(0, 6), (6, 2), (8, 8), (16, 4), (20, 4), (24, 8)],
    [(0, 4), (4, 2), (6, 2), (8, 4), (12, 4), (16, 4), (20, 8)],
    [(2, 2), (4, 2), (6, 2), (8, 4), (16, 4), (20, 2), (22, 6)],
    [(0, 3), (3, 3), (6, 2), (8, 4), (12, 2), (14, 2), (16, 8), (24, 4)],
)
LONGEST_MOTIF = max(map(len, MOTIFS))


@dataclass(frozen=True)
class Band(Dataset[Data]):
    """Songs for five tracks: `domain` "midi" gives rolls of `bars` bars, "audio" clips of `seconds` with five stems.

    Counts are of items: songs times `per_song`. Groups are songs, classes are styles.
    """

    version = 1
    domains = ("audio", "midi")
    needs = Needs(memory_gb=4.0)
    paper = "Shapes after Dong et al., MuseGAN, AAAI 2018"
    presets = {
        "smoke": {
            "seconds": 4.0, "clips": 12, "validation_clips": 8, "test_clips": 12,
            "rolls": 256, "validation_rolls": 64, "test_rolls": 64,
        },
        "full": {
            "seconds": 10.0, "clips": 400, "validation_clips": 80, "test_clips": 160,
            "bars": 4, "rolls": 4096, "validation_rolls": 512, "test_rolls": 1024,
        },
    }  # fmt: skip

    domain: Literal["audio", "midi"] = "midi"
    rate: int = 16000  # samples a second
    channels: int = 1
    seconds: float = 6.0  # of one clip
    clips: int = 24
    validation_clips: int = 12
    test_clips: int = 24
    stems: bool = True  # keep them
    bars: int = 2  # of one roll
    rolls: int = 1024
    validation_rolls: int = 128
    test_rolls: int = 256
    per_song: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "seconds", "bars", "per_song"):
            if getattr(self, name) <= 0:
                raise UsageError(f"{name} = {getattr(self, name)}, expected more than 0")

    def load(self, split: str) -> Clips | Rolls:
        """split: "train", "validation" or "test". Raises `DataError` for another, `UsageError` for an empty count."""
        if split not in SPLITS:
            raise DataError(unknown("split of the band", split, SPLITS))
        kind = "clips" if self.domain == "audio" else "rolls"
        field = kind if split == "train" else f"{split}_{kind}"
        items = int(getattr(self, field))
        if items < 1:
            raise UsageError(f"{field} = {items}, expected at least 1")
        if self.domain == "midi":
            return self._rolls(split, items, self.bars)
        fastest = max(high for _, high in TEMPI)
        rolls = self._rolls(split, items, math.ceil(self.seconds * fastest / 60 * 4 / BAR))
        return render(rolls, self.rate, channels=self.channels, seconds=self.seconds, keep_stems=self.stems)

    def _rolls(self, split: str, items: int, bars: int) -> Rolls:
        """The first `items` items of `bars` bars."""
        songs = _songs(f"{self.seed}/{split}", -(-items // self.per_song), bars * self.per_song)
        notes = songs.notes
        steps = bars * BAR
        item = notes.roll * self.per_song + notes.start // steps
        # No note crosses a bar line, so none crosses the seam between two items.
        cut = Notes(item, notes.track, notes.start % steps, notes.duration, notes.pitch, notes.velocity)[item < items]
        velocity, onset = grid(cut, items, len(TRACKS), steps, LOWEST, PITCHES)
        song = torch.arange(items) // self.per_song
        names = [f"{split}-{number:05d}" for number in song.tolist()]
        texts = [
            f"{STYLES[style]} song for drums, piano, guitar, bass, strings in a {MODES[mode]} key, {round(tempo)} bpm"
            for style, mode, tempo in zip(songs.style.tolist(), songs.mode.tolist(), songs.tempo.tolist(), strict=True)
        ]
        return Rolls(
            velocity=velocity,
            onset=onset,
            programs=PROGRAMS,
            ids=tuple(f"{name}-{number % self.per_song}" for number, name in enumerate(names)),
            groups=tuple(names),
            lengths=torch.full((items,), steps),
            tempo=songs.tempo[song],
            lowest=LOWEST,
            tracks=TRACKS,
            labels=songs.style[song],
            classes=STYLES,
            texts=tuple(texts[number] for number in song.tolist()),
        )


class _Songs(NamedTuple):
    notes: Notes  # roll = song
    style: Tensor  # int64 [song]
    mode: Tensor  # int64 [song]
    tempo: Tensor  # float32 [song]


class _Draws:
    """Columns of one uniform table [song, number], handed out from left to right."""

    def __init__(self, name: str, songs: int, numbers: int) -> None:
        self._table = torch.rand(songs, numbers, generator=name_generator(name))
        self._used = 0

    def uniform(self, *shape: int) -> Tensor:
        """[song, *shape] in 0..1."""
        taken = self._table[:, self._used : self._used + math.prod(shape)]
        self._used += math.prod(shape)
        return taken.reshape(-1, *shape)

    def below(self, most: int, *shape: int) -> Tensor:
        """int64 [song, *shape] in 0..most - 1."""
        return (self.uniform(*shape) * most).long().clamp(max=most - 1)


def _songs(name: str, songs: int, bars: int) -> _Songs:
    """Songs of that many bars, all at once."""
    sections = -(-bars // SECTION)
    steps = bars * BAR
    draws = _Draws(name, songs, 64 + 32 * sections + len(TRACKS) * steps)
    style = torch.arange(songs) % len(STYLES)  # as many of each
    mode, key = draws.below(len(MODES)), draws.below(12) - 5
    low, high = torch.tensor(TEMPI)[style].unbind(-1)
    tempo = (low + (high - low) * draws.uniform()).round()
    bar = torch.arange(bars)
    progression = torch.tensor(PROGRESSIONS)[mode, draws.below(len(PROGRESSIONS[0]))]
    chord = progression[:, bar % SECTION]  # [song, bar]: degree of its root
    scale = torch.tensor(SCALES)[mode]  # [song, 7]
    plays = draws.uniform(sections, len(TRACKS)) < torch.tensor(ACTIVE)
    plays[..., 3] |= ~plays.any(-1)  # somebody plays: the bass
    parts = [
        _drums(draws, style, bars, sections),
        _chords(PIANO, draws, style, chord, scale, key, sections, octave=4),
        _motif(draws, chord, scale, key),
        _chords(BASS, draws, style, chord, scale, key, sections, octave=2),
        _chords((STRINGS,) * len(STYLES), draws, style, chord, scale, key, sections, octave=4),
    ]
    base = 65 + 35 * draws.uniform(len(TRACKS))
    jitter = 4 * torch.special.ndtri(draws.uniform(len(TRACKS), steps).clamp(1e-4, 1 - 1e-4))
    columns = []
    for track, (song, start, duration, pitch) in enumerate(parts):
        heard = plays[song, start // (SECTION * BAR), track]
        song, start, duration, pitch = (column[heard] for column in (song, start, duration, pitch))
        accent = torch.where(start % 4 == 0, 4.0, 0.0)
        accent[start % BAR == 0] = 10.0
        loud = (base[song, track] + accent + jitter[song, track, start]).clamp(30, 120) / 127
        columns.append((song, torch.full_like(song, track), start, duration, pitch, loud))
    return _Songs(Notes(*(torch.cat(column) for column in zip(*columns, strict=True))), style, mode, tempo)


_Columns = tuple[Tensor, Tensor, Tensor, Tensor]  # song, start, duration, pitch


def _drums(draws: _Draws, style: Tensor, bars: int, sections: int) -> _Columns:
    """The style's groove, one variant a section, a few strokes added or left out, a fill and a crash at the seams."""
    pitches = (KICK, SNARE, CLOSED, OPEN, CRASH)
    grooves = torch.tensor(
        [
            [[[stroke == "x" for stroke in bar.get(pitch, "." * BAR)] for pitch in pitches] for bar in pair]
            for pair in GROOVES
        ]
    )
    fill = torch.tensor([[stroke == "x" for stroke in FILL.get(pitch, "." * BAR)] for pitch in pitches])
    section = torch.arange(bars) // SECTION
    variant = draws.below(2, sections)[:, section]
    struck = grooves[style[:, None], variant]  # [song, bar, pitch, step]
    last = torch.arange(bars) % SECTION == SECTION - 1
    fills = (draws.uniform(sections) < 0.5)[:, section] & last
    struck = struck | (fills[..., None, None] & fill)
    crash = (draws.uniform(sections) < 0.5)[:, section] & (torch.arange(bars) % SECTION == 0)
    struck[:, :, pitches.index(CRASH), 0] |= crash
    ghost = draws.below(BAR, sections)[:, section, None] == torch.arange(BAR)  # one more stroke on the snare ...
    struck[:, :, 1] |= ghost & (draws.uniform(sections) < 0.25)[:, section, None]  # ... in a quarter of the sections
    song, bar, pitch, step = struck.nonzero(as_tuple=True)
    return song, bar * BAR + step, torch.ones_like(step), torch.tensor(pitches)[pitch]


def _chords(
    patterns: Any, draws: _Draws, style: Tensor, chord: Tensor, scale: Tensor, key: Tensor, sections: int, octave: int
) -> _Columns:
    """A pattern of chord tones, one variant a section, on the chord of the bar."""
    events = [
        [[(step, duration, tone) for step, duration, tones in bar for tone in tones] for bar in pair]
        for pair in patterns
    ]
    most = max(len(bar) for pair in events for bar in pair)
    # Padded with duration 0, which is no note.
    table = torch.tensor([[bar + [(0, 0, 0)] * (most - len(bar)) for bar in pair] for pair in events])
    section = torch.arange(chord.shape[1]) // SECTION
    rows = table[style[:, None], draws.below(2, sections)[:, section]]  # [song, bar, event, 3]
    song, bar, event = (rows[..., 1] > 0).nonzero(as_tuple=True)
    step, duration, tone = rows[song, bar, event].unbind(-1)
    degree = chord[song, bar] + 2 * (tone % 3)
    pitch = _pitch(degree, scale[song], key[song], octave) + 12 * (tone == 3)
    return song, bar * BAR + step, duration, pitch


def _motif(draws: _Draws, chord: Tensor, scale: Tensor, key: Tensor) -> _Columns:
    """Two bars of melody, moved with the chord of its first bar; every other time the last note is another."""
    table = torch.tensor([motif + [(0, 0)] * (LONGEST_MOTIF - len(motif)) for motif in MOTIFS])
    rhythm = table[draws.below(len(MOTIFS))]  # [song, event, 2]
    leap = draws.below(5, LONGEST_MOTIF) - 2  # degrees, from note to note
    leap[:, 0] = 2 * draws.below(3)  # begins on a tone of the chord
    line = leap.cumsum(1).clamp(-4, 8)
    varied = draws.below(3) - 1
    times = -(-chord.shape[1] // 2)
    song, time, event = (rhythm[:, None, :, 1] > 0).expand(-1, times, -1).nonzero(as_tuple=True)
    step, duration = rhythm[song, event].unbind(-1)
    degree = chord[song, 2 * time] + line[song, event]
    final = (event == (rhythm[..., 1] > 0).sum(1)[song] - 1) & (time % 2 == 1)
    degree = degree + varied[song] * final
    start = 2 * time * BAR + step
    inside = start < chord.shape[1] * BAR
    pitch = _pitch(degree, scale[song], key[song], octave=4)
    return song[inside], start[inside], duration[inside], pitch[inside]


def _pitch(degree: Tensor, scale: Tensor, key: Tensor, octave: int) -> Tensor:
    """MIDI pitch of a degree of each note's own scale; degree 0 in octave 4 is C4 (60) plus the key, -5..6."""
    tone = scale.gather(1, (degree % 7)[:, None])[:, 0]
    return 12 * (octave + 1) + key + tone + 12 * degree.div(7, rounding_mode="floor")
