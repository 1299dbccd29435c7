"""What a defense changed in the rolls, carried back to notes in ticks: each rule on a file of a few notes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mido
import pytest
import torch

from bench.api import Rolls
from bench.errors import DataError
from bench.notes.midi import read_score
from bench.notes.midi_edits import Frame, transfer_edits
from bench.notes.midi_writing import check_written, write_notes

STEP = 120  # ticks; 480 a beat, 4 steps a beat
Row = tuple[int, int, int, int]  # begin, end, pitch, velocity


def track(*events: tuple[int, mido.Message]) -> mido.MidiTrack:
    """Messages at ticks; of one tick in the order given."""
    messages, now = mido.MidiTrack(), 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        messages.append(message.copy(time=tick - now))
        now = tick
    return messages


def on(pitch: int = 60, velocity: int = 80, channel: int = 0) -> mido.Message:
    return mido.Message("note_on", note=pitch, velocity=velocity, channel=channel)


def off(pitch: int = 60, channel: int = 0, velocity: int = 64) -> mido.Message:
    return mido.Message("note_off", note=pitch, channel=channel, velocity=velocity)


def written(path: Path, *tracks: mido.MidiTrack, end: int = 16 * STEP) -> Frame:
    """A file of four beats (two bars of two), which are pieces of one bar each."""
    file = mido.MidiFile(ticks_per_beat=480)
    metre = mido.MetaMessage("time_signature", numerator=2, denominator=4)
    file.tracks += [track((0, metre), (end, mido.MetaMessage("marker", text="end"))), *tracks]
    file.save(path / "in.mid")
    return Frame(read_score(path / "in.mid"), bars=1)


def edited(frame: Frame, protected: Rolls) -> list[Row]:
    """The notes of the file that is written, as it reads."""
    notes = transfer_edits(frame, [frame.notes(protected, frame.pieces())])
    path = frame.score.path.with_name("out.mid")
    path.write_bytes(write_notes(frame.score, notes))
    again = check_written(frame.score, notes, path.read_bytes(), path)
    return sorted((begin, end, pitch, velocity) for _, begin, end, pitch, velocity, *_ in again.notes.tolist())


def rolls(frame: Frame) -> Rolls:
    return frame.rolls(frame.pieces())


def strike(protected: Rolls, step: int, velocity: int, pitch: int = 60, track: int = 0, steps: int = 1) -> None:
    """Write a note into the pieces of eight steps, in place."""
    for number, at in enumerate(range(step, step + steps)):
        protected.velocity[at // 8, track, at % 8, pitch] = velocity / 127
        protected.onset[at // 8, track, at % 8, pitch] = number == 0


@pytest.fixture
def one(tmp_path: Path) -> Frame:
    """A note that begins and ends off the grid, and one across the seam between the pieces."""
    return written(tmp_path, track((17, on()), (590, off(velocity=5)), (700, on(62, 50)), (1500, off(62)), (1920, on(1)), (1930, off(1))))  # fmt: skip  # noqa: E501


CLEAN = [(17, 590, 60, 80), (700, 1500, 62, 50), (1920, 1930, 1, 80)]


def test_what_is_not_touched_stays_at_its_tick(one: Frame) -> None:
    assert one.pieces() == [0, 1, 2]
    assert one.size == 8
    clean = rolls(one)
    assert clean.lengths.tolist() == [8, 8, 1]
    assert edited(one, clean) == CLEAN


def test_a_velocity_moves_nothing_and_says_nothing_behind_a_seam(one: Frame) -> None:
    protected = rolls(one)
    protected.velocity[0, 0, :, 60] *= 99 / 80
    protected.velocity[1, 0, :, 62] *= 2
    assert edited(one, protected) == [(17, 590, 60, 99), *CLEAN[1:]]


def test_a_ghost_splits_a_note_at_the_steps(one: Frame) -> None:
    protected = rolls(one)
    strike(protected, 2, 30)
    strike(protected, 3, 80, steps=2)
    parts = [(17, 2 * STEP, 60, 80), (2 * STEP, 3 * STEP, 60, 30), (3 * STEP, 590, 60, 80)]
    assert edited(one, protected) == [*parts, *CLEAN[1:]]
    file = mido.MidiFile(one.score.path.with_name("out.mid"))
    assert [m.velocity for m in file.tracks[1] if m.type == "note_off" and m.note == 60] == [5, 5, 5]


def test_a_ghost_before_a_seam_ends_there(one: Frame) -> None:
    protected = rolls(one)
    strike(protected, 7, 30, 62)
    parts = [(700, 7 * STEP, 62, 50), (7 * STEP, 8 * STEP, 62, 30), (8 * STEP, 1500, 62, 50)]
    assert edited(one, protected) == [CLEAN[0], *parts, CLEAN[2]]


def test_a_note_is_shortened_at_both_ends_and_resumed(one: Frame) -> None:
    protected = rolls(one)
    protected.velocity[0, 0, [0, 2], 60] = 0
    protected.onset[0, 0, 0, 60] = False
    assert edited(one, protected) == [(STEP, 2 * STEP, 60, 80), (3 * STEP, 590, 60, 80), *CLEAN[1:]]


def test_silence_behind_a_seam_ends_the_note_there(one: Frame) -> None:
    protected = rolls(one)
    protected.velocity[1] = 0
    protected.onset[1] = False
    assert edited(one, protected) == [CLEAN[0], (700, 8 * STEP, 62, 50), CLEAN[2]]


def test_silence_before_a_seam_begins_the_note_there(one: Frame) -> None:
    protected = rolls(one)
    protected.velocity[0, 0, :, 62] = 0
    protected.onset[0, 0, :, 62] = False
    assert edited(one, protected) == [CLEAN[0], (8 * STEP, 1500, 62, 50), CLEAN[2]]


def test_a_removed_note_is_gone_and_a_new_one_lies_on_the_steps(one: Frame) -> None:
    protected = rolls(one)
    protected.velocity[0, 0, :, 60] = 0
    protected.onset[0, 0, :, 60] = False
    strike(protected, 9, 45, 70, steps=3)
    assert edited(one, protected) == [CLEAN[1], (9 * STEP, 12 * STEP, 70, 45), CLEAN[2]]


def test_a_longer_note_ends_on_the_step_or_where_its_pitch_is_struck_next(tmp_path: Path) -> None:
    frame = written(tmp_path, track((0, on()), (100, off()), (3 * STEP - 50, on()), (400, off()), (900, on(62)), (930, off(62))))  # fmt: skip  # noqa: E501
    protected = rolls(frame)
    protected.velocity[0, 0, 1:3, 60] = 80 / 127  # to the next note, which begins before its step
    protected.velocity[0, 0, 4:6, 60] = 80 / 127
    assert edited(frame, protected) == [(0, 310, 60, 80), (310, 6 * STEP, 60, 80), (900, 930, 62, 80)]


def test_a_new_note_waits_for_the_end_of_its_pitch_and_ends_with_the_file(tmp_path: Path) -> None:
    frame = written(tmp_path, track((0, on()), (STEP + 50, off()), (8 * STEP, on(62)), (8 * STEP + 20, off(62))), end=1000)  # fmt: skip  # noqa: E501
    protected = rolls(frame)
    strike(protected, 1, 33, steps=2)
    strike(protected, 8, 44, pitch=70)
    assert edited(frame, protected) == [
        (0, 170, 60, 80), (170, 3 * STEP, 60, 33), (960, 980, 62, 80), (960, 1000, 70, 44),
    ]  # fmt: skip


def test_notes_that_share_a_cell_keep_what_they_were(tmp_path: Path) -> None:
    frame = written(tmp_path, track((0, on()), (20, off()), (40, on(60, 90)), (500, off()), (900, on(1)), (901, off(1))))  # fmt: skip  # noqa: E501
    protected = rolls(frame)
    protected.velocity[0, 0, :, 60] *= 0.5  # of the longer one, which is the one in the rolls
    assert edited(frame, protected)[:2] == [(0, 20, 60, 80), (40, 500, 60, 45)]


def test_two_notes_made_one_spare_what_lies_between(tmp_path: Path) -> None:
    notes = track((0, on()), (2 * STEP, off()), (2 * STEP, on(60, 99)), (4 * STEP, off()))
    frame = written(tmp_path, notes)
    protected = rolls(frame)
    protected.onset[0, 0, 2, 60] = False
    assert edited(frame, protected) == [(0, 4 * STEP, 60, 80)]


def test_another_track_on_the_channel_is_not_run_into(tmp_path: Path) -> None:
    high = track((0, on()), (100, off()), (1900, on(99)), (1901, off(99)))
    frame = written(tmp_path, high, track((3 * STEP, on(60, 7)), (5 * STEP, off())))
    protected = rolls(frame)
    protected.velocity[0, 0, 1:7, 60] = 80 / 127
    strike(protected, 7, 20, track=0)
    found = edited(frame, protected)
    assert found[:2] == [(0, 3 * STEP, 60, 80), (3 * STEP, 5 * STEP, 60, 7)]
    assert (7 * STEP, 8 * STEP, 60, 20) in found


def test_no_note_begins_under_another_program(tmp_path: Path) -> None:
    change = mido.Message("program_change", program=40)
    frame = written(tmp_path, track((0, on()), (100, off()), (4 * STEP, change), (5 * STEP, on()), (6 * STEP, off())))
    assert [part.program for part in frame.score.parts] == [0, 40]
    protected = rolls(frame)
    strike(protected, 2, 11, 70, track=0)
    strike(protected, 4, 12, 71, track=0)  # the program has changed in that tick
    strike(protected, 3, 13, 72, track=1)
    strike(protected, 4, 14, 73, track=1)
    assert {row[3] for row in edited(frame, protected)} == {80, 11, 14}


def test_overlaps_of_the_source_are_read_as_neighbours_and_stay(tmp_path: Path) -> None:
    """The strike ends what sounds, the first release ends the new note, the second one says nothing."""
    frame = written(tmp_path, track((0, on()), (240, on(60, 90)), (480, off()), (720, off()), (960, on(61))))
    assert edited(frame, rolls(frame)) == [(0, 240, 60, 80), (240, 480, 60, 90), (960, 961, 61, 80)]
    kinds = [m.type for m in mido.MidiFile(frame.score.path.with_name("out.mid")).tracks[1] if not m.is_meta]
    assert kinds == ["note_on", "note_on", "note_off", "note_off", "note_on"]


def test_notes_of_no_length_last_a_tick(tmp_path: Path) -> None:
    again = track((0, on()), (0, off()), (480, on(60, 90)), (480, off()), (480, on(60, 91)), (600, off()))
    frame = written(tmp_path, again)
    assert edited(frame, rolls(frame)) == [(0, 1, 60, 80), (480, 600, 60, 91)]


def test_a_track_without_notes_is_taken_over_and_may_gain_some(tmp_path: Path) -> None:
    silent = track((0, mido.Message("program_change", program=7, channel=3)), (5, mido.MetaMessage("lyrics", text="o")))
    frame = written(tmp_path, track((0, on()), (300, off())), silent)
    protected = rolls(frame)
    assert protected.programs == (0, 7)
    strike(protected, 3, 50, 65, track=1)
    assert edited(frame, protected) == [(0, 300, 60, 80), (3 * STEP, 4 * STEP, 65, 50)]


def test_silent_pieces_are_left_out(tmp_path: Path) -> None:
    frame = written(tmp_path, track((0, on()), (100, off()), (40 * STEP, on()), (41 * STEP, off())))
    assert frame.pieces() == [0, 5]
    clean = rolls(frame)
    assert clean.ids == ("in-00000", "in-00005")
    assert edited(frame, replace(clean, velocity=clean.velocity / 2))[1] == (40 * STEP, 41 * STEP, 60, 40)


def test_a_file_that_reads_otherwise_is_refused(one: Frame) -> None:
    notes = transfer_edits(one, [one.notes(rolls(one), one.pieces())])
    wrong = notes.clone()
    wrong[0, 4] += 1
    data, path = write_notes(one.score, notes), one.score.path
    with pytest.raises(DataError, match="3 notes were written and 3 read again"):
        check_written(one.score, wrong, data, path)
    with pytest.raises(DataError, match="track 0 of the written file has other events"):
        check_written(one.score, notes, data.replace(b"\x06\x03end", b"\x06\x03eNd"), path)
    with pytest.raises(DataError, match="chunk 4 of the written file differs"):
        check_written(one.score, notes, data + b"XFIH", path)


def test_chance_edits_of_chance_notes_are_written_and_read_back(tmp_path: Path) -> None:
    """Whatever is changed, notes of a pitch never overlap; `edited` verifies what is read against what is meant."""
    rng = torch.Generator().manual_seed(0)
    for _ in range(30):
        starts = torch.randint(0, 1900, (40,), generator=rng).tolist()
        lengths = torch.randint(0, 400, (40,), generator=rng).tolist()
        events = [[(at, on(60 + n % 3)), (at + length, off(60 + n % 3))] for n, (at, length) in enumerate(zip(starts, lengths, strict=True))]  # fmt: skip  # noqa: E501
        half = [track(*(event for pair in part for event in pair)) for part in (events[:20], events[20:])]
        frame = written(tmp_path, *half)
        clean = rolls(frame)
        velocity = clean.velocity.clone()
        chance = torch.rand(velocity[..., 60:63].shape, generator=rng)
        velocity[..., 60:63] = torch.where(chance < 0.3, 0.0, torch.where(chance > 0.7, chance, velocity[..., 60:63]))
        velocity *= clean.support
        onset = (torch.rand(velocity.shape, generator=rng) < 0.4) & (velocity > 0)
        by_pitch: dict[tuple[int, int], int] = {}
        edited(frame, replace(clean, velocity=velocity, onset=onset))
        again = read_score(tmp_path / "out.mid")
        for part, begin, end, pitch, *_ in sorted(again.notes.tolist(), key=lambda row: row[1]):
            assert begin >= by_pitch.get((part, pitch), 0)
            by_pitch[part, pitch] = end


def test_a_note_held_over_a_change_of_program_is_not_struck_again_after_it(tmp_path: Path) -> None:
    change = mido.Message("program_change", program=9)
    frame = written(
        tmp_path, track((0, on()), (3 * STEP, change), (8 * STEP, off()), (8 * STEP, on(62)), (960, off(62)))
    )
    before, after = rolls(frame), rolls(frame)
    strike(before, 1, 20)
    strike(after, 5, 20)
    last = [(8 * STEP, 8 * STEP + 1, 62, 80)]
    assert edited(frame, before) == [(0, STEP, 60, 80), (STEP, 8 * STEP, 60, 20), *last]
    assert edited(frame, after) == [(0, 8 * STEP, 60, 80), *last]


def test_a_track_of_two_programs_may_lose_all_its_notes(tmp_path: Path) -> None:
    change = mido.Message("program_change", program=9)
    other = track((0, on(40, channel=1)), (8 * STEP, off(40, channel=1)))
    frame = written(tmp_path, track((0, on()), (2 * STEP, off()), (3 * STEP, change)), other)
    protected = rolls(frame)
    protected.velocity[:, 0] = 0
    assert edited(frame, protected) == [(0, 8 * STEP, 40, 80)]
    again = read_score(tmp_path / "out.mid")
    assert set(again.parts) != set(frame.score.parts)
    seen = frame.rolls(frame.pieces(), again)
    assert torch.equal(seen.velocity, protected.velocity)
