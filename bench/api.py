"""The contract: all that the author of a plugin reads.

A plugin is one file (or folder) in `defenses/`, `attackers/`, `attackers/adaptive/` or `datasets/`; its name is the
file's name. It holds one public frozen dataclass with the methods of the protocol below. The fields are its parameters:
they give `--set defense.level=0.02`, the entry in the record and the cache key at once, so they must survive JSON.

Conventions
-----------
* A plugin works on *sets* (`Clips`, `Rolls`), never on one clip at a time.
* Randomness is the `torch.Generator` handed in; nothing touches the global generators.
* The device is the data's; a plugin moves nothing by itself.
* A plugin imports `bench` and its own libraries, never another plugin: a defense is *handed* its surrogates.
* Heavy libraries (transformers, muspy) are imported inside functions: loading a plugin must be quick.

Optional class attributes, all plugins:
    version: int            raise it when results change on purpose (default 1)
    domains: tuple          what it takes or gives: "audio" (`Clips`), "midi" (`Rolls`) (default ("audio",))
    needs: Needs            processors, accelerators and memory of one stage
    presets: Mapping        {"smoke": {...}, "full": {...}}: other defaults for the other budgets; the fields' own
                            defaults are the preset `small`
    paper: str              where the idea comes from
    inventory()             a method: weights or data that may be absent -> "" if found, else what that disables
    control: str            defenses only. "clean": returns the data as it is; "matched": is given another defense's
                            protected set as `knowledge.reference`, and must be as audible as that one; "scramble":
                            must score about 1
    fingerprint()           a method: a digest of the files that it reads beside its own, so that other data or weights
                            are never taken for them; cheap (names, sizes and times will do)
    per: str                defenses only, an attribute or a field: what one perturbation is made for: "clip", "class"
                            (it then gives the labels away) or "set". Tables rank them apart
    dataset: str            attackers only: the data set that `bench run` takes when none is named
    bag: tuple              attackers only. Other attackers, by name: whom a defender crafts against who does not know
                            this one, where the run names no others
    task: str               attackers only. "classify": what it is tested on is its own input, so that a preprocessing
                            adaptation changes validation and test recordings as well
    preprocess: bool        adaptations only: `transform` keeps every clip and what it says, and so can stand before a
                            trained classifier too
    content: str            data sets only. "speech": PESQ and STOI are measured
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self, TypeAlias, runtime_checkable

import torch
from torch import Generator, Tensor, nn

from bench.errors import DataError

__all__ = [
    "Adaptation", "Attacker", "Augment", "Clips", "Data", "Dataset", "Defense", "Gate", "Knowledge", "Log", "Needs",
    "Rolls", "silent_log", "unchanged",
]  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What one stage of a plugin occupies; the executors reserve it and set torch's threads to `cpus`."""

    cpus: int = 1
    gpus: float = 0.0  # a fraction shares one accelerator
    memory_gb: float = 2.0


