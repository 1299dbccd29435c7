"""Checks of a defense: what it must keep, where its noise must not be, and what it may depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from bench._kit import sets
from bench._kit.case import (
    Case,
    Function,
    energy,
    global_generators_elsewhere,
    global_generators_unmoved,
    offline,
    same_bits,
    same_set,
    sounds,
    valid,
)
from bench._kit.device import elsewhere
from bench.api import Clips, Data, Defense, Knowledge
from bench.errors import BenchError
from bench.vocabulary import PerDomain


def keeps_the_set(case: Case) -> None:
    """Same ids, groups, labels, lengths and rate; same shape, type and device; detached from any graph."""
    clean, protected = _pair(case)
    same_set(clean, protected)
    for name, before, after in sounds(clean, protected):
        assert after.shape == before.shape, f"{name} has shape {tuple(after.shape)}, expected {tuple(before.shape)}"
        assert after.dtype == before.dtype, f"{name} is {after.dtype}, expected {before.dtype}"
        assert after.device == before.device, f"{name} is on {after.device}, expected {before.device}"
        assert not after.requires_grad, f"{name} still requires a gradient, expected it detached"


def stays_in_range(case: Case) -> None:
    """Samples are finite and within -1..1; velocities within 0..1, and an onset has a velocity."""
    valid(_pair(case)[1], "protected")


def leaves_the_padding_silent(case: Case) -> None:
    """Nothing sounds after a clip's length: noise there would give the clip away and cost no audibility."""
    protected = _pair(case)[1]
    outside = protected.signal * ~protected.support
    assert not outside.any(), f"up to {float(outside.abs().max()):.2g} in the padding, expected silence"


def leaves_its_input_alone(case: Case) -> None:
    """The set that is handed in is not changed in place."""
    data = sets.example(case.domain)
    _protected(case, data)
    same_bits(sets.example(case.domain), data, "protect changed the set that it was given")


def same_seed_same_bits(case: Case) -> None:
    """The generator handed in is the only source of randomness: whatever the global ones are at."""
    first = _pair(case)[1]
    with global_generators_elsewhere():
        second = _protected(case, sets.example(case.domain))
    same_bits(first, second, "the same generator gave other bits")


def other_seed_other_bits(case: Case) -> None:
    """Another seed gives other noise, unless `deterministic = True`, which says that it gives the same."""
    first = _pair(case)[1]
    second = _protected(case, sets.example(case.domain), seed=1)
    if case.plugin.deterministic or _does_nothing(case.plugin):
        same_bits(first, second, "another seed gave other bits, though it declares to be deterministic")
    else:
        equal = all(torch.equal(a, b) for _, a, b in sounds(first, second))
        assert not equal, "another seed gave the same bits: use the generator, or declare deterministic = True"


def leaves_global_generators_alone(case: Case) -> None:
    """torch's, NumPy's and Python's global random states are the same before and after."""
    with global_generators_unmoved():
        _protected(case, sets.example(case.domain))


def needs_no_network(case: Case) -> None:
    """Nothing is asked of the network: weights and data are fetched beforehand, by the user's command."""
    with offline():
        _protected(case, sets.example(case.domain))


def takes_one(case: Case) -> None:
    """A set of one clip is protected: a lone musician has no more."""
    _takes(case, "one")


def takes_stereo(case: Case) -> None:
    """Two channels at 44.1 kHz are protected; of rolls, a single track."""
    _takes(case, "stereo")


def takes_a_short_clip(case: Case) -> None:
    """A tenth of a second is protected; of rolls, one bar."""
    _takes(case, "short")


def takes_silence(case: Case) -> None:
    """A set without a sound is protected, without NaN."""
    _takes(case, "silent")


def takes_full_scale(case: Case) -> None:
    """A set that peaks at full scale is protected within -1..1: mastered music does."""
    _takes(case, "full scale")


def takes_unlabelled(case: Case) -> None:
    """A set without labels is protected, or refused by a `DataError` of one line: a lone file has none."""
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
    """Stems that come back add up to the protected recording; a defense may also drop them."""
    clean = sets.example(case.domain, "stems")
    protected = _protected(case, clean)
    assert isinstance(protected, Clips)
    same_set(clean, protected)
    valid(protected, "stems")
    if protected.stems is not None:
        apart = float((protected.stems.sum(1) - protected.audio).abs().max())
        assert apart < 1e-4, f"the stems add up to something {apart:.2g} away from the protected recording"


def depends_on_its_own_clip_only(case: Case) -> None:
    """A clip's noise is the same beside other clips, unless `joint = True`."""
    clean, protected = _pair(case)
    others = (torch.arange(len(clean)) > 0).view(-1, 1, 1, *[1] * (clean.signal.dim() - 3))
    changed = clean.with_signal(torch.where(others, clean.signal * 0.5, clean.signal))
    apart = (_protected(case, changed).signal[0] - protected.signal[0]).abs().max()
    assert apart < 1e-4, f"the first clip came out {float(apart):.2g} apart when only the other clips were changed"


