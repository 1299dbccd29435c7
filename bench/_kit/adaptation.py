"""Checks of an adaptation: what `transform` and `augment` must keep, and that `train` trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
from bench._kit.device import elsewhere
from bench.api import Clips, Data, Epoch
from bench.errors import BenchError


def keeps_clips_whole(case: Case) -> None:
    """transform and augment: same rate and kind of data; ids (fewer, if it filters) keep their groups and labels."""
    data = sets.example(case.domain)
    for hook in ("transform", "augment"):
        changed = _hooked(case, hook, data)
        assert type(changed) is type(data), f"{hook} gave {type(changed).__name__}, expected {type(data).__name__}"
        index_of = {name: i for i, name in enumerate(data.ids)}
        unknown = [name for name in changed.ids if name not in index_of]
        assert not unknown, f"{hook} invented clip '{unknown[0]}'"
        expected = data.select([index_of[name] for name in changed.ids])
        same_set(expected, changed, leaving=("lengths", "texts"))


def adapted_clips_are_valid(case: Case) -> None:
    """What transform and augment give is in range, finite and silent in the padding, whatever they are given: one item,
    stereo, short, silent, full scale, unlabelled.
    """
    for name in sets.CASES:
        data = sets.example(case.domain, name)
        for hook in ("transform", "augment"):
            try:
                changed = _hooked(case, hook, data)
            except BenchError:
                if name != "unlabelled":
                    raise
                continue  # a refusal in one line
            if hook == "transform" or len(changed):
                valid(changed, f"{hook} of {name}")


def stays_aligned(case: Case) -> None:
    """transform keeps the sound in its place to one sample, unless `aligned = False`."""
    sweep = _sweep()
    changed = case.plugin.transform(sweep, Generator().manual_seed(0))
    assert changed.audio.shape[-1] == sweep.audio.shape[-1], "transform changed the length: declare aligned = False"
    spectra = [torch.fft.rfft(x.audio[0].mean(0), 2 * x.audio.shape[-1]) for x in (changed, sweep)]
    peak = int(torch.fft.irfft(spectra[0] * spectra[1].conj()).abs().argmax())
    lag = (peak + sweep.audio.shape[-1]) % (2 * sweep.audio.shape[-1]) - sweep.audio.shape[-1]
    assert abs(lag) <= 1, f"transform delays the sound by {lag} samples, expected at most 1: undo it"


def adapts_by_the_generator_alone(case: Case) -> None:
    """Same generator, same bits; global generators, the set handed in and the network are left alone."""
    data = sets.example(case.domain)
    for hook in ("transform", "augment"):
        with global_generators_unmoved(), offline():
            first = _hooked(case, hook, data)
        same_bits(sets.example(case.domain), data, f"{hook} changed the set that it was given")
        with global_generators_elsewhere():
            second = _hooked(case, hook, data)
        same_bits(first, second, f"{hook}: the same generator gave other bits")


def trains_a_model(case: Case) -> None:
    """train gives a model that the attacker can judge, better on clean data than the untrained one."""
    attacker, (train, validation, test) = sets.Reader(), sets.material(case.domain)
    lines: list[Epoch] = []
    with global_generators_unmoved(), offline():
        model = case.plugin.train(attacker, train, validation, Generator().manual_seed(0), log=lines.append)
    assert isinstance(model, nn.Module), f"train gave {type(model).__name__}, expected a torch.nn.Module"
    untrained = attacker.model(train, Generator().manual_seed(0))
    better(attacker.quality(model, test), attacker.quality(untrained, test), test)


def works_on_the_device_of_its_data(case: Case) -> None:
    """transform, augment and train make every tensor on their data's device: none is left on the processor."""
    data = sets.example(case.domain)
    for hook in ("transform", "augment"):
        with elsewhere(case.plugin, hook):
            _hooked(case, hook, data)
    if case.plugin.implements("train"):
        train, validation, _ = sets.material(case.domain)
        with elsewhere(case.plugin, "train"):
            case.plugin.train(
                sets.Reader(epochs=1), train, validation, Generator().manual_seed(0), log=lambda epoch: None
            )


def _hooked(case: Case, hook: str, data: Data) -> Data:
    """What a hook makes of a set; a hook that the plugin lacks does nothing. What is not installed cannot be tried."""
    inventory: Mapping[str, str] = case.plugin.inventory()
    if lost := [f"{thing} is not here: {loss}" for thing, loss in inventory.items() if loss]:
        raise Skipped(lost[0])
    change = case.plugin.transform if hook == "transform" else case.plugin.augment
    changed: Data = change(data, Generator().manual_seed(0))
    return changed


def _sweep() -> Clips:
    """Two seconds that are like themselves at no other place: a tone from 100 Hz to 7 kHz, rising exponentially."""
    time = torch.arange(32_000) / 16_000
    rate = torch.log(torch.tensor(70.0)) / 2
    phase = 2 * torch.pi * 100 * (torch.exp(rate * time) - 1) / rate
    return Clips.of((0.5 * torch.sin(phase))[None, None], 16_000)


CHECKS = (
    keeps_clips_whole,
    adapted_clips_are_valid,
    stays_aligned,
    adapts_by_the_generator_alone,
    trains_a_model,
    works_on_the_device_of_its_data,
)


def _is_aligned(case: Case) -> bool:
    return case.domain == "audio" and case.plugin.implements("transform") and case.plugin.aligned


ONLY_IF: dict[Function, Callable[[Case], bool]] = {
    stays_aligned: _is_aligned,
    trains_a_model: lambda case: case.plugin.implements("train"),
}