@dataclass(frozen=True, eq=False)
class Clips:
    """A set of recordings, padded at the end to one length.

    Raises `DataError` where shapes, names or lengths do not fit; `check()` looks at the values too.
    """

    domain: ClassVar[str] = "audio"

    audio: Tensor  # float32 [clip, channel, sample], within -1..1; zero from `lengths` on
    rate: int  # samples a second
    ids: tuple[str, ...]  # one a clip, unique: what pairs protected with clean
    groups: tuple[str, ...]  # one a clip: the song or the speaker; clips of one group are not independent
    lengths: Tensor  # int64 [clip]: samples of recording; the rest is padding
    labels: Tensor | None = None  # int64 [clip], indices into `classes`
    classes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()  # one a clip where the data has descriptions, else empty
    stems: Tensor | None = None  # float32 [clip, stem, channel, sample]; they add up to `audio`
    stem_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(self.audio.dim() == 3, f"audio has shape {tuple(self.audio.shape)}, expected [clip, channel, sample]")
        _require(self.audio.dtype == torch.float32, f"audio is {self.audio.dtype}, expected torch.float32")
        _require(self.rate > 0, f"rate is {self.rate}, expected samples a second")
        _require_set(self, len(self.audio), self.audio.shape[-1])
        if self.stems is not None:
            clips, channels, samples = self.audio.shape
            stems = len(self.stem_names)
            _require(
                self.stems.shape == (clips, stems, channels, samples),
                f"stems have shape {tuple(self.stems.shape)}, expected {(clips, stems, channels, samples)}",
            )

    @classmethod
    def of(cls, audio: Tensor, rate: int, ids: Sequence[str] = (), **more: Any) -> Self:
        """A set from audio alone: ids are numbered, every clip is its own group and fills its whole length."""
        names = tuple(ids) or tuple(f"{i:05d}" for i in range(len(audio)))
        lengths = torch.full((len(audio),), audio.shape[-1], dtype=torch.int64, device=audio.device)
        given = {"ids": names, "groups": names, "lengths": lengths} | more
        return cls(audio=audio, rate=rate, **given)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        return self.audio.device

    @property
    def support(self) -> Tensor:
        """bool [clip, 1, sample]: true where there is recording, false in the padding."""
        steps = torch.arange(self.audio.shape[-1], device=self.device)
        return (steps < self.lengths[:, None])[:, None]

    @property
    def seconds(self) -> float:
        """Seconds of recording in the whole set, padding left out."""
        return float(self.lengths.sum()) / self.rate

    def select(self, index: Tensor | Sequence[int]) -> Clips:
        """The clips at `index`, in that order."""
        at = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        chosen = _selected(self, at)
        return replace(
            self, audio=self.audio[at], stems=None if self.stems is None else self.stems[at], **chosen
        )  # fmt: skip

    def with_audio(self, audio: Tensor, stems: Tensor | None = None) -> Clips:
        """The same clips with other sound; stems are dropped unless given, since they would no longer add up."""
        return replace(self, audio=audio, stems=stems, stem_names=self.stem_names if stems is not None else ())

    def to(self, device: torch.device | str) -> Clips:
        return replace(
            self,
            audio=self.audio.to(device),
            lengths=self.lengths.to(device),
            labels=None if self.labels is None else self.labels.to(device),
            stems=None if self.stems is None else self.stems.to(device),
        )

    def check(self, what: str = "clips") -> Self:
        """The set itself, or a `DataError` that names the first clip whose values cannot be used."""
        _require(len(self) > 0, f"{what}: the set is empty, expected at least one clip")
        flat = self.audio.detach().flatten(1)
        bad = ~flat.isfinite().all(1)
        _require(not bad.any(), f"{what}: clip '{_first(self.ids, bad)}' holds NaN or infinity, expected -1..1")
        peak = flat.abs().amax(1)
        loud = peak > 1.0 + 1e-4
        _require(not loud.any(), f"{what}: clip '{_first(self.ids, loud)}' peaks at {peak.max():.3f}, expected -1..1")
        outside = (self.audio.detach() * ~self.support).abs().amax((1, 2)) > 0
        _require(not outside.any(), f"{what}: clip '{_first(self.ids, outside)}' has sound in its zero padding")
        return self


