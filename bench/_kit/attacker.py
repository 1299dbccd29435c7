"""Checks of an attacker: a model, a loss to descend, a training that learns clean data and repeats itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy
import torch
from torch import Generator, nn

from bench import plugins
from bench._kit import sets
from bench._kit.case import (
    Case,
    Function,
    Skipped,
    better,
    global_generators_elsewhere,
    global_generators_unmoved,
    offline,
    valid,
)
from bench._kit.device import elsewhere
from bench.api import Data, Epoch, ValidityCheck
from bench.errors import BenchError
from bench.metrics.learning import view_change


def makes_a_model(case: Case) -> None:
    """model gives a module with parameters to train; the same generator gives the same weights."""
    model, again = _model(case), case.plugin.model(_few(case), Generator().manual_seed(0))
    assert isinstance(model, nn.Module), f"model gave {type(model).__name__}, expected a torch.nn.Module"
    assert any(p.requires_grad for p in model.parameters()), "the model has no parameter that requires a gradient"
    for (name, a), (_, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(a, b), f"the same generator gave other weights in '{name}'"


def loss_is_one_number_an_item(case: Case) -> None:
    """loss gives [item], finite."""
    few = _few(case)
    loss = case.plugin.loss(_model(case), few)
    assert loss.shape == (len(few),), f"loss has shape {tuple(loss.shape)}, expected ({len(few)},)"
    assert loss.isfinite().all(), f"loss is {loss.tolist()}, expected finite numbers"


def loss_can_be_descended(case: Case) -> None:
    """loss is differentiable in the batch's audio or velocity, for every item: what surrogate-based defenses need.

    An attacker whose view holds no velocities has nothing to descend.
    """
    few = _few(case)
    if not _reads_loudness(case):
        raise Skipped("it reads neither audio nor velocities, as its view shows: there is nothing to descend")
    given = few.signal.clone().requires_grad_()
    (slope,) = torch.autograd.grad(case.plugin.loss(_model(case), few.with_signal(given)).sum(), given)
    assert slope.isfinite().all(), "the gradient holds NaN or infinity"
    flat = [few.ids[i] for i in (slope.flatten(1).abs().amax(1) == 0).nonzero().flatten().tolist()]
    assert not flat, f"the gradient of item '{flat[0]}' is zero everywhere: the loss does not read it"


def builds_by_the_generator_alone(case: Case) -> None:
    """model and loss leave the global generators and the network alone."""
    few = _few(case)
    _model(case)
    with global_generators_unmoved(), offline():
        case.plugin.loss(case.plugin.model(few, Generator().manual_seed(0)).eval(), few)


def quality_is_one_number_an_item(case: Case) -> None:
    """quality gives named metrics, each [item] and finite."""
    few = _few(case)
    quality = case.plugin.quality(_model(case), few)
    assert quality, "quality names no metric"
    for name, values in quality.items():
        assert values.shape == (len(few),), f"{name} has shape {tuple(values.shape)}, expected ({len(few)},)"
        assert values.isfinite().all(), f"{name} is {values.tolist()}, expected finite numbers"


def learns_clean_data(case: Case) -> None:
    """Training on clean data raises the scored quality on held-out data by more than 3 standard errors.

    Without this positive control "unlearnable" means nothing.
    """
    train, _, test = _material(case)
    untrained = case.plugin.quality(_untrained(case, train), test)
    better(case.plugin.quality(_trained(case)[0], test), untrained, test)


def learns_the_same_from_the_same_seed(case: Case) -> None:
    """Two trainings with the same generator give the same quality, whatever the global generators are at."""
    test = _material(case)[2]
    first = case.plugin.quality(_trained(case)[0], test)
    second = case.plugin.quality(_trained_again(case), test)
    for name, values in first.items():
        assert torch.allclose(values, second[name], atol=1e-5), f"'{name}' differs between two trainings of one seed"


def learns_on_the_device_of_its_data(case: Case) -> None:
    """learn makes every tensor on its data's device: none is left on the processor when the data is elsewhere."""
    _trained_again(case)


