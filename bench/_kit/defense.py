"""Checks of a defense: what it must preserve, where it may add noise, and what its result may depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, Tensor

from bench._kit import sets
from bench._kit.case import (
    Case,
    Function,
    Skipped,
    energy,
    global_generators_elsewhere,
    global_generators_unmoved,
    offline,
    same_bits,
    same_set,
    sounds,
    valid,
)
from bench._kit.device import require_data_device
from bench.api import Clips, Data, Defense, Knowledge
from bench.errors import BenchError
from bench.vocabulary import PerDomain


def declares_its_scope(case: Case) -> None:
    """`per` says what one perturbation is made for: tables rank clip, class and set apart."""
    if not any("per" in vars(cls) for cls in type(case.plugin).__mro__ if cls is not Defense):
        raise Skipped(
            'per is not declared, so tables rank it apart from all defenses that declare it: write per = "clip", '
            '"class" (it then gives the labels away) or "set"'
        )


def keeps_the_set(case: Case) -> None:
    """Ids, groups, labels, lengths and rate are unchanged; signals keep shape, type and device, and have no
    gradient.
    """
    clean, protected = _pair(case)
    same_set(clean, protected)
    for name, before, after in sounds(clean, protected):
        assert after.shape == before.shape, f"{name} has shape {tuple(after.shape)}, expected {tuple(before.shape)}"
        assert after.dtype == before.dtype, f"{name} is {after.dtype}, expected {before.dtype}"
        assert after.device == before.device, f"{name} is on {after.device}, expected {before.device}"
        assert not after.requires_grad, f"{name} requires a gradient, expected a detached tensor"


def stays_in_range(case: Case) -> None:
    """Samples are finite and within -1..1; velocities within 0..1, and an onset has a velocity."""
    valid(_pair(case)[1], "protected")


def leaves_the_padding_silent(case: Case) -> None:
    """Nothing sounds after a clip's length: noise there would mark the clip as protected without being counted as
    audible.
    """
    protected = _pair(case)[1]
    padding = protected.signal * ~protected.support
    assert not padding.any(), f"the padding has samples up to {float(padding.abs().max()):.2g}, expected silence"


def leaves_its_input_alone(case: Case) -> None:
    """The given set is not changed in place."""
    data = sets.example(case.domain)
    _protected(case, data)
    same_bits(sets.example(case.domain), data, "protect changed the set that it was given")


def same_seed_same_bits(case: Case) -> None:
    """The result depends on the given generator alone, not on the global ones."""
    first = _pair(case)[1]
    with global_generators_elsewhere():
        second = _protected(case, sets.example(case.domain))
    same_bits(first, second, "the same generator gave other bits")


def other_seed_other_bits(case: Case) -> None:
    """Another seed gives other noise, or the same if `deterministic = True`."""
    first = _pair(case)[1]
    second = _protected(case, sets.example(case.domain), seed=1)
    if case.plugin.deterministic or _does_nothing(case.plugin):
        same_bits(first, second, "another seed gave other bits, though it declares to be deterministic")
    else:
        equal = all(torch.equal(a, b) for _, a, b in sounds(first, second))
        assert not equal, "another seed gave the same bits: use the generator, or declare deterministic = True"


def leaves_global_generators_alone(case: Case) -> None:
    """The global random states of torch, NumPy and Python are unchanged."""
    with global_generators_unmoved():
        _protected(case, sets.example(case.domain))


def needs_no_network(case: Case) -> None:
    """The network is not used: weights and data are fetched beforehand, by a command of the user."""
    with offline():
        _protected(case, sets.example(case.domain))


def takes_one(case: Case) -> None:
    """A set of one clip is protected, such as a single recording of a musician."""
    _takes(case, "one")


def takes_stereo(case: Case) -> None:
    """Two channels at 44.1 kHz are protected; for rolls, a single track."""
    _takes(case, "stereo")


def takes_a_short_clip(case: Case) -> None:
    """A clip of a tenth of a second is protected; for rolls, one bar."""
    _takes(case, "short")


def takes_silence(case: Case) -> None:
    """A silent set is protected, without NaN."""
    _takes(case, "silent")


def takes_full_scale(case: Case) -> None:
    """A set that peaks at full scale, as mastered music does, is protected within -1..1."""
    _takes(case, "full scale")


def takes_unlabelled(case: Case) -> None:
    """A set without labels, such as a single file, is protected or refused by a `DataError` of one line."""
    try:
        _takes(case, "unlabelled")
    except BenchError as error:
        if "\n" in str(error):
            raise AssertionError(f"the refusal has several lines, expected one: {error}") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise AssertionError(
            f"{type(error).__name__}: {error}; data.labels is None: do without, or raise a bench.errors.DataError"
        ) from error


def stems_still_add_up(case: Case) -> None:
    """Stems that are returned add up to the protected recording; a defense may also drop them."""
    clean = sets.example(case.domain, "stems")
    protected = _protected(case, clean)
    assert isinstance(protected, Clips)
    same_set(clean, protected)
    valid(protected, "stems")
    if protected.stems is not None:
        difference = float((protected.stems.sum(1) - protected.audio).abs().max())
        assert difference < 1e-4, (
            f"the sum of the stems differs from the protected recording by {difference:.2g}, expected less than 1e-4"
        )


def depends_on_its_own_clip_only(case: Case) -> None:
    """A clip's noise does not depend on the other clips of the set, unless `joint = True`."""
    clean, protected = _pair(case)
    is_other = (torch.arange(len(clean)) > 0).view(-1, 1, 1, *[1] * (clean.signal.dim() - 3))
    changed = clean.with_signal(torch.where(is_other, clean.signal * 0.5, clean.signal))
    difference = (_protected(case, changed).signal[0] - protected.signal[0]).abs().max()
    assert difference < 1e-4, (
        f"the first clip changed by {float(difference):.2g} when only other clips were changed, expected no change: "
        "declare joint = True if that is meant"
    )