@dataclass(frozen=True, eq=False)
class Rolls:
    """A set of multi-track piano rolls, padded at the end to one length.

    A note is an onset cell followed by cells of the same pitch that sound (velocity > 0) without an onset. The velocity
    is a real number in 0..1 (MIDI velocity / 127), so that it can be differentiated through.
    Raises `DataError` where shapes, names or lengths do not fit.
    """

    domain: ClassVar[str] = "midi"

    velocity: Tensor  # float32 [roll, track, step, pitch] in 0..1; 0 = silent
    onset: Tensor  # bool [roll, track, step, pitch]: a note begins here
    programs: tuple[int, ...]  # one a track: General MIDI 0..127, or 128 for drums
    ids: tuple[str, ...]  # one a roll, unique
    groups: tuple[str, ...]  # one a roll: the piece
    lengths: Tensor  # int64 [roll]: steps of music; the rest is padding
    tempo: Tensor  # float32 [roll]: beats a minute
    steps_per_beat: int = 4
    beats_per_bar: int = 4
    lowest: int = 0  # MIDI pitch of the first pitch cell
    tracks: tuple[str, ...] = ()  # names, one a track, or empty
    labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.velocity.shape)
        _require(len(shape) == 4, f"velocity has shape {shape}, expected [roll, track, step, pitch]")
        _require(self.velocity.dtype == torch.float32, f"velocity is {self.velocity.dtype}, expected torch.float32")
        _require(self.onset.dtype == torch.bool, f"onset is {self.onset.dtype}, expected torch.bool")
        _require(
            self.onset.shape == self.velocity.shape, f"onset has shape {tuple(self.onset.shape)}, expected {shape}"
        )
        _require(len(self.programs) == shape[1], f"{len(self.programs)} programs for {shape[1]} tracks")
        _require(self.lowest >= 0 and self.lowest + shape[3] <= 128, f"pitches {self.lowest}..{self.lowest + shape[3] - 1}, expected 0..127")  # fmt: skip  # noqa: E501
        _require_set(self, shape[0], shape[2])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        return self.velocity.device

    @property
    def support(self) -> Tensor:
        """bool [roll, 1, step, 1]: true where there is music, false in the padding."""
        steps = torch.arange(self.velocity.shape[2], device=self.device)
        return (steps < self.lengths[:, None])[:, None, :, None]

    @property
    def seconds(self) -> float:
        """Seconds of music in the whole set at each roll's tempo, padding left out."""
        return float((self.lengths / self.steps_per_beat * 60.0 / self.tempo).sum())

    def select(self, index: Tensor | Sequence[int]) -> Rolls:
        """The rolls at `index`, in that order."""
        at = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        chosen = _selected(self, at)
        return replace(self, velocity=self.velocity[at], onset=self.onset[at], tempo=self.tempo[at], **chosen)

    def to(self, device: torch.device | str) -> Rolls:
        return replace(
            self,
            velocity=self.velocity.to(device),
            onset=self.onset.to(device),
            lengths=self.lengths.to(device),
            tempo=self.tempo.to(device),
            labels=None if self.labels is None else self.labels.to(device),
        )

    def check(self, what: str = "rolls") -> Self:
        """The set itself, or a `DataError` that names the first roll whose values cannot be used."""
        _require(len(self) > 0, f"{what}: the set is empty, expected at least one roll")
        velocity = self.velocity.detach()
        bad = ~((velocity >= 0) & (velocity <= 1)).flatten(1).all(1)  # false for NaN too
        _require(not bad.any(), f"{what}: roll '{_first(self.ids, bad)}' has velocities outside 0..1")
        outside = ((velocity > 0) & ~self.support).flatten(1).any(1)
        _require(not outside.any(), f"{what}: roll '{_first(self.ids, outside)}' has notes in its padding")
        ghost = (self.onset & (velocity <= 0)).flatten(1).any(1)
        _require(not ghost.any(), f"{what}: roll '{_first(self.ids, ghost)}' has an onset without a velocity")
        return self


Data: TypeAlias = Clips | Rolls
Augment: TypeAlias = Callable[[Any, Generator], Any]  # a batch and a generator -> a batch
Log: TypeAlias = Callable[[Mapping[str, float]], None]  # one call an epoch: named numbers for the record


def unchanged(batch: Any, rng: Generator) -> Any:
    """The augmentation that does nothing."""
    return batch


def silent_log(numbers: Mapping[str, float]) -> None:
    """The log that keeps nothing."""


@dataclass(frozen=True)
class Gate:
    """A condition without which a cell is void: shown, never ranked."""

    name: str
    passed: bool
    value: float
    limit: float
    meaning: str  # one sentence for the page


@dataclass(frozen=True)
class Knowledge:
    """What the defender knows of the attacker.

    white-box: `surrogates` is the trial's own attacker; ensemble: a bag with it, the defender not knowing which it will
    be; black-box: a bag of others without it; none: empty.
    `expects`: the adaptations that the defender prepares for (expectation over transforms).
    `reference`: for a matched control only, the protected set whose audibility the control must have.
    `log`: a defense that descends a loss may tell it, one call a round, {"loss": ...}: kept in the record beside what
    the attacker then makes of it, and never scored.
    """

    name: str = "none"
    surrogates: tuple[Attacker, ...] = ()
    expects: tuple[Adaptation, ...] = ()
    reference: Any = None
    log: Log = silent_log


@runtime_checkable
class Dataset(Protocol):
    """A named, versioned source of clips or rolls, split by group.

    A data set that can give both domains has a field `domain`, which the trial sets to the attacker's.
    A card of the same name (`datasets/NAME.toml`) states licence, citation, sizes, splits and checksums.
    """

    def load(self, split: str) -> Data:
        """split: "train", "validation" or "test". No group is in two splits. Raises `DataError`."""
        ...


