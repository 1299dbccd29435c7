"""`bench protect` of MIDI files: what the defense left alone stays, and other parsers read the same notes."""

from __future__ import annotations

import functools
import os
from collections import Counter
from pathlib import Path
from typing import Any

import mido
import pytest
import torch

from bench.commands import main, protect_midi
from bench.notes.midi import DRUMS, Score, read_score

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
SONGS = ("001", "048", "099", "150", "207", "292")
MODES = ("velocity", "hold", "ghost")
NAMES = ("softer", "ghosts", "scribbles")


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as left:
        main(["protect", *map(str, words)])
    assert isinstance(left.value.code, int)
    return left.value.code


def plugin(name: str) -> list[object]:
    return ["--defense", PLUGINS / f"{name}.py", "--attacker", "none"]


def cloak(mode: str) -> list[object]:
    words = ["--defense", "harmonycloak", "--attacker", "none"]
    return [*words, "--set", "harmonycloak.optimise=false", "--set", f"harmonycloak.mode={mode}"]


def facts(score: Score) -> list[tuple[int, ...]]:
    """(track, channel, program, pitch, begin, end, velocity) of every note."""
    rows = score.notes[:, :5].tolist()
    return sorted((*score.parts[part], pitch, begin, end, velocity) for part, begin, end, pitch, velocity in rows)


def others(file: Any) -> list[list[tuple[int, Any]]]:
    """Of every track the messages that are no note's, with their ticks; a track may end later, the file may not."""
    tracks = []
    for messages in file.tracks:
        now, found = 0, []
        for message in messages:
            now += message.time
            if message.type not in ("note_on", "note_off", "end_of_track"):
                found.append((now, message.copy(time=0)))
        tracks.append(found)
    return [*tracks, [(max(sum(message.time for message in track) for track in file.tracks), "end")]]


def disputed(path: Path) -> set[tuple[bool, int, int]]:
    """Notes (drums, pitch, begin) that bench reads otherwise than muspy, to the tick, or pretty_midi, to a millisecond.

    They are overlaps of one pitch on one channel, about which parsers disagree.
    """
    import muspy
    import pretty_midi

    score = read_score(path)
    ours = Counter(
        (program == DRUMS, program % DRUMS, pitch, begin, end, velocity)
        for _, _, program, pitch, begin, end, velocity in facts(score)
    )
    music = muspy.read_midi(path)
    assert music.resolution == score.ticks_per_beat
    theirs = Counter(
        (track.is_drum, track.program, note.pitch, note.time, note.end, note.velocity)
        for track in music.tracks
        for note in track.notes
    )
    midi = pretty_midi.PrettyMIDI(str(path))
    timed = sorted(
        (instrument.is_drum, instrument.program, note.pitch, midi.time_to_tick(note.start), round(note.end, 3))
        for instrument in midi.instruments
        for note in instrument.notes
    )
    expected = sorted(
        (drums, program, pitch, begin, round(midi.tick_to_time(end), 3))
        for drums, program, pitch, begin, end, _ in ours.elements()
    )
    odd: list[tuple[Any, ...]] = [*(ours - theirs), *(theirs - ours)]
    if len(timed) == len(expected):
        pairs = zip(timed, expected, strict=True)
        odd += [two for one, two in pairs if one[:4] != two[:4] or abs(one[4] - two[4]) > 1.5e-3]
    else:
        odd += [*(Counter(timed) - Counter(expected)).elements(), *(Counter(expected) - Counter(timed)).elements()]
    return {(drums, pitch, begin) for drums, _, pitch, begin, *_ in odd}


# A source is read by all parsers once, however many protected files are compared with it.
disputed_in_source = functools.cache(disputed)


def readers_agree(path: Path, source: Path) -> None:
    """Other parsers find our notes, but for notes of the source that they dispute there as well."""
    assert disputed(path) <= disputed_in_source(source)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("song", SONGS)
def test_other_parsers_read_the_same_notes(bench_data: Path, tmp_path: Path, song: str, name: str) -> None:
    out = tmp_path / "out.mid"
    source = bench_data / "pop909" / f"{song}.mid"
    assert run(source, "-o", out, *plugin(name)) == 0
    assert others(mido.MidiFile(out)) == others(mido.MidiFile(source))
    assert facts(read_score(out)) != facts(read_score(source))
    readers_agree(out, source)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_harmonycloak_is_exported(bench_data: Path, tmp_path: Path, mode: str) -> None:
    source, out = bench_data / "pop909" / "099.mid", tmp_path / "out.mid"
    assert run(source, "-o", out, *cloak(mode)) == 0
    assert facts(read_score(out)) != facts(read_score(source))
    assert others(mido.MidiFile(out)) == others(mido.MidiFile(source))
    readers_agree(out, source)
    if mode == "velocity":
        assert [fact[:6] for fact in facts(read_score(out))] == [fact[:6] for fact in facts(read_score(source))]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_song_is_exported_in_every_mode(bench_data: Path, tmp_path: Path, mode: str) -> None:
    songs = sorted((bench_data / "pop909").glob("*.mid"))
    assert len(songs) == 300
    for source in songs:
        out = tmp_path / source.name
        assert run(source, "-o", out, *cloak(mode)) == 0
        assert others(mido.MidiFile(out)) == others(mido.MidiFile(source))
        readers_agree(out, source)
        if mode == "velocity":
            assert [fact[:6] for fact in facts(read_score(out))] == [fact[:6] for fact in facts(read_score(source))]