def keeps_each_clip_in_its_place(case: Case) -> None:
    """Every protected clip resembles its own clean clip more than any other: the order is unchanged."""
    clean, protected = _pair(case)
    similarity = _timbre(protected) @ _timbre(clean).T
    nearest = similarity.argmax(1)
    wrong = (nearest != torch.arange(len(clean))).nonzero().flatten().tolist()
    assert not wrong, (
        f"protected clip {wrong[0]} is most similar to clean clip {int(nearest[wrong[0]])}, expected its own"
    )


def stays_within_epsilon(case: Case) -> None:
    """|noise| <= epsilon everywhere, for a defense with a parameter of that name."""
    epsilon = case.plugin.epsilon
    clean, protected = _pair(case)
    loudest = float((protected.signal - clean.signal).abs().max())
    assert loudest <= epsilon + 1e-6, f"noise of up to {loudest:.6g}, expected at most epsilon = {epsilon}"


def changes_what_an_attacker_reads(case: Case) -> None:
    """Every clip is changed; the clean control changes none."""
    clean, protected = _pair(case)
    changed = torch.stack([(a != b).flatten(1).any(1) for _, a, b in sounds(clean, protected)]).any(0)
    if _does_nothing(case.plugin):
        assert not changed.any(), "control = 'clean', but it changes the data: expected none changed"
    else:
        unchanged = [clean.ids[i] for i in (~changed).nonzero().flatten().tolist()]
        assert not unchanged, f"clip '{unchanged[0]}' is unchanged, expected every clip to be changed"


