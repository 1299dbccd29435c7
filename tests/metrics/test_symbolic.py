"""Symbolic metrics against what can be counted by hand, against muspy, and what must not matter: padding and blocks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.metrics import symbolic, symbolic_events
from bench.notes.rolls import DRUMS, notes_of, read_midi

Make = Callable[..., Rolls]
METRICS = [
    symbolic.empty_bar_rate, symbolic.empty_beat_rate, symbolic.used_pitch_classes, symbolic.qualified_notes,
    symbolic.drum_pattern, symbolic.tonal_distance, symbolic.polyphony, symbolic.polyphony_rate,
    symbolic.scale_consistency, symbolic.pitch_range, symbolic.pitches_used, symbolic.pitch_classes_used,
    symbolic.pitch_entropy, symbolic.pitch_class_entropy, symbolic.groove_consistency, symbolic.notes_per_bar,
    symbolic.mean_duration,
]  # fmt: skip


def close(found: torch.Tensor, expected: list[Any]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), equal_nan=True)


def test_a_bar_that_only_holds_a_note_is_not_empty(make_rolls: Make) -> None:
    rolls = make_rolls([(0, 0, 8, 16, 60), (0, 1, 50, 1, 40)], "piano bass", steps=64)
    close(symbolic.empty_bar_rate(rolls), [[0.5, 0.75]])
    close(symbolic.empty_beat_rate(rolls), [[12 / 16, 15 / 16]])


def test_pitch_classes_are_pitches_modulo_12_over_bars_with_notes(make_rolls: Make) -> None:
    """C and its octave are one class, seven neighbouring semitones seven; the silent third bar does not count."""
    rows = [(0, 0, 0, 4, 60), (0, 0, 0, 4, 72)] + [(0, 0, 16, 2, pitch) for pitch in range(60, 67)]
    rolls = make_rolls(rows, "piano drums", steps=48)
    close(symbolic.used_pitch_classes(rolls), [[4.0, math.nan]])
    close(symbolic.pitch_classes_used(rolls), [[7.0, math.nan]])
    close(symbolic.pitches_used(rolls), [[8.0, math.nan]])
    close(symbolic.pitch_range(rolls), [[12.0, math.nan]])


@pytest.mark.parametrize(("steps_per_beat", "least"), [(24, 3), (12, 2), (4, 2), (8, 2), (48, 6)])
def test_a_qualified_note_is_a_32nd_or_two_steps(make_rolls: Make, steps_per_beat: int, least: int) -> None:
    rows = [(0, 0, 0, least - 1, 60), (0, 0, 10, least, 60), (0, 0, 20, least + 1, 60)]
    rolls = make_rolls(rows, steps=96, steps_per_beat=steps_per_beat)
    close(symbolic.qualified_notes(rolls), [[2 / 3]])
    close(symbolic.qualified_notes(rolls, least=least + 1), [[1 / 3]])


def test_notes_struck_again_stay_apart(make_rolls: Make) -> None:
    rolls = make_rolls([(0, 0, step, 1, 60) for step in range(4)])
    close(symbolic.qualified_notes(rolls), [[0.0]])
    close(symbolic.notes_per_bar(rolls), [[4.0]])
    close(symbolic.mean_duration(rolls), [[0.25]])


def test_drum_pattern_has_sixteenths_where_the_grid_is_finer_and_eighths_on_sixteenths(make_rolls: Make) -> None:
    sixteenths = make_rolls([(0, 0, step, 1, 38) for step in (0, 2, 4, 7)], "drums")
    close(symbolic.drum_pattern(sixteenths), [[0.75]])
    close(symbolic.drum_pattern(sixteenths, pulses=1), [[0.5]])
    fine = make_rolls([(0, 0, step, 1, 38) for step in (0, 6, 9, 12, 13)], "drums", steps=96, steps_per_beat=24)
    close(symbolic.drum_pattern(fine), [[3 / 5]])
    close(symbolic.drum_pattern(make_rolls([(0, 0, 0, 1, 60)])), [[math.nan]])


def test_tonal_distance_of_an_octave_a_fifth_and_a_tritone(make_rolls: Make) -> None:
    """Worked out by hand: k fifths apart is 2 sin(7 pi k / 12) on the circle of fifths, and so on."""

    def apart(semitones: int) -> float:
        turns = [(1.0, 7 / 6), (1.0, 3 / 2), (0.5, 2 / 3)]
        return math.sqrt(sum((2 * r * math.sin(semitones * turn * math.pi / 2)) ** 2 for r, turn in turns))

    for semitones, expected in [(12, 0.0), (7, apart(7)), (6, math.sqrt(8)), (1, apart(1))]:
        rolls = make_rolls([(0, 0, 0, 16, 60), (0, 1, 0, 16, 60 - semitones)], "piano bass")
        close(symbolic.tonal_distance(rolls), [[expected]])
    assert max(apart(semitones) for semitones in range(12)) == pytest.approx(2 * math.sqrt(2))


def test_tonal_distance_leaves_out_beats_in_which_one_is_silent_and_drums(make_rolls: Make) -> None:
    rows = [(0, 0, 0, 16, 60), (0, 1, 0, 16, 60), (0, 2, 0, 4, 54), (0, 2, 4, 4, 48)]
    close(symbolic.tonal_distance(make_rolls(rows, "piano drums bass")), [[math.sqrt(8) / 2]])
    close(symbolic.tonal_distance(make_rolls(rows[:1], "piano bass")), [[math.nan]])
    assert symbolic.pairs(make_rolls(rows, "piano drums bass")) == [(0, 2)]
    assert symbolic.tonal_distance(make_rolls(rows[:1])).shape == (1, 0)


def test_polyphony_is_over_sounding_steps_and_its_rate_over_all(make_rolls: Make) -> None:
    rolls = make_rolls([(0, 0, 0, 8, 60), (0, 0, 4, 4, 64), (0, 0, 6, 2, 67)])
    close(symbolic.polyphony(rolls), [[14 / 8]])
    close(symbolic.polyphony_rate(rolls), [[4 / 16]])
    close(symbolic.polyphony_rate(rolls, least=3), [[2 / 16]])


def test_scales_entropies_and_groove(make_rolls: Make) -> None:
    rows = [(0, 0, step, 1, pitch) for step, pitch in zip((0, 2, 4, 6, 8), (60, 61, 62, 66, 60), strict=True)]
    rolls = make_rolls([*rows, (0, 0, 16, 1, 60)], steps=40, lengths=torch.tensor([32]))
    close(symbolic.scale_consistency(rolls), [[5 / 6]])  # G major, but for the C sharp
    close(symbolic.pitch_entropy(rolls), [[0.5 * 1 + 3 / 6 * math.log2(6)]])
    close(symbolic.pitch_class_entropy(rolls), [[0.5 * 1 + 3 / 6 * math.log2(6)]])
    close(symbolic.groove_consistency(rolls), [[1 - 4 / 16]])
    close(symbolic.groove_consistency(make_rolls(rows)), [[math.nan]])


def test_a_silent_roll_is_undefined_where_the_docstring_says_so(make_rolls: Make) -> None:
    silent = make_rolls([], "piano drums bass")
    for metric, expected in [
        (symbolic.empty_bar_rate, 1.0), (symbolic.empty_beat_rate, 1.0), (symbolic.notes_per_bar, 0.0),
        (symbolic.polyphony_rate, 0.0), (symbolic.pitches_used, 0.0), (symbolic.used_pitch_classes, math.nan),
        (symbolic.qualified_notes, math.nan), (symbolic.polyphony, math.nan), (symbolic.mean_duration, math.nan),
        (symbolic.scale_consistency, math.nan), (symbolic.pitch_entropy, math.nan), (symbolic.pitch_range, math.nan),
    ]:  # fmt: skip
        close(metric(silent)[:, [0, 2]], [[expected, expected]])
    with pytest.raises(DataError, match="no rolls"):
        symbolic.empty_bar_rate(silent.select([]))


@pytest.mark.parametrize(("steps_per_beat", "beats_per_bar"), [(4, 4), (3, 3), (12, 5)])
def test_padding_blocks_and_pitch_offset_do_not_matter(
    random_rolls: Make, monkeypatch: pytest.MonkeyPatch, steps_per_beat: int, beats_per_bar: int
) -> None:
    rolls = random_rolls(1, steps_per_beat=steps_per_beat, beats_per_bar=beats_per_bar)
    wide = [torch.nn.functional.pad(each, (0, 0, 0, 29))[..., 24:108] for each in (rolls.velocity, rolls.onset)]
    wide[0][:, :, -20:] = 0.7  # sound in the padding
    padded = replace(rolls, velocity=wide[0], onset=wide[1], lowest=24)
    expected = [metric(rolls) for metric in METRICS]
    overall = symbolic.overall(rolls)
    monkeypatch.setattr(symbolic_events, "_CELLS_PER_BLOCK", 1)
    assert len(list(symbolic_events.events(padded))) == 3
    for metric, values in zip(METRICS, expected, strict=True):
        torch.testing.assert_close(metric(padded), values, equal_nan=True)
    torch.testing.assert_close(symbolic.overall(padded), overall, equal_nan=True)


def test_events_have_the_notes_of_a_roll(random_rolls: Make) -> None:
    """Also those that begin without an onset flag, and no note goes on from one track into the next."""
    rolls = random_rolls(2)
    onset = rolls.onset & (torch.rand(rolls.onset.shape, generator=torch.Generator().manual_seed(0)) < 0.5)
    rolls.velocity[:, :, [0, -1], 50] = 0.5
    rolls = replace(rolls, onset=onset)
    (found,), notes = list(symbolic_events.events(rolls)), notes_of(rolls)
    assert torch.equal(found.note_row, notes.roll * 3 + notes.track)
    for mine, theirs in [(found.note_pitch, notes.pitch), (found.start, notes.start), (found.duration, notes.duration)]:
        assert torch.equal(mine, theirs)


def test_describe_names_tracks_and_leaves_out_what_is_undefined(make_rolls: Make) -> None:
    rows = [(0, 0, 0, 4, 38), (0, 1, 0, 16, 60), (0, 2, 0, 8, 48), (1, 1, 0, 1, 60)]
    found = symbolic.describe(make_rolls(rows, "drums piano bass", rolls=2))
    assert found["EB[bass]"] == 0.5
    assert found["UPC[bass]"] == 1.0  # of the one roll that has a bass
    assert found["QN[piano]"] == 0.5
    assert found["DP"] == 1.0
    assert found["TD[bass-piano]"] == 0.0
    assert found["notes a bar[piano]"] == 1.0
    assert found["scale consistency"] == 1.0
    assert not {"UPC[drums]", "QN[drums]", "TD[bass-drums]"} & set(found)
    assert all(isinstance(value, float) for value in found.values())
    nameless = symbolic.describe(replace(make_rolls([(0, 0, 0, 4, 60)]), tracks=()))
    assert "DP" not in nameless
    assert nameless["EB[track 0]"] == 0.0
    assert math.isnan(symbolic.describe(make_rolls([]))["QN[piano]"])


def as_muspy(rolls: Rolls) -> list[Any]:
    import muspy

    notes = notes_of(rolls)
    musics = []
    for roll in range(len(rolls)):
        tracks = [muspy.Track(program % DRUMS, program == DRUMS) for program in rolls.programs]
        mine = notes[notes.roll == roll]
        for track, start, pitch, duration in zip(
            *(column.tolist() for column in (mine.track, mine.start, mine.pitch, mine.duration)), strict=True
        ):
            tracks[track].notes.append(muspy.Note(start, pitch, duration, 64))
        musics.append(muspy.Music(resolution=rolls.steps_per_beat, tracks=tracks))
    return musics


def by_muspy(rolls: Rolls) -> dict[str, torch.Tensor]:
    import muspy

    bar = rolls.steps_per_beat * rolls.beats_per_bar
    functions = {
        "pitch range": muspy.pitch_range,
        "pitches used": muspy.n_pitches_used,
        "pitch classes used": muspy.n_pitch_classes_used,
        "pitch entropy": muspy.pitch_entropy,
        "pitch class entropy": muspy.pitch_class_entropy,
        "scale consistency": muspy.scale_consistency,
        "polyphony": muspy.polyphony,
        "empty beat rate": muspy.empty_beat_rate,
        "empty bar rate": lambda music: muspy.empty_measure_rate(music, bar),
        "groove consistency": lambda music: muspy.groove_consistency(music, bar),
        "drum pattern": lambda music: muspy.drum_in_pattern_rate(music, "duple"),
        "polyphony rate": muspy.polyphony_rate,
    }
    musics = as_muspy(rolls)
    return {
        name: torch.tensor([float(of(music)) for music in musics], dtype=torch.float64)
        for name, of in functions.items()
    }


def ending_with_the_music(rolls: Rolls) -> Rolls:
    """muspy's pieces end with their last note."""
    notes = notes_of(rolls)
    ends = [int(notes[notes.roll == roll].end.max()) for roll in range(len(rolls))]
    return replace(rolls, lengths=torch.tensor(ends))