@pytest.mark.parametrize("song", SONGS[:2])
def test_velocities_alone_move_nothing(bench_data: Path, tmp_path: Path, song: str) -> None:
    source, out = bench_data / "pop909" / f"{song}.mid", tmp_path / "out.mid"
    assert run(source, "-o", out, *plugin("softer")) == 0
    before, after = facts(read_score(source)), facts(read_score(out))
    assert [fact[:6] for fact in after] == [fact[:6] for fact in before]
    # A note that shares its cell with a longer one is not in the rolls.
    unseen = [one for one, other in zip(before, after, strict=True) if other[6] != max(1, round(0.8 * one[6]))]
    assert len(unseen) < 0.03 * len(before)
    assert all(one in after for one in unseen)


def test_figures_are_those_of_the_file(bench_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = bench_data / "pop909" / "001.mid", tmp_path / "out.mid"
    assert run(source, "-o", out, *plugin("softer")) == 0
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines() if len(line.split()) == 2)
    before, after = (torch.tensor([fact[6] for fact in facts(read_score(path))]) for path in (source, out))
    assert float(lines["velocity_change"]) == pytest.approx(float((before - after).float().mean()), rel=0.05)
    assert float(lines["notes_added"]) == float(lines["notes_removed"]) == float(lines["sounding_change"]) == 0
    assert float(lines["velocity_gain_db"]) == pytest.approx(-3.87, abs=0.1)  # 40 log10 0.8


def everything(path: Path, kind: int = 1) -> Path:
    """A file with what files hold: tempi, metre, lyrics, controllers, bends, system exclusive, release velocities."""
    file = mido.MidiFile(type=kind, ticks_per_beat=96)
    conductor = mido.MidiTrack(
        [
            mido.MetaMessage("time_signature", numerator=3, denominator=4),
            mido.MetaMessage("set_tempo", tempo=400_000),
            mido.MetaMessage("key_signature", key="Am", time=10),
            mido.MetaMessage("set_tempo", tempo=700_000, time=333),
            mido.MetaMessage("marker", text="refrain\xe9", time=1),
            mido.Message("sysex", data=(1, 2, 3), time=5),
            mido.UnknownMetaMessage(0x60, data=(9, 8)),  # at no time of its own: mido, and so muspy, loses that
        ]
    )
    song = mido.MidiTrack([mido.MetaMessage("track_name", name="vo\xefx"), mido.Message("program_change", program=52)])
    for number in range(40):
        song.append(mido.MetaMessage("lyrics", text=f"la{number}", time=3))
        song.append(mido.Message("note_on", note=60 + number % 5, velocity=40 + number, time=number % 7))
        song.append(mido.Message("control_change", control=64, value=number, time=20))
        song.append(mido.Message("pitchwheel", pitch=100 * number, time=40 + 5 * number))
        song.append(mido.Message("note_off", note=60 + number % 5, velocity=number, time=30))
        song.append(mido.Message("aftertouch", value=number))
        song.append(mido.Message("note_on", note=36, velocity=90, channel=9))
        song.append(mido.Message("note_on", note=36, velocity=0, channel=9, time=11))
    if kind == 0:
        file.tracks.append(mido.MidiTrack([*conductor, *song]))
    else:
        file.tracks += [conductor, song]
    file.save(path)
    return path


@pytest.mark.parametrize("kind", [0, 1])
def test_everything_else_in_the_file_stays(tmp_path: Path, kind: int) -> None:
    source = everything(tmp_path / "in.mid", kind)
    for name in NAMES:
        assert run(source, "-o", tmp_path / f"{name}.mid", *plugin(name)) == 0
        one, other = mido.MidiFile(source), mido.MidiFile(tmp_path / f"{name}.mid")
        assert (one.type, one.ticks_per_beat) == (other.type, other.ticks_per_beat)
        assert others(one) == others(other)
        readers_agree(tmp_path / f"{name}.mid", source)
    softer = mido.MidiFile(tmp_path / "softer.mid")
    ends = [message for track in softer.tracks for message in track if message.type == "note_off"]
    assert [message.velocity for message in ends] == list(range(40))  # of the releases