@runtime_checkable
class Defense(Protocol):
    """Turns a training set into a protected one, under an audibility budget.

    Same ids, shapes and rate; nothing in the zero padding (a field `padding`, set, allows it: the lengths that come
    back then count it as recording). A class attribute `joint = True` says that a clip's noise depends on the other
    clips; a field `epsilon` is taken for the bound on |noise| and checked.
    """

    def protect(self, data: Any, knowledge: Knowledge, rng: Generator) -> Any: ...


@runtime_checkable
class Attacker(Protocol):
    """Trains a model on a training set: a classifier or a generator.

    `learn` trains by `self.loss`, so that an adaptation may harden it. More methods are used where they exist:
        generate(model, like, rng) -> Data            new material, as many items and as long as `like`
        gates(clean, untrained) -> Sequence[Gate]     from two mappings metric -> mean, those of the two arms
        prior(model, train) -> None                   the untrained arm of a model that is trained from scratch: the
                                                      fresh model, changed in place into one that knows how frequent
                                                      single symbols are in the clean training set and nothing else
        view(data) -> Tensor                          int64 [element, 1 + field]: what the model reads, a row an element
                                                      (a note, a cell), the item's index first; the order is of no
                                                      account. Tells what share of the input a defense changed at all
    """

    def model(self, like: Any, rng: Generator) -> nn.Module:
        """The untrained model, or the pretrained base, for data like `like`."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """[item]; differentiable in the batch's audio or velocity. What every surrogate-based defense descends."""
        ...

    def learn(
        self, train: Any, validation: Any, rng: Generator, *, augment: Augment = unchanged, log: Log = silent_log
    ) -> nn.Module:
        """Its own loop, its own budget; the checkpoint that is best on the clean `validation` set.

        `augment` is applied to each batch; `log` is called once an epoch.
        """
        ...

    def quality(self, model: nn.Module, test: Any) -> Mapping[str, Tensor]:
        """metric -> [item], higher is better. The first metric is the one that is scored."""
        ...


class Adaptation(Protocol):
    """What an attacker does to win anyway. Any of three hooks; the others default to doing nothing.

    transform: to the protected data before training (mp3, resample, denoise, filter out what looks protected)
    augment:   to each batch
    train:     around training (adversarial training, worst of K); default `attacker.learn`
    """

    def transform(self, data: Any, rng: Generator) -> Any: ...

    def augment(self, batch: Any, rng: Generator) -> Any: ...

    def train(self, attacker: Attacker, train: Any, validation: Any, rng: Generator, *, log: Log) -> nn.Module: ...


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DataError(message)


def _require_set(data: Data, items: int, steps: int) -> None:
    """What clips and rolls have in common: names, groups, lengths, labels and texts fit the number of items."""
    _require(len(data.ids) == items, f"{len(data.ids)} ids for {items} items")
    _require(len(set(data.ids)) == items, "ids are not unique: noise could not be paired with its clip")
    _require(len(data.groups) == items, f"{len(data.groups)} groups for {items} items")
    _require(
        tuple(data.lengths.shape) == (items,), f"lengths have shape {tuple(data.lengths.shape)}, expected ({items},)"
    )
    if items:
        longest = int(data.lengths.max())
        _require(longest <= steps, f"a length of {longest} in data of {steps} steps")
    if data.labels is not None:
        _require(
            tuple(data.labels.shape) == (items,), f"labels have shape {tuple(data.labels.shape)}, expected ({items},)"
        )
        _require(len(data.classes) > 0, "labels without classes")
    _require(len(data.texts) in (0, items), f"{len(data.texts)} texts for {items} items")


def _selected(data: Data, at: Tensor) -> dict[str, Any]:
    """The fields that clips and rolls share, at the given indices."""
    chosen = at.tolist()
    return {
        "ids": tuple(data.ids[i] for i in chosen),
        "groups": tuple(data.groups[i] for i in chosen),
        "lengths": data.lengths[at],
        "labels": None if data.labels is None else data.labels[at],
        "texts": tuple(data.texts[i] for i in chosen) if data.texts else (),
    }


def _first(ids: tuple[str, ...], bad: Tensor) -> str:
    return ids[int(bad.nonzero()[0, 0])] if bad.any() else ""