@pytest.mark.parametrize("steps_per_beat", [12, 16])
def test_muspy_finds_the_same_in_random_music(random_rolls: Make, steps_per_beat: int) -> None:
    """No note ends on a bar line here; beats are compared where none ends on a beat either."""
    rolls = ending_with_the_music(random_rolls(5, rolls=4, steps_per_beat=steps_per_beat))
    notes = notes_of(rolls)
    for roll, track, end, pitch in zip(
        *(column.tolist() for column in (notes.roll, notes.track, notes.end, notes.pitch)), strict=True
    ):
        if end % steps_per_beat == 0:  # cut off its last step; a note of one step moves to the step before
            rolls.velocity[roll, track, end - 1, pitch] = 0
            rolls.onset[roll, track, end - 1, pitch] = False
    rolls = ending_with_the_music(rolls)
    expected, found = by_muspy(rolls), symbolic.overall(rolls)
    found["drum pattern"] = symbolic.drum_pattern(rolls)[:, 0]
    expected.pop("polyphony rate")
    found.pop("polyphony rate")  # muspy's threshold is another one: below
    assert set(found) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, msg=partial("{}: {}".format, name))


def test_muspy_means_something_else_here(make_rolls: Make) -> None:
    """Named differences: more than 2 pitches for "2", a note that ends on the next beat's line, a last bar too many."""
    import muspy

    three = make_rolls([(0, 0, 0, 8, 60), (0, 0, 0, 8, 64), (0, 0, 0, 4, 67), (0, 0, 12, 4, 60)])
    (music,) = as_muspy(three)
    assert muspy.polyphony_rate(music, 2) == 4 / 16 == float(symbolic.polyphony_rate(three, least=3))
    assert float(symbolic.polyphony_rate(three)) == 8 / 16
    assert muspy.empty_beat_rate(music) == 0.0
    assert float(symbolic.empty_beat_rate(three)) == 1 / 4
    assert muspy.groove_consistency(music, 16) == 1 - 2 / 16
    assert math.isnan(float(symbolic.groove_consistency(three)))


