"""Speed of reading MIDI files: processor-seconds for all of POP909 in `$BENCH_DATA`, beside two other readers.

    BENCH_DATA=../shared/data python benchmarks/read_midi.py

`read_midi` makes a piano roll of every song at 4 steps a beat; pretty_midi and muspy make their objects of every tenth.
One thread. Beside them stands what mido alone takes to parse the same files. Expected: pretty_midi and muspy take more
than 3 times as long as `read_midi` (3.7 and 3.4 measured), mido more than 2 times (2.7).
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mido
import muspy
import pretty_midi
import torch

from bench.notes.rolls import read_midi

EVERY = 10


def cpu_seconds(read: Callable[[Path], Any], files: Sequence[Path]) -> float:
    """Processor-seconds of reading some files."""
    begin = time.process_time()
    for file in files:
        read(file)
    return time.process_time() - begin


def main() -> None:
    torch.set_num_threads(1)
    files = sorted((Path(os.environ["BENCH_DATA"]) / "pop909").glob("*.mid"))
    some = files[::EVERY]
    read_midi(files[0])  # imports and first allocations
    ours = cpu_seconds(read_midi, files)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(files)} songs, processor-seconds")
    print(f"  bench, read_midi, all songs      {ours:6.2f}   ({1000 * ours / len(files):.0f} ms a song)")
    print(f"largest memory of the process {peak:.2f} GiB")
    base = cpu_seconds(read_midi, some)
    print(f"every {EVERY}th song ({len(some)})")
    print(f"  bench, read_midi                 {base:6.2f}")
    readers: dict[str, Callable[[Path], Any]] = {
        "mido, parsing alone": lambda file: mido.MidiFile(str(file), clip=True),
        "pretty_midi": lambda file: pretty_midi.PrettyMIDI(str(file)),
        "muspy": muspy.read_midi,
    }
    for name, read in readers.items():
        seconds = cpu_seconds(read, some)
        print(f"  {name:32} {seconds:6.2f}   {seconds / base:.1f} times ours")


if __name__ == "__main__":
    main()
