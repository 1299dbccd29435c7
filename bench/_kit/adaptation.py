"""Checks of an adaptation: what `transform` and `augment` must preserve, and that `train` trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Generator, nn

from bench._kit import sets
from bench._kit.case import (
    Case,
    Function,
    Skipped,
    better,
    global_generators_elsewhere,
    global_generators_unmoved,
    offline,
    same_bits,
    same_set,
    valid,
)
from bench._kit.device import require_data_device
from bench.api import Clips, Data, Epoch, Log
from bench.errors import BenchError


def keeps_clips_whole(case: Case) -> None:
    """transform and augment keep the rate and kind of data; ids (fewer, if it filters) keep their groups and labels."""
    data = sets.example(case.domain)
    for hook in _hooks(case):
        changed = _hooked(case, hook, data)
        assert type(changed) is type(data), f"{hook} gave {type(changed).__name__}, expected {type(data).__name__}"
        index_of = {name: i for i, name in enumerate(data.ids)}
        unknown = [name for name in changed.ids if name not in index_of]
        assert not unknown, f"{hook} returned clip '{unknown[0]}', which the set that it was given does not have"
        expected = data.select([index_of[name] for name in changed.ids])
        same_set(expected, changed, leaving=("lengths", "texts"))


def adapted_clips_are_valid(case: Case) -> None:
    """transform and augment return data in range, finite and silent in the padding, for one item, stereo, short,
    silent, full-scale and unlabelled sets.
    """
    for name in sets.CASES:
        _valid_of(case, name)


def _valid_of(case: Case, name: str) -> None:
    """Check what the hooks make of one example set."""
    data = sets.example(case.domain, name)
    for hook in _hooks(case):
        try:
            changed = _hooked(case, hook, data)
        except BenchError:
            if name != "unlabelled":
                raise
            continue  # a refusal in one line
        if hook != "augment" or len(changed):
            valid(changed, f"{hook} of {name}")


def stays_aligned(case: Case) -> None:
    """transform does not delay the sound by more than one sample, unless `aligned = False`."""
    sweep = _sweep()
    changed: Any = _hooked(case, _hooks(case)[0], sweep)
    assert changed.audio.shape[-1] == sweep.audio.shape[-1], "transform changed the length: declare aligned = False"
    spectra = [torch.fft.rfft(x.audio[0].mean(0), 2 * x.audio.shape[-1]) for x in (changed, sweep)]
    peak = int(torch.fft.irfft(spectra[0] * spectra[1].conj()).abs().argmax())
    lag = (peak + sweep.audio.shape[-1]) % (2 * sweep.audio.shape[-1]) - sweep.audio.shape[-1]
    assert abs(lag) <= 1, (
        f"transform delays the sound by {lag} samples, expected at most 1: undo it, or declare aligned = False"
    )


def adapts_by_the_generator_alone(case: Case) -> None:
    """The same generator gives the same bits; global generators, the input set and the network are not used or
    changed.
    """
    data = sets.example(case.domain)
    for hook in _hooks(case):
        with global_generators_unmoved(), offline():
            first = _hooked(case, hook, data)
        same_bits(sets.example(case.domain), data, f"{hook} changed the set that it was given")
        with global_generators_elsewhere():
            second = _hooked(case, hook, data)
        same_bits(first, second, f"{hook}: the same generator gave other bits")


def trains_a_model(case: Case) -> None:
    """train returns a model that the attacker can evaluate, and that is better on clean data than the untrained one."""
    attacker, (train, validation, test) = sets.Reader(), sets.material(case.domain)
    lines: list[Epoch] = []
    with global_generators_unmoved(), offline():
        model = _trained(case, attacker, train, validation, lines.append)
    assert isinstance(model, nn.Module), f"train gave {type(model).__name__}, expected a torch.nn.Module"
    untrained = attacker.model(train, Generator().manual_seed(0))
    better(attacker.quality(model, test), attacker.quality(untrained, test), test)


def works_on_the_device_of_its_data(case: Case) -> None:
    """transform, augment and train create every tensor on their data's device, none on the processor by default."""
    data = sets.example(case.domain)
    for hook in _hooks(case):
        with require_data_device(case.plugin, hook):
            _hooked(case, hook, data)
    if hook := next(filter(case.plugin.implements, ("train_with_granted", "train")), ""):
        train, validation, _ = sets.material(case.domain)
        with require_data_device(case.plugin, hook):
            _trained(case, sets.Reader(epochs=1), train, validation, lambda epoch: None)