def works_on_the_device_of_its_data(case: Case) -> None:
    """model, loss and its gradient, quality, prior, view and generate make every tensor on their data's device."""
    plugin, few, model = case.plugin, _few(case), _model(case)

    def descend() -> None:
        given = few.signal.clone().requires_grad_()
        loss = plugin.loss(model, few.with_signal(given)).sum()
        if loss.requires_grad:
            torch.autograd.grad(loss, given, allow_unused=True)

    def rng() -> Generator:
        return Generator().manual_seed(0)

    calls: dict[str, Callable[[], Any]] = {
        "model": lambda: plugin.model(few, rng()),
        "loss": descend,
        "quality": lambda: plugin.quality(model, few),
        "view": lambda: plugin.view(few),
        "prior": lambda: plugin.prior(plugin.model(few, rng()), few),
        "generate": lambda: plugin.generate(model, few, rng()),
    }
    for name, call in calls.items():
        if name in ("model", "loss", "quality") or plugin.implements(name):
            with elsewhere(plugin, name):
                call()
    moved: list[Any] = []
    real = nn.Module.to

    def moves(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        moved.append((args, kwargs))
        return real(network, *args, **kwargs)

    with mock.patch.object(nn.Module, "to", moves):
        plugin.model(few, rng())
    assert any(few.device in (*args, *kwargs.values()) for args, kwargs in moved), (
        "model never moves its network to the data's device: .to(like.device)"
    )


def logs_its_training(case: Case) -> None:
    """log is called with an `Epoch` of finite numbers."""
    lines = _trained(case)[1]
    assert lines, "log was never called, expected a call an epoch"
    strange = [line for line in lines if not isinstance(line, Epoch)]
    assert not strange, f"log was given {type(strange[0]).__name__}, expected bench.api.Epoch(step, loss, validation)"
    numbers = [value for line in lines for value in line.numbers().values()]
    assert numpy.isfinite(numbers).all(), f"log was given {numbers}, expected finite numbers"


def takes_as_many_steps_of_a_part(case: Case) -> None:
    """learn takes as many optimiser steps of a part of a set as of the whole: it counts `epoch_items`, not items."""
    train = _material(case)[0]
    part = dataclasses.replace(train.select(range((len(train) + 1) // 2)), whole=len(train))
    steps = [_trained(case)[2], _learnt(case, part)[2]]
    if not any(steps):
        raise Skipped("it uses no optimiser of torch, whose steps could be counted")
    assert steps[0] == steps[1], (
        f"{steps[0]} steps of {len(train)} items, {steps[1]} of {len(part)} of them: an epoch has `train.epoch_items`"
    )


def augments_each_batch(case: Case) -> None:
    """learn calls `augment` with a batch of items, the generator and the model, so that adaptations reach it."""

    def augment(batch: Data, rng: Generator, model: nn.Module) -> Data:
        raise _Reached(batch, rng, model)

    train, validation, _ = _material(case)
    _model(case)
    try:
        case.plugin.learn(train, validation, Generator().manual_seed(0), augment=augment)
    except _Reached as call:
        batch, rng, model = call.args
        assert type(batch) is type(train), f"augment was given {type(batch).__name__}, expected {type(train).__name__}"
        assert isinstance(rng, Generator), f"augment was given {type(rng).__name__}, expected the generator"
        assert isinstance(model, nn.Module), f"augment was given {type(model).__name__}, expected the model"
    else:
        raise AssertionError("learn never called the augment that it was given: adaptations could not reach it")


def generates(case: Case) -> None:
    """generate gives valid new data, as many items as asked for."""
    few = _few(case)
    samples = case.plugin.generate(_trained(case)[0], few, Generator().manual_seed(0))
    assert len(samples) == len(few), f"{len(samples)} items for {len(few)}"
    valid(samples, "generated")


def names_its_validity_checks(case: Case) -> None:
    """validity gives `ValidityCheck`s for the two arms' mean qualities, and clean data passes them."""
    train, _, test = _material(case)
    models = (_trained(case)[0], _untrained(case, train))
    means = [{name: float(v.mean()) for name, v in case.plugin.quality(model, test).items()} for model in models]
    for check in case.plugin.validity(*means):
        assert isinstance(check, ValidityCheck), f"validity gave {type(check).__name__}, expected ValidityCheck"
        assert check.passed, f"clean data fails '{check.name}': {check.value:.4g}, limit {check.limit:.4g}"


def views_what_it_reads(case: Case) -> None:
    """view gives int64 rows, the item first; the same set gives the same rows, and half of it those of that half."""
    few = _few(case)
    rows = case.plugin.view(few)
    assert rows.dtype == torch.int64, f"view gave {rows.dtype}, expected torch.int64"
    assert rows.dim() == 2, f"view has shape {tuple(rows.shape)}, expected [element, 1 + field]"
    items = rows[:, 0].unique().tolist()
    assert items == list(range(len(few))), f"the first column names items {items}, expected 0..{len(few) - 1}"
    first = case.plugin.view(few.select([0]))
    assert view_change(rows[rows[:, 0] == 0], first, 1).item() == 0.0, "an item alone is read in another way"


class _Reached(Exception):
    """Ends a training at the first batch that is augmented."""


def _untrained(case: Case, train: Data) -> nn.Module:
    """The untrained arm of the score: the model as it comes, or what counting symbols makes of it."""
    model: nn.Module = case.plugin.model(train, Generator().manual_seed(0))
    if case.plugin.implements("prior"):
        case.plugin.prior(model, train)
    return model


def _material(case: Case) -> tuple[Data, Data, Data]:
    """Train, validation and test set: of the data set that the attacker names, or made by code."""
    return case.once("material", lambda: _loaded(case))  # type: ignore[no-any-return]


def _loaded(case: Case) -> tuple[Data, Data, Data]:
    name = case.plugin.dataset
    if not name:
        return sets.material(case.domain)
    fields = {item.name for item in dataclasses.fields(plugins.load("datasets", name))}
    given = {"domain": case.domain} if "domain" in fields else {}
    dataset = plugins.build("datasets", name, given, preset="smoke")
    try:
        return dataset.load("train"), dataset.load("validation"), dataset.load("test")
    except BenchError as error:
        raise Skipped(f"its data set '{name}' is not here: {error}") from error


def _few(case: Case) -> Data:
    train = _material(case)[0]
    return train.select(range(min(4, len(train))))


def _model(case: Case) -> nn.Module:
    """The untrained model, without dropout."""
    return case.once("model", lambda: _made(case)).eval()  # type: ignore[no-any-return]


def _made(case: Case) -> nn.Module:
    try:
        return case.plugin.model(_few(case), Generator().manual_seed(0))  # type: ignore[no-any-return]
    except BenchError as error:
        raise Skipped(f"its model cannot be made here: {error}") from error


def _trained(case: Case) -> tuple[nn.Module, list[Epoch], int]:
    _model(case)
    return case.once("trained", lambda: _learnt(case))  # type: ignore[no-any-return]


def _trained_again(case: Case) -> nn.Module:
    """A second training by the same generator, all else elsewhere: global generators, the network, the device."""

    def learn() -> nn.Module:
        with global_generators_elsewhere(), global_generators_unmoved(), offline(), elsewhere(case.plugin, "learn"):
            return _learnt(case)[0]  # type: ignore[no-any-return]

    _model(case)
    return case.once("trained again", learn)  # type: ignore[no-any-return]


def _learnt(case: Case, train: Data | None = None) -> tuple[Any, list[Epoch], int]:
    """A training: the model, what it logged, and how many steps optimisers took."""
    from torch.optim import optimizer

    lines: list[Epoch] = []
    steps: list[Any] = []
    whole, validation, _ = _material(case)
    handle = optimizer.register_optimizer_step_post_hook(lambda *given: steps.append(None))
    try:
        model = case.plugin.learn(train or whole, validation, Generator().manual_seed(0), log=lines.append)
    finally:
        handle.remove()
    return model, lines, len(steps)


SLOW = (
    learns_clean_data,
    learns_the_same_from_the_same_seed,
    learns_on_the_device_of_its_data,
    logs_its_training,
    takes_as_many_steps_of_a_part,
    augments_each_batch,
    generates,
    names_its_validity_checks,
)
CHECKS = (
    makes_a_model,
    loss_is_one_number_an_item,
    loss_can_be_descended,
    builds_by_the_generator_alone,
    quality_is_one_number_an_item,
    works_on_the_device_of_its_data,
    *SLOW,
    views_what_it_reads,
)


def _reads_loudness(case: Case) -> bool:
    """Whether what the attacker says it reads depends on how loud it is."""
    few = _few(case)
    if not case.plugin.implements("view"):
        return True
    return not torch.equal(case.plugin.view(few), case.plugin.view(few.with_signal(few.signal * 0.5)))


ONLY_IF: dict[Function, Callable[[Case], bool]] = {
    takes_as_many_steps_of_a_part: lambda case: case.plugin.epochs is not None,
    generates: lambda case: case.plugin.implements("generate"),
    names_its_validity_checks: lambda case: case.plugin.implements("validity"),
    views_what_it_reads: lambda case: case.plugin.implements("view"),
}