def matches_its_reference(case: Case) -> None:
    """A matched control has the signal-to-noise ratio of its reference, clip by clip, within 0.5 dB; so has a defense
    with the parameters that it declares as `unoptimised`.
    """
    clean = sets.example(case.domain)
    control = replace(case.plugin, **case.plugin.unoptimised.get(case.domain, {}))
    protected = _protected(replace(case, plugin=control), clean)
    decibels = [10 * torch.log10(energy(x.signal - clean.signal)) for x in (_reference(clean), protected)]
    difference = float((decibels[0] - decibels[1]).abs().max())
    assert difference <= 0.5, f"its noise differs by {difference:.2f} dB from the reference's, expected at most 0.5"


def _protected(case: Case, data: Data, seed: int = 0) -> Data:
    """Protect a set, with all the knowledge that a defense may get."""
    knowledge = Knowledge("white-box", surrogates=(sets.Reader(),), reference=_reference(data))
    protected: Data = case.plugin.protect(data, knowledge, Generator().manual_seed(seed))
    return protected


def _pair(case: Case) -> tuple[Data, Data]:
    """Return the example set and its protected version."""
    protected = case.cached("protected", lambda: _protected(case, sets.example(case.domain)))
    return sets.example(case.domain), protected


def _takes(case: Case, name: str) -> None:
    clean = sets.example(case.domain, name)
    protected = _protected(case, clean)
    same_set(clean, protected)
    shape, expected = tuple(protected.signal.shape), tuple(clean.signal.shape)
    assert shape == expected, f"the protected set has shape {shape}, expected {expected}"
    valid(protected, name)


def _does_nothing(plugin: Defense[Any]) -> bool:
    return plugin.control.is_clean


def _reference(data: Data) -> Data:
    """Return a protected set as the reference of matched controls: clips at some 20 dB, rolls with softer notes."""
    wave = (
        torch.linspace(0, 997.0, data.signal.shape[2], device=data.device)
        .sin()
        .view(1, 1, -1, *[1] * (data.signal.dim() - 3))
    )
    return data.with_signal(data.signal * (0.85 + 0.1 * wave))


def _timbre(data: Data) -> Tensor:
    """Return a unit vector of each item's overall timbre, [item, feature], insensitive to noise and time shifts."""
    feature = _TIMBRE.of(data)(data)
    return torch.nn.functional.normalize(feature - feature.mean(0), dim=1)


_TIMBRE: PerDomain[Callable[[Any], Tensor]] = PerDomain(
    audio=lambda clips: torch.fft.rfft(clips.audio.mean(1)).abs(), midi=lambda rolls: rolls.velocity.sum((1, 2))
)


def works_on_the_device_of_its_data(case: Case) -> None:
    """protect creates every tensor on its data's device, none on the processor by default."""
    for name in ("several", "stems") if case.domain == "audio" else ("several",):
        data = sets.example(case.domain, name)
        with require_data_device(case.plugin, "protect"):
            _protected(case, data)


CHECKS = (
    declares_its_scope,
    keeps_the_set,
    stays_in_range,
    leaves_the_padding_silent,
    leaves_its_input_alone,
    same_seed_same_bits,
    other_seed_other_bits,
    leaves_global_generators_alone,
    needs_no_network,
    takes_one,
    takes_stereo,
    takes_a_short_clip,
    takes_silence,
    takes_full_scale,
    takes_unlabelled,
    stems_still_add_up,
    depends_on_its_own_clip_only,
    keeps_each_clip_in_its_place,
    stays_within_epsilon,
    changes_what_an_attacker_reads,
    matches_its_reference,
    works_on_the_device_of_its_data,
)
ONLY_IF: dict[Function, Callable[[Case], bool]] = {
    declares_its_scope: lambda case: case.domain == "audio" and not case.plugin.control,
    stems_still_add_up: lambda case: case.domain == "audio",
    depends_on_its_own_clip_only: lambda case: not case.plugin.joint,
    stays_within_epsilon: lambda case: case.plugin.epsilon is not None,
    matches_its_reference: lambda case: (
        case.domain == "audio" and (case.plugin.control.is_matched or case.domain in case.plugin.unoptimised)
    ),
}