def both_ends_of_its_sweep_work(case: Case) -> None:
    """The parameter that `sweep` names takes the weakest and the strongest value, and a set is changed with either."""
    parameter, *ends = case.plugin.sweep
    fields = {field.name: field.type for field in dataclasses.fields(case.plugin)}
    assert parameter in fields, f"sweep names '{parameter}', expected one of {', '.join(fields)}"
    assert ends[0] != ends[1], f"sweep goes from {ends[0]} to {ends[1]}, expected two values"
    for value in ends:
        changed = replace(case, plugin=dataclasses.replace(case.plugin, **{parameter: value}))
        _valid_of(changed, "several")


def _trained(case: Case, attacker: Any, train: Data, validation: Data, log: Log) -> nn.Module:
    """What `train` gives; or `train_with_granted`, of which half of the training set are the granted items."""
    rng = Generator().manual_seed(0)
    if not case.plugin.implements("train_with_granted"):
        trained: nn.Module = case.plugin.train(attacker, train, validation, rng, log=log)
        return trained
    items = range(len(train))
    published, granted = train.select(items[::2]), train.select(items[1::2])
    model: nn.Module = case.plugin.train_with_granted(attacker, published, granted, validation, rng, log=log)
    return model


def _hooked(case: Case, hook: str, data: Data) -> Data:
    """Apply a hook to a set. Skip the check if an optional package or file is missing."""
    inventory: Mapping[str, str] = case.plugin.inventory()
    if missing := [f"{thing} is not here: {loss}" for thing, loss in inventory.items() if loss]:
        raise Skipped(missing[0])
    rng = Generator().manual_seed(0)
    if hook == "transform_with_pairs":
        with_pairs: Data = case.plugin.transform_with_pairs(data, data, _softened(data), rng)
        return with_pairs
    changed: Data = getattr(case.plugin, hook)(data, rng)
    return changed


def _hooks(case: Case) -> tuple[str, str]:
    """The hooks that change sets."""
    return ("transform_with_pairs" if case.plugin.implements("transform_with_pairs") else "transform"), "augment"


def _softened(data: Data) -> Data:
    """Return what a defense might make of a set: a little softer, and a tenth of the levels in coarse steps."""
    signal = data.signal
    return data.with_signal(0.9 * signal + 0.1 * (signal * 16).round() / 16)


def _sweep() -> Clips:
    """Return two seconds of a tone that rises exponentially from 100 Hz to 7 kHz: its autocorrelation has one sharp
    peak.
    """
    time = torch.arange(32_000) / 16_000
    rate = torch.log(torch.tensor(70.0)) / 2
    phase = 2 * torch.pi * 100 * (torch.exp(rate * time) - 1) / rate
    label = torch.zeros(1, dtype=torch.int64)  # for those that require one
    return Clips.of((0.5 * torch.sin(phase))[None, None], 16_000, labels=label, classes=("sweep",))


CHECKS = (
    keeps_clips_whole,
    adapted_clips_are_valid,
    stays_aligned,
    adapts_by_the_generator_alone,
    trains_a_model,
    works_on_the_device_of_its_data,
    both_ends_of_its_sweep_work,
)


def _is_aligned(case: Case) -> bool:
    changes = case.plugin.implements("transform") or case.plugin.implements("transform_with_pairs")
    return case.domain == "audio" and changes and case.plugin.aligned


ONLY_IF: dict[Function, Callable[[Case], bool]] = {
    both_ends_of_its_sweep_work: lambda case: case.plugin.sweep is not None,
    stays_aligned: _is_aligned,
    trains_a_model: lambda case: case.plugin.implements("train") or case.plugin.implements("train_with_granted"),
}
