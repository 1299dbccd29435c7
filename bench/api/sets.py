"""Sets of items: recordings (`Clips`) and multi-track piano rolls (`Rolls`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeAlias

import torch
from torch import Tensor

from bench.errors import DataError
from bench.vocabulary import DomainName, PerDomain

__all__ = ["SETS", "Clips", "Data", "Rolls"]


class _Items:
    """What both kinds of set have: a number of items, and the device of their tensors."""

    if TYPE_CHECKING:
        ids: tuple[str, ...]
        lengths: Tensor
        whole: int

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    @property
    def epoch_items(self) -> int:
        """How many items make one epoch of training.

        More than the set has where it is a part of a larger one: arms that are trained on a part take as many optimiser
        steps as those that are trained on the whole, so that what differs is the data.
        """
        return self.whole or len(self)

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.lengths.device


@dataclass(frozen=True, eq=False)
class Clips(_Items):
    """A set of recordings, padded at the end to one length.

    Raises `DataError` where shapes, names or lengths do not fit; `check()` looks at the values too.
    """

    domain: ClassVar[DomainName] = "audio"

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
    whole: int = 0  # how many items the set has of which this is a part; 0: it is no part, see `epoch_items`

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
    def of(
        cls,
        audio: Tensor,
        rate: int,
        ids: Sequence[str] = (),
        *,
        groups: Sequence[str] = (),
        lengths: Tensor | None = None,
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
        texts: Sequence[str] = (),
        stems: Tensor | None = None,
        stem_names: Sequence[str] = (),
    ) -> Self:
        """Build a set from audio, with defaults for all that is not given.

        Args:
            audio: float32 [clip, channel, sample], within -1..1.
            rate: Samples a second.
            ids: One a clip, unique; by default numbers.
            groups: One a clip: song or speaker; by default every clip is its own group.
            lengths: int64 [clip], samples of recording; by default every clip fills its whole length.
            labels: int64 [clip], indices into `classes`.
            classes: Names of the classes.
            texts: One description a clip, or none.
            stems: float32 [clip, stem, channel, sample] that add up to `audio`.
            stem_names: One a stem.

        Raises:
            DataError: Shapes, names or lengths do not fit each other.
        """
        names = tuple(ids) or tuple(f"{i:05d}" for i in range(len(audio)))
        if lengths is None:
            lengths = torch.full((len(audio),), audio.shape[-1], dtype=torch.int64, device=audio.device)
        return cls(
            audio=audio,
            rate=rate,
            ids=names,
            groups=tuple(groups) or names,
            lengths=lengths,
            labels=labels,
            classes=tuple(classes),
            texts=tuple(texts),
            stems=stems,
            stem_names=tuple(stem_names),
        )

    @property
    def signal(self) -> Tensor:
        """float32 [clip, channel, sample]: what a defense perturbs, whatever the domain."""
        return self.audio

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
        """Return the clips at `index`, in that order.

        Args:
            index: int64 [clip], or a sequence of integers.
        """
        at = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        shared_fields = _selected(self, at)
        return replace(
            self, audio=self.audio[at], stems=None if self.stems is None else self.stems[at], **shared_fields
        )  # fmt: skip

    def with_signal(self, signal: Tensor) -> Clips:
        """Return the same clips with other samples and without stems.

        Args:
            signal: float32 [clip, channel, sample].
        """
        return self.with_audio(signal)

    def with_audio(self, audio: Tensor, stems: Tensor | None = None) -> Clips:
        """Return the same clips with other samples.

        Args:
            audio: float32 [clip, channel, sample].
            stems: float32 [clip, stem, channel, sample] that add up to `audio`; None drops the old ones, which no
                longer do.
        """
        return replace(self, audio=audio, stems=stems, stem_names=self.stem_names if stems is not None else ())

    def to(self, device: torch.device | str) -> Clips:
        """Return the same clips on another device."""
        return replace(
            self,
            audio=self.audio.to(device),
            lengths=self.lengths.to(device),
            labels=None if self.labels is None else self.labels.to(device),
            stems=None if self.stems is None else self.stems.to(device),
        )

    def check(self, label: str = "clips") -> Self:
        """Check the values of the set: finite, within -1..1, and zero in the padding.

        Args:
            label: What messages call the set.

        Returns:
            The set itself.

        Raises:
            DataError: The set is empty, or a clip's values cannot be used; the message names the first one.
        """
        _require(len(self) > 0, f"{label}: the set is empty, expected at least one clip")
        flat = self.audio.detach().flatten(1)
        bad = ~flat.isfinite().all(1)
        _require(not bad.any(), f"{label}: clip '{_first(self.ids, bad)}' holds NaN or infinity, expected -1..1")
        peak = flat.abs().amax(1)
        loud = peak > 1.0 + 1e-4
        _require(not loud.any(), f"{label}: clip '{_first(self.ids, loud)}' peaks at {peak.max():.3f}, expected -1..1")
        outside = (self.audio.detach() * ~self.support).abs().amax((1, 2)) > 0
        _require(not outside.any(), f"{label}: clip '{_first(self.ids, outside)}' has sound in its zero padding")
        return self


@dataclass(frozen=True, eq=False)
class Rolls(_Items):
    """A set of multi-track piano rolls, padded at the end to one length.

    A note is an onset cell followed by cells of the same pitch that sound (velocity > 0) without an onset. The velocity
    is a real number in 0..1 (MIDI velocity / 127), so that it can be differentiated through.
    Raises `DataError` where shapes, names or lengths do not fit.
    """

    domain: ClassVar[DomainName] = "midi"

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
    whole: int = 0

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

    @property
    def signal(self) -> Tensor:
        """float32 [roll, track, step, pitch]: what a defense perturbs, whatever the domain."""
        return self.velocity

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
        """Return the rolls at `index`, in that order.

        Args:
            index: int64 [roll], or a sequence of integers.
        """
        at = torch.as_tensor(index, dtype=torch.int64, device=self.device)
        shared_fields = _selected(self, at)
        return replace(self, velocity=self.velocity[at], onset=self.onset[at], tempo=self.tempo[at], **shared_fields)

    def with_signal(self, signal: Tensor) -> Rolls:
        """Return the same notes at other velocities; onsets stay.

        Args:
            signal: float32 [roll, track, step, pitch] in 0..1.
        """
        return replace(self, velocity=signal)

    def to(self, device: torch.device | str) -> Rolls:
        """Return the same rolls on another device."""
        return replace(
            self,
            velocity=self.velocity.to(device),
            onset=self.onset.to(device),
            lengths=self.lengths.to(device),
            tempo=self.tempo.to(device),
            labels=None if self.labels is None else self.labels.to(device),
        )

    def check(self, label: str = "rolls") -> Self:
        """Check the values of the set: velocities within 0..1, no notes in the padding, a velocity at every onset.

        Args:
            label: What messages call the set.

        Returns:
            The set itself.

        Raises:
            DataError: The set is empty, or a roll's values cannot be used; the message names the first one.
        """
        _require(len(self) > 0, f"{label}: the set is empty, expected at least one roll")
        velocity = self.velocity.detach()
        bad = ~((velocity >= 0) & (velocity <= 1)).flatten(1).all(1)  # false for NaN too
        _require(not bad.any(), f"{label}: roll '{_first(self.ids, bad)}' has velocities outside 0..1")
        outside = ((velocity > 0) & ~self.support).flatten(1).any(1)
        _require(not outside.any(), f"{label}: roll '{_first(self.ids, outside)}' has notes in its padding")
        ghost = (self.onset & (velocity <= 0)).flatten(1).any(1)
        _require(not ghost.any(), f"{label}: roll '{_first(self.ids, ghost)}' has an onset without a velocity")
        return self


Data: TypeAlias = Clips | Rolls
SETS: PerDomain[type[Clips] | type[Rolls]] = PerDomain(audio=Clips, midi=Rolls)


def _require(condition: bool, message: str) -> None:
    """Raise a `DataError` unless a condition holds."""
    if not condition:
        raise DataError(message)


def _require_set(data: Data, items: int, steps: int) -> None:
    """Require that names, groups, lengths, labels and texts fit the number of items."""
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
    """Return the fields that clips and rolls share, at the given indices."""
    indices = at.tolist()
    return {
        "ids": tuple(data.ids[i] for i in indices),
        "groups": tuple(data.groups[i] for i in indices),
        "lengths": data.lengths[at],
        "labels": None if data.labels is None else data.labels[at],
        "texts": tuple(data.texts[i] for i in indices) if data.texts else (),
    }


def _first(ids: tuple[str, ...], bad: Tensor) -> str:
    """Return the id of the first item that is marked; "" for none."""
    return ids[int(bad.nonzero()[0, 0])] if bad.any() else ""
