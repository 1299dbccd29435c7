"""`bench inspect` of a folder: what its files are by themselves, and what they are beside the others.

A file is read once and leaves a few kilobytes: figures, a fingerprint, and its part in the sums of its class.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from bench.api import Rolls
from bench.commands.inspect_sound import SoundFacts, former, measure
from bench.errors import DataError
from bench.files import printable
from bench.metrics.stealth import robust_z
from bench.metrics.stealth_features import roll_features
from bench.notes.midi import MIDI_SUFFIXES
from bench.notes.rolls import notes_of, read_midi
from bench.sound.files import AUDIO_SUFFIXES

FEWEST = 8  # files of a kind among which one can be an outlier
FEWEST_OF_CLASS = 5

_OUTLIER = 6.0  # robust standard deviations
_NEAR = 0.985  # cosine of two fingerprints
_SAME_LENGTH = 0.02  # relative difference of durations of near duplicates
_AT_ONCE = 512  # rows of fingerprints compared at once
_DRAWS = 8  # random signs that tell how large a sum of independent marks is
_BROAD, _BROAD_Z = 0.15, 6.0  # excess of the mean over bins: least, and over that of random signs
_LINE = 12.0  # excess of a single bin over what the largest of all bins reaches by chance
_AGREE = 0.8  # share of the files that must lie nearest to their own class
_MARGIN = 1.35  # distance from the own class over that from the other
_ROLL_SLOTS = 32
# Feature -> (words, the least change that counts); a protection raises these.
_SOUND_SIGNS = {
    "noise_floor_db": ("noise floor", 6.0, "dB"),
    "codec_residual_db": ("change by MP3", 6.0, "dB"),
    "flatness_quiet_db": ("flatness of quiet parts", 4.0, "dB"),
    "high_band_db": ("high band", 10.0, "dB"),
}
_MIDI_SIGNS = {
    "soft_share": ("soft notes", 0.1, ""),
    "repeat_share": ("notes struck again at once", 0.15, ""),
    "single_share": ("notes of one step", 0.2, ""),
    "velocity_step": ("change of velocity from note to note", 0.08, ""),
}


@dataclass
class File:
    """A file of the folder, and what was measured.

    Attributes:
        name: Path relative to the folder, with slashes.
        kind: "sound" or "midi".
        label: The sub-folder that it lies in; "" at the top.
        seconds: Length.
        digest: Of its content as decoded; "" where it cannot be read.
        scores: Figures by name.
        fingerprint: What near duplicates share, float16 [feature].
        rate: Samples a second of a sound.
    """

    name: str
    kind: str
    label: str
    seconds: float = 0.0
    digest: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    fingerprint: Tensor | None = None
    rate: int = 0


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        file: The file's name, or "NAME/" for a class, or "." for the folder.
        finding: unreadable, silent, clipped, resampled, lossy, duplicate, near-duplicate, mislabelled or protected.
        score: Its figure, NaN without one; docs of the command say which.
        reason: In words.
    """

    file: str
    finding: str
    score: float
    reason: str


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
    marks = _Marks()
    seen: dict[str, str] = {}
    for name in names:
        progress(name)
        label = PurePosixPath(name).parts[0] if "/" in name else ""
        midi = PurePosixPath(name).suffix.lower() in MIDI_SUFFIXES
        entry = File(name, "midi" if midi else "sound", label)
        entries.append(entry)
        try:
            if midi:
                _read_notes(folder / name, entry)
            else:
                facts = measure(folder / name)
                findings += _alone(entry, facts)
                if facts.phases is not None and facts.digest not in seen:
                    marks.add(label, facts.rate, facts.phases)
        except DataError as error:
            findings.append(Finding(name, "unreadable", math.nan, _short(str(error), folder, name)))
            continue
        if entry.digest in seen:
            findings.append(Finding(name, "duplicate", 1.0, f"the same content as {printable(seen[entry.digest])}"))
        seen.setdefault(entry.digest, name)
    readable = [entry for entry in entries if entry.digest]
    findings += [*_near_duplicates(readable), *_outliers(readable), *marks.findings(), *_mislabelled(readable)]
    place = {name: number for number, name in enumerate(names)}
    findings.sort(key=lambda found: place.get(found.file, -1))
    return entries, findings


