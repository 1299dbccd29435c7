"""`bench inspect`: what files are beside the others of their folder: copies, outliers, marked or mislabelled.

Each test needs a few files of one kind and rate, and says nothing where there are fewer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bench.files import printable
from bench.metrics.stealth import robust_z

FEWEST = 8  # files of a kind among which one can be an outlier
FEWEST_OF_CLASS = 5

_NEAR = 0.985  # cosine of two fingerprints
_SAME_LENGTH = 0.02  # relative difference of durations of near duplicates
_AT_FIRST = 64  # rows for fingerprints; doubled where they are full
_DRAWS = 8  # random signs that tell how large a sum of independent marks is
_BROAD, _BROAD_Z = 0.15, 5.0  # excess of the mean over bins: least, and over that of random signs
_LINE = 8.0  # excess of a single bin over what the largest of all bins reaches by chance
_AGREE = 0.8  # share of the files that must lie nearest to their own class
_MARGIN = 1.8  # distance from the own class over that from the other
# Feature -> (words, unit, the least change and the least robust deviation that count); a protection raises these.
_SOUND_SIGNS = {
    "noise_floor_db": ("noise floor", " dB", 6.0, 4.0),
    "flatness_quiet_db": ("flatness of quiet parts", " dB", 4.0, 6.0),
    "codec_residual_db": ("change by MP3", " dB", 6.0, 6.0),
    "high_band_db": ("high band", " dB", 10.0, 6.0),
}
_MIDI_SIGNS = {
    "soft_share": ("soft notes", "", 0.05, 6.0),
    "repeat_share": ("notes struck again at once", "", 0.15, 5.0),
    "single_share": ("notes of one step", "", 0.2, 6.0),
    "velocity_step": ("change of velocity from note to note", "", 0.05, 3.0),
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
        score: Its figure, as the help of the command says; NaN without one.
        reason: In words.
    """

    file: str
    finding: str
    score: float
    reason: str


