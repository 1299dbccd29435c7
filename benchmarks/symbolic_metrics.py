"""Speed of the symbolic metrics: processor-seconds for all of POP909 in `$BENCH_DATA`, beside muspy's for the same.

    BENCH_DATA=../shared/data python benchmarks/symbolic_metrics.py

The metrics that both have (`bench.metrics.symbolic.overall`), on the same notes: rolls of 4 steps a beat here, muspy's
`Music` objects there, once at the same 4 steps and once at the files' own 480, as `muspy.read_midi` has them. Reading
the files and making rolls and objects is not counted. Songs differ in length, so they are sorted by it and padded 20
at a time, which also bounds the memory. One thread.

At 4 steps a beat muspy gets lists of notes, and most of our time goes into finding the same notes among the cells of
the rolls, 300 times as many; the line without it says what the metrics themselves cost. Expected: more than 5 times as
fast as muspy at 4 steps a beat, and more than 30 times at 480 (6.6 and 39 measured; without finding the notes 18 and
104).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import muspy
import torch

from bench.api import Rolls
from bench.metrics import symbolic
from bench.metrics.symbolic_events import events
from bench.notes.rolls import DRUMS, Notes, grid, notes_of, read_midi

AT_ONCE = 20
STEPS, BEATS = 4, 4  # steps a beat, beats a bar
TICKS = 480  # a beat, in the files
MUSPY = {
    "pitch range": muspy.pitch_range,
    "pitches used": muspy.n_pitches_used,
    "pitch classes used": muspy.n_pitch_classes_used,
    "pitch entropy": muspy.pitch_entropy,
    "pitch class entropy": muspy.pitch_class_entropy,
    "scale consistency": muspy.scale_consistency,
    "polyphony": muspy.polyphony,
    "polyphony rate": muspy.polyphony_rate,
    "empty beat rate": muspy.empty_beat_rate,
    "empty bar rate": lambda music: muspy.empty_measure_rate(music, music.resolution * BEATS),
    "groove consistency": lambda music: muspy.groove_consistency(music, music.resolution * BEATS),
}
# Where the definitions are the same; the differences of the others stand in `bench.metrics.symbolic_tracks`.
SAME = tuple(MUSPY)[:7]


def padded(songs: list[Rolls]) -> Rolls:
    """Songs of the same tracks as one set."""
    length = max(int(song.lengths[0]) for song in songs)
    notes_by_song = [notes_of(song) for song in songs]
    columns = {
        name: torch.cat([getattr(notes, name) for notes in notes_by_song]) for name in Notes.__dataclass_fields__
    }
    columns["roll"] = torch.repeat_interleave(
        torch.arange(len(songs)), torch.tensor([len(notes) for notes in notes_by_song])
    )
    velocity, onset = grid(Notes(**columns), len(songs), len(songs[0].programs), length)
    ids = tuple(song.ids[0] for song in songs)
    lengths, tempo = torch.cat([song.lengths for song in songs]), torch.cat([song.tempo for song in songs])
    return Rolls(velocity, onset, songs[0].programs, ids, ids, lengths, tempo, STEPS, BEATS)


def objects(rolls: Rolls, finer: int = 1) -> list[Any]:
    """The same songs for muspy, on a grid that many times as fine."""
    notes = notes_of(rolls)
    tracks = [[muspy.Track(program % DRUMS, program == DRUMS) for program in rolls.programs] for _ in rolls.ids]
    rows = torch.stack([notes.roll, notes.track, notes.start, notes.pitch, notes.duration], 1).tolist()
    for roll, track, start, pitch, duration in rows:
        tracks[roll][track].notes.append(muspy.Note(start * finer, pitch, duration * finer, 64))
    return [muspy.Music(resolution=STEPS * finer, tracks=each) for each in tracks]


def blocks_of(rolls: Rolls) -> list[Any]:
    """Find the notes among the cells."""
    return list(events(rolls))


def values_of(metric: Callable[[Any], float], musics: Sequence[Any]) -> list[float]:
    """A metric of every song."""
    return [float(metric(music)) for music in musics]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor-seconds and the result."""
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def main() -> None:
    torch.set_num_threads(1)
    files = sorted((Path(os.environ["BENCH_DATA"]) / "pop909").glob("*.mid"))
    songs = sorted((read_midi(file, STEPS) for file in files), key=lambda song: int(song.lengths[0]))
    same, fine = dict.fromkeys(MUSPY, 0.0), dict.fromkeys(MUSPY, 0.0)
    ours = dict.fromkeys(("all", "finding", "describe"), 0.0)
    cells = notes = 0
    for start in range(0, len(songs), AT_ONCE):
        rolls = padded(songs[start : start + AT_ONCE])
        seconds, metrics = timed(partial(symbolic.overall, rolls))
        ours["all"] += seconds
        seconds, blocks = timed(partial(blocks_of, rolls))
        ours["finding"] += seconds
        ours["describe"] += timed(partial(symbolic.describe, rolls))[0]
        cells, notes = cells + rolls.velocity.numel(), notes + sum(len(block.start) for block in blocks)
        for grid_of, finer in ((same, 1), (fine, TICKS // STEPS)):
            musics = objects(rolls, finer)
            for name, metric in MUSPY.items():
                seconds, values = timed(partial(values_of, metric, musics))
                grid_of[name] += seconds
                if name in SAME:
                    torch.testing.assert_close(metrics[name], torch.tensor(values, dtype=torch.float64))
    print(
        f"{len(files)} songs, {notes} notes, {cells / 1e6:.0f} million cells, {len(MUSPY)} metrics, processor-seconds"
    )
    print(f"  {'muspy, at steps a beat':32}{STEPS:>8}{TICKS:>8}")
    for name in MUSPY:
        print(f"    {name:30}{same[name]:8.2f}{fine[name]:8.2f}")
    totals = sum(same.values()), sum(fine.values())
    print(f"    {'all':30}{totals[0]:8.2f}{totals[1]:8.2f}")
    for name, seconds in (("bench, all", ours["all"]), ("  without finding the notes", ours["all"] - ours["finding"])):
        print(f"  {name:32}{seconds:8.2f}   {totals[0] / seconds:.1f} and {totals[1] / seconds:.0f} times as fast")
    print(f"  {'bench, describe':32}{ours['describe']:8.2f}   (those and the metrics of MuseGAN, by track)")
    print(f"largest memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
