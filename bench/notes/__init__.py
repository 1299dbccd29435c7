"""Symbolic music: MIDI files, piano rolls, note lists, their edits, and rendering. Independent of trials.

Plugins may rely on the names below, and on `bench.notes.render.render`, which plays rolls by a soundfont. The
conventions are stated in the modules: `rolls` for piano rolls and note lists, `midi` for files in ticks.
"""

from bench.notes.midi import DRUMS, MIDI_SUFFIXES, Score, ScorePart, read_score
from bench.notes.note_edits import Maskers, cells_of, dealt, lengthened, maskers, medians, ranks, to_rolls
from bench.notes.pianorolls import PianoRolls, read_pianorolls
from bench.notes.pitches import LOWEST, PITCHES
from bench.notes.restrikes import dominant, remerge, split, threshold_velocity
from bench.notes.rolls import Notes, disjoint, grid, notes_of, quantised, read_midi, steps_in, write_midi
from bench.notes.velocities import SOFTEST, beginnings, rounded, sustained
from bench.notes.windows import (
    PROGRAMS,
    TRACKS,
    Window,
    cut,
    families,
    folded,
    in_split,
    in_turn,
    joined,
    read_piece,
    require_sizes,
    rolls_in_turn,
    rolls_of,
    stacked,
    windows_of,
)

__all__ = [
    "DRUMS",
    "LOWEST",
    "MIDI_SUFFIXES",
    "PITCHES",
    "PROGRAMS",
    "SOFTEST",
    "TRACKS",
    "Maskers",
    "Notes",
    "PianoRolls",
    "Score",
    "ScorePart",
    "Window",
    "beginnings",
    "cells_of",
    "cut",
    "dealt",
    "disjoint",
    "dominant",
    "families",
    "folded",
    "grid",
    "in_split",
    "in_turn",
    "joined",
    "lengthened",
    "maskers",
    "medians",
    "notes_of",
    "quantised",
    "ranks",
    "read_midi",
    "read_pianorolls",
    "read_piece",
    "read_score",
    "remerge",
    "require_sizes",
    "rolls_in_turn",
    "rolls_of",
    "rounded",
    "split",
    "stacked",
    "steps_in",
    "sustained",
    "threshold_velocity",
    "to_rolls",
    "windows_of",
    "write_midi",
]