@pytest.mark.parametrize("song", ["001", "004", "123"])
def test_muspy_finds_the_same_in_real_songs(bench_data: Path, song: str) -> None:
    import muspy

    file = bench_data / "pop909" / f"{song}.mid"
    if not file.is_file():
        pytest.skip(f"no real data: {file} is no file; set BENCH_DATA to a folder that holds pop909/")
    rolls = ending_with_the_music(read_midi(file))
    found, expected, read = symbolic.overall(rolls), by_muspy(rolls), muspy.read_midi(file)
    for name in tuple(expected)[:7]:
        torch.testing.assert_close(found[name], expected[name], msg=partial("{}: {}".format, name))
    assert float(found["pitch range"]) == muspy.pitch_range(read)
    assert float(found["pitches used"]) == muspy.n_pitches_used(read)
    assert float(found["pitch classes used"]) == muspy.n_pitch_classes_used(read)
    # The grid of sixteenths makes one note of two of the same pitch that begin in the same step.
    assert float(found["pitch entropy"]) == pytest.approx(muspy.pitch_entropy(read), abs=0.02)
    assert float(found["pitch class entropy"]) == pytest.approx(muspy.pitch_class_entropy(read), abs=0.02)
    assert float(found["scale consistency"]) == pytest.approx(muspy.scale_consistency(read), abs=0.01)