def _alone(entry: File, facts: SoundFacts) -> Iterator[Finding]:
    """Take the figures of a sound, and yield what it says by itself."""
    entry.seconds, entry.rate = facts.seconds, facts.rate
    entry.digest, entry.fingerprint = facts.digest, facts.fingerprint
    entry.scores = {"peak": facts.peak, "clipped_share": facts.clipped, "clipped_runs": float(facts.runs)}
    entry.scores |= {"cut_hz": facts.cut_hz, **facts.features}
    if not facts.seconds:
        raise DataError(f"{entry.name} holds 0 samples, expected some sound")
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
    entry.digest = hashlib.sha256(columns.long().numpy().tobytes()).hexdigest()
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


def _near_duplicates(entries: Sequence[File]) -> Iterator[Finding]:
    """Yield each file whose fingerprint is nearly that of an earlier one of the same kind and length."""
    for kind in ("sound", "midi"):
        group = [entry for entry in entries if entry.kind == kind and entry.fingerprint is not None]
        if len(group) < 2:
            continue
        rows = torch.stack([entry.fingerprint for entry in group if entry.fingerprint is not None]).float()
        norm = rows.norm(dim=1, keepdim=True)
        rows = rows / norm.clamp_min(1e-9)
        seconds = torch.tensor([entry.seconds for entry in group], dtype=torch.float64)
        for start in range(0, len(group), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            cosine = rows[part] @ rows.T
            ratio = (seconds[part, None] / seconds.clamp_min(1e-9)).clamp_min(1e-9).log().abs()
            earlier = torch.arange(len(group)) < torch.arange(start, start + len(cosine))[:, None]
            cosine = torch.where(earlier & (ratio < _SAME_LENGTH), cosine, -1.0)
            best = cosine.max(1)
            for offset, (value, other) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
                entry, twin = group[start + offset], group[other]
                if value >= _NEAR and entry.digest != twin.digest:
                    said = f"nearly {printable(twin.name)}: likeness {value:.3f}"
                    yield Finding(entry.name, "near-duplicate", value, said)


def _outliers(entries: Sequence[File]) -> Iterator[Finding]:
    """Yield each file with a sign of added noise or notes that the others of its kind and rate do not have.

    The others are those of its class where there are enough of them, since speakers and instruments differ too.
    """
    groups: dict[tuple[str, int, str], list[File]] = {}
    for entry in entries:
        signs = _SOUND_SIGNS if entry.kind == "sound" else _MIDI_SIGNS
        if signs.keys() <= entry.scores.keys():
            for label in {entry.label, "."}:
                groups.setdefault((entry.kind, entry.rate, label), []).append(entry)
    for (kind, rate, label), group in groups.items():
        if label == ".":  # those whose class is too small
            judged = [len(groups[kind, rate, entry.label]) < FEWEST for entry in group]
        else:
            judged = [True] * len(group)
        if len(group) < FEWEST or not any(judged):
            continue
        signs = _SOUND_SIGNS if kind == "sound" else _MIDI_SIGNS
        rows = torch.tensor([[entry.scores[name] for name in signs] for entry in group], dtype=torch.float64)
        deviation, scores = rows - rows.quantile(0.5, 0), robust_z(rows, rows)
        where = "the folder" if label in ("", ".") else f"{printable(label)}/"
        for entry, due, z, change in zip(group, judged, scores.tolist(), deviation.tolist(), strict=True):
            said = [
                f"{words} {by:.0f} dB" if unit else f"{words} {by:.2f}"
                for value, by, (words, least, unit) in zip(z, change, signs.values(), strict=True)
                if value >= _OUTLIER and by >= least
            ]
            if said and due:
                reason = f"{', '.join(said)} above the median of {where}"
                yield Finding(entry.name, "protected", max(z), reason)


def _mislabelled(entries: Sequence[File]) -> Iterator[Finding]:
    """Yield each file that lies nearer to the centroid of another class than to that of its own.

    Only where at least `_AGREE` of the files lie nearest to their own, which says that the features tell the classes.
    """
    for kind, rate in dict.fromkeys((entry.kind, entry.rate) for entry in entries):
        group = [e for e in entries if (e.kind, e.rate) == (kind, rate) and e.fingerprint is not None and e.label]
        counts = {label: sum(entry.label == label for entry in group) for label in sorted({e.label for e in group})}
        classes = [label for label, count in counts.items() if count >= FEWEST_OF_CLASS]
        group = [entry for entry in group if entry.label in classes]
        if len(classes) < 2:
            continue
        rows = _class_features(group)
        label = torch.tensor([classes.index(entry.label) for entry in group])
        member = torch.nn.functional.one_hot(label, len(classes)).double()
        total, count = member.T @ rows, member.sum(0)
        distance = torch.cdist(rows, total / count[:, None])
        rest = (total[label] - rows) / (count[label] - 1)[:, None]  # the own centroid, without the file itself
        own = (rows - rest).norm(dim=1)
        distance[torch.arange(len(rows)), label] = torch.inf
        nearest = distance.min(1)
        if float((own < nearest.values).double().mean()) < _AGREE:
            continue
        for entry, mine, other, at in zip(
            group, own.tolist(), nearest.values.tolist(), nearest.indices.tolist(), strict=True
        ):
            if mine > _MARGIN * other:
                said = f"nearer to {printable(classes[at])} ({other:.1f}) than to {printable(entry.label)} ({mine:.1f})"
                yield Finding(entry.name, "mislabelled", mine / max(other, 1e-9), said)


def _class_features(group: Sequence[File]) -> Tensor:
    """Return what classes are told by, float64 [file, feature]: spectrum of sounds, features of notes."""
    names = [name for name in group[0].scores if name.startswith("mel_") or group[0].kind == "midi"]
    rows = torch.tensor([[entry.scores[name] for name in names] for entry in group], dtype=torch.float64)
    spread = rows.std(0, correction=0)
    return (rows - rows.mean(0)) / torch.where(spread > 1e-6, spread, torch.inf)


class _Marks:
    """Sums the phases of the files of each class, and of all, to find a waveform that is added to every file.

    Of n independent files the squared sum in a bin is n on average, with an exponential distribution; phases that a
    common waveform determines raise it, up to n squared. Sums with random signs, in which a common part cancels, say
    how far chance alone goes.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], Tensor] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self._rng = torch.Generator().manual_seed(0)

    def add(self, label: str, rate: int, phases: Tensor) -> None:
        """Take the beginning of a file."""
        signs = torch.randint(2, (1 + _DRAWS, 1), generator=self._rng).float() * 2 - 1
        signs[0] = 1
        for name in {label, "."} - {""}:
            key = (name, rate)
            if key not in self._sums:
                self._sums[key] = torch.zeros(1 + _DRAWS, len(phases), dtype=torch.complex64)
            self._sums[key] += signs * phases
            self._counts[key] = self._counts.get(key, 0) + 1

    def findings(self) -> Iterator[Finding]:
        """Yield the classes whose files share a waveform, and the folder where the classes share one."""
        found: dict[tuple[str, int], tuple[float, str]] = {}
        for (label, rate), sums in self._sums.items():
            count = self._counts[label, rate]
            if count < FEWEST_OF_CLASS:
                continue
            energy = sums.abs().square() / count  # [draw, bin], 1 on average by chance
            excess, chance = float(energy[0].mean()) - 1.0, float((energy[1:].mean(1) - 1.0).square().mean().sqrt())
            line = float(energy[0].max())
            if excess > max(_BROAD, _BROAD_Z * chance):
                share, said = excess / (count - 1), "share a waveform"
            elif line > math.log(energy.shape[1]) + _LINE:
                share, said = (line - 1.0) / (count - 1), "share a tone of the same phase"
            else:
                continue
            found[label, rate] = share, f"{said}: {100 * share:.2g} % of what phases tell ({count} files)"
        for (label, rate), (share, said) in found.items():
            whole = found.get((".", rate), (0.0, ""))[0]
            others = max((other for (name, hz), (other, _) in found.items() if hz == rate and name != "."), default=0.0)
            if label == "." and 2.0 * share > others:
                yield Finding(".", "protected", share, f"the files {said}")
            elif label != "." and share >= 2.0 * whole:
                yield Finding(f"{label}/", "protected", share, f"the files of {printable(label)}/ {said}")


def totals(entries: Sequence[File], findings: Sequence[Finding]) -> dict[str, Any]:
    """Count files and findings.

    Args:
        entries: The files.
        findings: The findings.

    Returns:
        `files`, `sounds`, `midi`, `seconds`, `clean` (files without a finding) and `findings` by name.
    """
    found = {finding.file for finding in findings}
    return {
        "files": len(entries),
        "sounds": sum(entry.kind == "sound" for entry in entries),
        "midi": sum(entry.kind == "midi" for entry in entries),
        "seconds": sum(entry.seconds for entry in entries),
        "clean": sum(entry.name not in found for entry in entries),
        "findings": {
            name: sum(finding.finding == name for finding in findings)
            for name in dict.fromkeys(finding.finding for finding in findings)
        },
    }