def test_without_a_change_every_message_stays_in_its_place(tmp_path: Path) -> None:
    source = everything(tmp_path / "in.mid")
    assert run(source, "-o", tmp_path / "out.midi", *plugin("softer"), "--set", "softer.factor=1.0") == 0
    assert (tmp_path / "out.midi").read_bytes() == source.read_bytes()


def test_a_long_file_is_protected_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = everything(tmp_path / "in.mid")
    assert run(source, "-o", tmp_path / "whole.mid", *plugin("softer")) == 0
    monkeypatch.setattr(protect_midi, "ROOM", 1)
    monkeypatch.setattr(protect_midi, "PIECE_BARS", 1)
    assert run(source, "-o", tmp_path / "parts.mid", *plugin("softer")) == 0
    assert (tmp_path / "parts.mid").read_bytes() == (tmp_path / "whole.mid").read_bytes()


def silence(path: Path) -> None:
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack([mido.Message("program_change", program=5, time=480)]))
    file.save(path)


def coarse(path: Path) -> None:
    file = mido.MidiFile(ticks_per_beat=3)
    file.tracks.append(mido.MidiTrack([mido.Message("note_on", note=60), mido.Message("note_off", note=60, time=9)]))
    file.save(path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no file"),
        (lambda path: path.write_bytes(b""), "not a MIDI file"),
        (lambda path: path.write_text("this is no music"), "not a MIDI file"),
        (silence, "no notes"),
        (coarse, "3 ticks a beat, expected at least 4"),
    ],
    ids=["missing", "empty", "text", "silent", "coarse"],
)
def test_a_bad_file_is_one_line_code_2_and_nothing_written(
    make: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.mid"
    make(source)
    before = sorted(tmp_path.iterdir())
    assert run(source, "-o", tmp_path / "out.mid", *plugin("softer")) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_what_does_not_fit_a_midi_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = everything(tmp_path / "in.mid"), tmp_path / "out.mid"
    out.write_text("mine")
    audio = ["--defense", PLUGINS / "hiss.py", "--attacker", "none"]
    attacker = ["--defense", PLUGINS / "softer.py", "--attacker", "m5"]
    silent = [*plugin("scribbles"), "--set", "scribbles.share=1.0"]
    for words, said in (
        ([source, "-o", out, *plugin("softer")], "exists"),
        ([source, "-o", source, "--force", *plugin("softer")], "is the source itself"),
        ([source, "-o", tmp_path / "out.wav", *plugin("softer")], "cannot write '.wav' files"),
        ([source, "-o", tmp_path / "new.mid", *audio], "is for audio, the file is midi"),
        ([source, "-o", tmp_path / "new.mid", *attacker], "attacker 'm5' is for audio, the file is midi"),
        ([source, "-o", tmp_path / "new.mid", *silent], "leaves none of its"),
    ):
        assert run(*words) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mid", "out.mid"]
    assert run(source, "-o", out, "--force", *plugin("softer")) == 0


def test_other_endings_of_midi_files_are_midi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = everything(tmp_path / "in.mid").read_bytes()
    wrapped = b"RIFF" + (len(plain) + 12).to_bytes(4, "little") + b"RMIDdata" + len(plain).to_bytes(4, "little") + plain
    for suffix, data in ((".KAR", plain), (".smf", plain), (".rmi", wrapped), (".mid", wrapped)):
        source, out = tmp_path / f"source{suffix}", tmp_path / f"out{suffix}"
        source.write_bytes(data)
        assert run(source, "-o", out, "--defense", "clean", "--attacker", "none", "--force") == 0
        assert out.read_bytes() == data
    capsys.readouterr()
    for given, name, said in (
        ("source.rmi", "new.kar", "is RIFF MIDI (.rmi), expected a name that ends in .rmi"),
        ("source.smf", "new.rmi", "is a plain MIDI file, expected a name that ends in .mid"),
        ("source.smf", "new.wav", "cannot write '.wav' files"),
    ):
        assert run(tmp_path / given, "-o", tmp_path / name, *plugin("softer")) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / name).exists()


def test_names_that_are_not_utf8_and_places_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / os.fsdecode(b"s\xff.mid")
    everything(tmp_path / "in.mid").rename(odd)
    assert run(odd, "-o", tmp_path / os.fsdecode(b"o\xff.mid"), *cloak("velocity")) == 0
    assert r"o\xff.mid: " in capsys.readouterr().out
    odd.write_bytes(b"no music")
    for source, out, said in (
        (odd, tmp_path / "new.mid", r"s\xff.mid: not a MIDI file"),
        (tmp_path, tmp_path / "new.mid", "is a folder, expected a file"),
        (odd, "/proc/new.mid", "/proc"),
        (odd, tmp_path / "no" / "new.mid", "does not exist"),
        (odd, tmp_path / ("n" * 300 + ".mid"), "name of 304 bytes"),
    ):
        assert run(source, "-o", out, *plugin("softer")) == 2
        err = capsys.readouterr().err
        assert said in err
        assert len(err.strip().splitlines()) == 1
