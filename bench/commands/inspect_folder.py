"""`bench inspect` of a folder: what its files are by themselves, and what they are beside the others.

A file is read once and leaves a few kilobytes: figures, a fingerprint, and its part in the sums of its class.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from bench.api import Rolls
from bench.commands.inspect_comparison import Copies, File, Finding, Marks, mislabelled, outliers
from bench.commands.inspect_sound import SoundFacts, former, measure
from bench.errors import DataError
from bench.files import printable
from bench.metrics.stealth_features import roll_features
from bench.notes.midi import MIDI_SUFFIXES
from bench.notes.rolls import notes_of, read_midi
from bench.sound.files import AUDIO_SUFFIXES

_ROLL_SLOTS = 32


def listed(folder: Path) -> list[str]:
    """List the sound and MIDI files below a folder; hidden files and links are left out.

    Args:
        folder: The folder.

    Returns:
        Paths relative to it, with slashes, in order.

    Raises:
        DataError: It is no folder, must not be read, or has no such file.
    """
    if not folder.is_dir():
        raise DataError(f"no folder '{printable(folder)}', expected a folder with sound or MIDI files")

    def refuse(error: OSError) -> None:
        raise DataError(f"{printable(error.filename)}: {(error.strerror or str(error)).lower()}") from error

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            suffix = path.suffix.lower()
            if not name.startswith(".") and suffix in (*AUDIO_SUFFIXES, *MIDI_SUFFIXES) and not path.is_symlink():
                found.append(path.relative_to(folder).as_posix())
    if not found:
        endings = " ".join((*AUDIO_SUFFIXES, *MIDI_SUFFIXES))
        raise DataError(f"'{printable(folder)}' has no sound or MIDI file ({endings})")
    return sorted(found)


def inspect(
    folder: Path, names: Sequence[str], progress: Callable[[str], None] = lambda name: None
) -> tuple[list[File], list[Finding]]:
    """Inspect files of a folder.

    Args:
        folder: The folder.
        names: Paths relative to it, as `listed` gives them.
        progress: Called with the name of each file before it is read.

    Returns:
        The files, in order, and the findings, in the order of the files they are about.
    """
    entries: list[File] = []
    findings: list[Finding] = []
    marks = Marks()
    copies = Copies()
    originals: list[File] = []
    for name in names:
        progress(name)
        label = PurePosixPath(name).parts[0] if "/" in name else ""
        midi = PurePosixPath(name).suffix.lower() in MIDI_SUFFIXES
        entry = File(name, "midi" if midi else "sound", label)
        entries.append(entry)
        phases = None
        try:
            if midi:
                _read_notes(folder / name, entry)
            else:
                facts = measure(folder / name)
                phases = facts.phases
                findings += _alone(entry, facts)
        except DataError as error:
            findings.append(Finding(name, "unreadable", math.nan, _short(str(error), folder, name)))
            continue
        copy, entry.fingerprint = copies.finding(entry), None
        if copy is not None:
            findings.append(copy)
            continue
        originals.append(entry)
        if phases is not None:
            marks.add(label, entry.rate, phases)
    readable = [entry for entry in entries if entry.digest]
    findings += [*outliers(originals), *marks.findings(), *mislabelled(readable)]
    place = {name: number for number, name in enumerate(names)}
    findings.sort(key=lambda found: place.get(found.file, -1))
    return entries, findings


def _alone(entry: File, facts: SoundFacts) -> Iterator[Finding]:
    """Take the figures of a sound, and yield what it says by itself."""
    entry.seconds, entry.rate = facts.seconds, facts.rate
    entry.digest, entry.fingerprint = facts.digest, facts.fingerprint
    entry.scores = {"peak": facts.peak, "clipped_share": facts.clipped, "clipped_runs": float(facts.runs)}
    entry.scores |= {"cut_hz": facts.cut_hz, **facts.features}
    if facts.silent:
        yield Finding(entry.name, "silent", facts.peak, f"peak {facts.peak:.1e} of full scale")
        return
    if facts.runs:
        runs = f"{facts.runs} run{'s' if facts.runs > 1 else ''} of equal samples at full scale"
        yield Finding(entry.name, "clipped", facts.clipped, f"{runs}, {100 * facts.clipped:.2g} % of all samples")
    if (origin := former(facts)) is not None:
        yield Finding(entry.name, origin[0], facts.cut_hz, origin[1])


def _read_notes(path: Path, entry: File) -> None:
    """Read a MIDI file and take its figures."""
    rolls: Rolls = read_midi(path)
    notes = notes_of(rolls)
    columns = torch.stack([notes.track, notes.start, notes.duration, notes.pitch, (127 * notes.velocity).round()], 1)
    head = f"{rolls.programs} {float(rolls.tempo[0]):.3f} ".encode()
    entry.digest = hashlib.sha256(head + columns.long().numpy().tobytes()).hexdigest()
    entry.seconds = rolls.seconds
    entry.scores = {name: float(value) for name, value in roll_features(rolls).items()}
    cells = torch.zeros(_ROLL_SLOTS, 128)
    slot = (notes.start * _ROLL_SLOTS // max(1, int(rolls.lengths[0]))).clamp(max=_ROLL_SLOTS - 1)
    cells.view(-1).index_add_(0, slot * 128 + notes.pitch, notes.duration.float())
    entry.fingerprint = (cells.flatten() / cells.max().clamp_min(1)).half()


def _short(message: str, folder: Path, name: str) -> str:
    """Return an error's line without the path, which stands beside it."""
    for shown in (printable(folder / name), printable(Path(name))):
        message = message.replace(f"'{shown}'", "it").replace(shown, "it")
    return message.removeprefix("it: ").removeprefix("it ")


def totals(entries: Sequence[File], findings: Sequence[Finding]) -> dict[str, Any]:
    """Count files and findings.

    Args:
        entries: The files.
        findings: The findings.

    Returns:
        `files`, `sounds`, `midi`, `seconds`, `clean` (files without a finding on them, their class or the folder) and
        `findings` by name.
    """
    found = {finding.file for finding in findings}
    return {
        "files": len(entries),
        "sounds": sum(entry.kind == "sound" for entry in entries),
        "midi": sum(entry.kind == "midi" for entry in entries),
        "seconds": sum(entry.seconds for entry in entries),
        "clean": sum(not found & {entry.name, f"{entry.label}/", "."} for entry in entries),
        "findings": {
            name: sum(finding.finding == name for finding in findings)
            for name in dict.fromkeys(finding.finding for finding in findings)
        },
    }