def keeps_each_clip_in_its_place(case: Case) -> None:
    """Every protected clip is more like its own clean clip than like any other: nothing was shuffled on the way."""
    clean, protected = _pair(case)
    likeness = _timbre(protected) @ _timbre(clean).T
    nearest = likeness.argmax(1)
    wrong = (nearest != torch.arange(len(clean))).nonzero().flatten().tolist()
    assert not wrong, f"protected clip {wrong[0]} is most like clean clip {int(nearest[wrong[0]])}"


def stays_within_epsilon(case: Case) -> None:
    """|noise| <= epsilon everywhere: a parameter of that name is a promise."""
    epsilon = case.plugin.epsilon
    clean, protected = _pair(case)
    loudest = float((protected.signal - clean.signal).abs().max())
    assert loudest <= epsilon + 1e-6, f"noise of up to {loudest:.6g}, expected at most epsilon = {epsilon}"


def changes_what_an_attacker_reads(case: Case) -> None:
    """The noise is not nothing, in any clip; the clean control changes nothing at all."""
    clean, protected = _pair(case)
    changed = torch.stack([(a != b).flatten(1).any(1) for _, a, b in sounds(clean, protected)]).any(0)
    if _does_nothing(case.plugin):
        assert not changed.any(), "control = 'clean', yet it changes the data"
    else:
        still = [clean.ids[i] for i in (~changed).nonzero().flatten().tolist()]
        assert not still, f"clip '{still[0]}' came back as it was: an attacker reads the same"


def matches_its_reference(case: Case) -> None:
    """A matched control has its reference's signal-to-noise ratio, clip by clip, within 0.5 dB."""
    clean, protected = _pair(case)
    decibels = [10 * torch.log10(energy(x.signal - clean.signal)) for x in (_reference(clean), protected)]
    apart = float((decibels[0] - decibels[1]).abs().max())
    assert apart <= 0.5, f"its noise is {apart:.2f} dB away from the reference's, expected at most 0.5"


def _protected(case: Case, data: Data, seed: int = 0) -> Data:
    """What the defense makes of a set, with all the knowledge that a defense may be handed."""
    knowledge = Knowledge("white-box", surrogates=(sets.Reader(),), reference=_reference(data))
    protected: Data = case.plugin.protect(data, knowledge, Generator().manual_seed(seed))
    return protected


def _pair(case: Case) -> tuple[Data, Data]:
    """The example set, and what the defense makes of it."""
    protected = case.once("protected", lambda: _protected(case, sets.example(case.domain)))
    return sets.example(case.domain), protected


def _takes(case: Case, name: str) -> None:
    clean = sets.example(case.domain, name)
    protected = _protected(case, clean)
    same_set(clean, protected)
    assert protected.signal.shape == clean.signal.shape, f"gave shape {tuple(protected.signal.shape)}"
    valid(protected, name)


def _does_nothing(plugin: Defense[Any]) -> bool:
    return plugin.control.is_clean


def _reference(data: Data) -> Data:
    """A protected set for matched controls to be as audible as: clips at some 20 dB, rolls with softer notes."""
    wave = (
        torch.linspace(0, 997.0, data.signal.shape[2], device=data.device)
        .sin()
        .view(1, 1, -1, *[1] * (data.signal.dim() - 3))
    )
    return data.with_signal(data.signal * (0.85 + 0.1 * wave))


def _timbre(data: Data) -> Tensor:
    """[item, feature], unit length: what an item sounds like on the whole, whatever was added or moved about in it."""
    feature = _TIMBRE.of(data)(data)
    return torch.nn.functional.normalize(feature - feature.mean(0), dim=1)


_TIMBRE: PerDomain[Callable[[Any], Tensor]] = PerDomain(
    audio=lambda clips: torch.fft.rfft(clips.audio.mean(1)).abs(), midi=lambda rolls: rolls.velocity.sum((1, 2))
)


def works_on_the_device_of_its_data(case: Case) -> None:
    """protect makes every tensor on its data's device: none is left on the processor when the data is elsewhere."""
    for name in ("several", "stems") if case.domain == "audio" else ("several",):
        data = sets.example(case.domain, name)
        with elsewhere(case.plugin, "protect"):
            _protected(case, data)


CHECKS = (
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
    stems_still_add_up: lambda case: case.domain == "audio",
    depends_on_its_own_clip_only: lambda case: not case.plugin.joint,
    stays_within_epsilon: lambda case: case.plugin.epsilon is not None,
    matches_its_reference: lambda case: case.domain == "audio" and case.plugin.control.is_matched,
}