class Copies:
    """Finds files that hold the same as an earlier one, or nearly the same over the same duration."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._names: dict[str, list[str]] = {}
        self._rows: dict[str, Tensor] = {}  # half precision [file, feature], longer than it is filled
        self._seconds: dict[str, list[float]] = {}

    def finding(self, entry: File) -> Finding | None:
        """Compare a file with the earlier ones, and remember it."""
        first = self._digests.setdefault(entry.digest, entry.name)
        if first != entry.name:
            return Finding(entry.name, "duplicate", 1.0, f"the same content as {printable(first)}")
        norm = float(entry.fingerprint.float().norm()) if entry.fingerprint is not None else 0.0
        if entry.fingerprint is None or norm < 1e-6:
            return None
        row = (entry.fingerprint.float() / norm).half()
        found = self._nearest(entry, row)
        names, seconds = self._names.setdefault(entry.kind, []), self._seconds.setdefault(entry.kind, [])
        rows = self._rows.get(entry.kind, row.new_zeros(_AT_FIRST, len(row)))
        if len(names) == len(rows):
            rows = torch.cat([rows, torch.zeros_like(rows)])
        rows[len(names)] = row
        self._rows[entry.kind] = rows
        names.append(entry.name)
        seconds.append(entry.seconds)
        return found

    def _nearest(self, entry: File, row: Tensor) -> Finding | None:
        names = self._names.get(entry.kind, [])
        ratio = torch.tensor(self._seconds.get(entry.kind, []), dtype=torch.float64) / max(entry.seconds, 1e-9)
        close = ((ratio - 1.0).abs() < _SAME_LENGTH).nonzero()[:, 0]
        if not len(close):
            return None
        cosine = self._rows[entry.kind][close].float() @ row.float()
        best = int(cosine.argmax())
        if float(cosine[best]) < _NEAR:
            return None
        said = f"nearly {printable(names[int(close[best])])}: likeness {float(cosine[best]):.3f}"
        return Finding(entry.name, "near-duplicate", float(cosine[best]), said)


def outliers(entries: Sequence[File]) -> Iterator[Finding]:
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
                f"{words} {by:.3g}{unit}"
                for value, by, (words, unit, least, limit) in zip(z, change, signs.values(), strict=True)
                if value >= limit and by >= least
            ]
            if said and due:
                reason = f"{', '.join(said)} above the median of {where}"
                yield Finding(entry.name, "protected", max(z), reason)


def mislabelled(entries: Sequence[File]) -> Iterator[Finding]:
    """Yield each file that lies nearer to the centroid of another class than to that of its own.

    Only where at least `_AGREE` of the files lie nearest to their own, which says that the features tell the classes.
    """
    for kind, rate in dict.fromkeys((entry.kind, entry.rate) for entry in entries):
        group = [e for e in entries if (e.kind, e.rate) == (kind, rate) and e.label and _told(e)]
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


def _told(entry: File) -> bool:
    """Return whether a file has the features by which classes are told: silence has none."""
    return entry.kind == "midi" or "mel_mean_00_db" in entry.scores


def _class_features(group: Sequence[File]) -> Tensor:
    """Return what classes are told by, float64 [file, feature]: spectrum of sounds, features of notes."""
    names = [name for name in group[0].scores if name.startswith("mel_") or group[0].kind == "midi"]
    rows = torch.tensor([[entry.scores[name] for name in names] for entry in group], dtype=torch.float64)
    spread = rows.std(0, correction=0)
    return (rows - rows.mean(0)) / torch.where(spread > 1e-6, spread, torch.inf)


class Marks:
    """Sums the phases of the files of each class, and of all, to find a waveform that is added to every file.

    Of n independent files the squared sum in a bin is n on average, with an exponential distribution; phases that a
    common waveform determines raise it, up to n squared. Sums in which of two files a random one counts negative, so
    that a common part cancels, say how far chance alone goes.
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], Tensor] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self._signs: dict[tuple[str, int], Tensor] = {}
        self._rng = torch.Generator().manual_seed(0)

    def add(self, label: str, rate: int, phases: Tensor) -> None:
        """Take the beginning of a file."""
        draw = torch.randint(2, (_DRAWS, 1), generator=self._rng).float() * 2 - 1
        for name in {label, "."} - {""}:
            key = (name, rate)
            if key not in self._sums:
                self._sums[key] = torch.zeros(1 + _DRAWS, len(phases), dtype=torch.complex64)
            count = self._counts.get(key, 0)
            signs = -self._signs[key] if count % 2 else draw
            self._signs[key] = signs
            self._sums[key] += torch.cat([torch.ones(1, 1), signs]) * phases
            self._counts[key] = count + 1

    def findings(self) -> Iterator[Finding]:
        """Yield the classes whose files share a waveform, and the folder where the classes share one."""
        found: dict[tuple[str, int], tuple[float, str]] = {}
        for (label, rate), sums in self._sums.items():
            count = self._counts[label, rate]
            if count < FEWEST_OF_CLASS:
                continue
            energy = sums.abs().square() / count  # [draw, bin], 1 on average by chance
            excess, chance = float(energy[0].mean()) - 1.0, float(energy[1:].mean(1).std())
            line = float(energy[0].max())
            if excess > max(_BROAD, _BROAD_Z * chance):
                share, said = excess / (count - 1), "share a waveform"
            elif line > math.log(energy.shape[1]) + _LINE:
                share, said = (line - 1.0) / (count - 1), "share a tone of the same phase"
            else:
                continue
            found[label, rate] = share, f"{said} (likeness {share:.2g}, {count} files)"
        for (label, rate), (share, said) in found.items():
            whole = found.get((".", rate), (0.0, ""))[0]
            others = max((other for (name, hz), (other, _) in found.items() if hz == rate and name != "."), default=0.0)
            if label == "." and 2.0 * share > others:
                yield Finding(".", "protected", share, f"the files {said}")
            elif label != "." and share >= 2.0 * whole:
                yield Finding(f"{label}/", "protected", share, f"the files of {printable(label)}/ {said}")
