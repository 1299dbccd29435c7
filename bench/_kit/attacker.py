"""Checks of an attacker: its model, its loss, and that its training learns clean data reproducibly."""

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
from bench._kit.device import require_data_device
from bench.api import Data, Epoch, ValidityCheck
from bench.errors import BenchError
from bench.metrics.learning import view_change
from bench.trials.memorising import halves


def makes_a_model(case: Case) -> None:
    """model gives a module with parameters to train; the same generator gives the same weights."""
    model, second_model = _model(case), case.plugin.model(_few(case), Generator().manual_seed(0))
    assert isinstance(model, nn.Module), f"model gave {type(model).__name__}, expected a torch.nn.Module"
    assert any(p.requires_grad for p in model.parameters()), "the model has no parameter that requires a gradient"
    for (name, a), (_, b) in zip(model.state_dict().items(), second_model.state_dict().items(), strict=True):
        assert torch.equal(a, b), f"the same generator gave other weights in '{name}'"


def loss_is_one_number_an_item(case: Case) -> None:
    """loss returns [item], finite."""
    few = _few(case)
    loss = case.plugin.loss(_model(case), few)
    assert loss.shape == (len(few),), f"loss has shape {tuple(loss.shape)}, expected ({len(few)},)"
    assert loss.isfinite().all(), f"loss is {loss.tolist()}, expected finite numbers"


def loss_can_be_descended(case: Case) -> None:
    """loss is differentiable in the batch's audio or velocity, for every item, as surrogate-based defenses need it.

    An attacker whose view has no velocities is exempt.
    """
    few = _few(case)
    if not _reads_loudness(case):
        raise Skipped("by its view it reads neither audio nor velocities, so its loss has no gradient in them")
    signal = few.signal.clone().requires_grad_()
    (slope,) = torch.autograd.grad(case.plugin.loss(_model(case), few.with_signal(signal)).sum(), signal)
    assert slope.isfinite().all(), "the gradient has NaN or infinity, expected finite numbers"
    flat = [few.ids[i] for i in (slope.flatten(1).abs().amax(1) == 0).nonzero().flatten().tolist()]
    assert not flat, f"the gradient of item '{flat[0]}' is zero everywhere, expected one that depends on the item"


def builds_by_the_generator_alone(case: Case) -> None:
    """model and loss do not use the global generators or the network."""
    few = _few(case)
    _model(case)
    with global_generators_unmoved(), offline():
        case.plugin.loss(case.plugin.model(few, Generator().manual_seed(0)).eval(), few)


def quality_is_one_number_an_item(case: Case) -> None:
    """quality returns named metrics, each [item] and finite."""
    few = _few(case)
    quality = case.plugin.quality(_model(case), few)
    assert quality, "quality returned no metric, expected at least one"
    for name, values in quality.items():
        assert values.shape == (len(few),), f"{name} has shape {tuple(values.shape)}, expected ({len(few)},)"
        assert values.isfinite().all(), f"{name} is {values.tolist()}, expected finite numbers"


def learns_clean_data(case: Case) -> None:
    """Training on clean data raises the scored quality on held-out data by more than 3 standard errors.

    Without this positive control the score of a defense has no meaning.
    """
    train, _, test = _material(case)
    untrained = case.plugin.quality(_untrained(case, train), test)
    better(case.plugin.quality(_trained(case)[0], test), untrained, test)


def learns_the_same_from_the_same_seed(case: Case) -> None:
    """Two trainings with the same generator give the same quality, whatever the state of the global generators."""
    test = _material(case)[2]
    first = case.plugin.quality(_trained(case)[0], test)
    second = case.plugin.quality(_trained_again(case), test)
    for name, values in first.items():
        assert torch.allclose(values, second[name], atol=1e-5), f"'{name}' differs between two trainings of one seed"


def learns_on_the_device_of_its_data(case: Case) -> None:
    """learn creates every tensor on its data's device, none on the processor by default."""
    _trained_again(case)


def works_on_the_device_of_its_data(case: Case) -> None:
    """model, loss and its gradient, quality and the optional methods create every tensor on their data's device."""
    plugin, few, model = case.plugin, _few(case), _model(case)

    def descend() -> None:
        signal = few.signal.clone().requires_grad_()
        loss = plugin.loss(model, few.with_signal(signal)).sum()
        if loss.requires_grad:
            torch.autograd.grad(loss, signal, allow_unused=True)

    def rng() -> Generator:
        return Generator().manual_seed(0)

    parts = _parts(few) if plugin.implements("continuation") else ()
    pairs = torch.zeros(1, 2, dtype=torch.int64, device=few.device)
    calls: dict[str, Callable[[], Any]] = {
        "model": lambda: plugin.model(few, rng()),
        "loss": descend,
        "quality": lambda: plugin.quality(model, few),
        "view": lambda: plugin.view(few),
        "prior": lambda: plugin.prior(plugin.model(few, rng()), few),
        "generate": lambda: plugin.generate(model, few, rng()),
        "continuation": lambda: plugin.continuation(model, *parts, pairs),
    }
    for name, call in calls.items():
        if name in ("model", "loss", "quality") or plugin.implements(name):
            with require_data_device(plugin, name):
                call()
    calls_of_to: list[Any] = []
    real = nn.Module.to

    def moves(network: nn.Module, *args: Any, **kwargs: Any) -> nn.Module:
        calls_of_to.append((args, kwargs))
        return real(network, *args, **kwargs)

    with mock.patch.object(nn.Module, "to", moves):
        plugin.model(few, rng())
    assert any(few.device in (*args, *kwargs.values()) for args, kwargs in calls_of_to), (
        "model never moves its network to the data's device, expected a call of .to(like.device)"
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
    """learn takes as many optimiser steps for a part of a set as for the whole: it counts `epoch_items`, not items."""
    train = _material(case)[0]
    part = dataclasses.replace(train.select(range((len(train) + 1) // 2)), whole=len(train))
    steps = [_trained(case)[2], _train(case, part)[2]]
    if not any(steps):
        raise Skipped("it uses no optimiser of torch, so its steps cannot be counted")
    assert steps[0] == steps[1], (
        f"{steps[0]} steps for {len(train)} items, but {steps[1]} for {len(part)} of them, expected as many: "
        f"count `train.epoch_items` items an epoch"
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
        raise AssertionError("learn never called `augment`, expected a call for every batch, for adaptations to work")


def generates(case: Case) -> None:
    """generate returns valid new data, as many items as requested."""
    few = _few(case)
    samples = case.plugin.generate(_trained(case)[0], few, Generator().manual_seed(0))
    assert len(samples) == len(few), f"generate returned {len(samples)} items, expected {len(few)}"
    valid(samples, "generated")


def names_its_validity_checks(case: Case) -> None:
    """validity returns `ValidityCheck`s for the mean qualities of two arms, and clean data passes them."""
    train, _, test = _material(case)
    models = (_trained(case)[0], _untrained(case, train))
    means = [{name: float(v.mean()) for name, v in case.plugin.quality(model, test).items()} for model in models]
    for check in case.plugin.validity(*means):
        assert isinstance(check, ValidityCheck), f"validity gave {type(check).__name__}, expected ValidityCheck"
        assert check.passed, f"clean data fails '{check.name}': {check.value:.4g}, limit {check.limit:.4g}"


def views_what_it_reads(case: Case) -> None:
    """view returns int64 rows whose first column is the item; the rows of an item do not depend on the other items."""
    few = _few(case)
    rows = case.plugin.view(few)
    assert rows.dtype == torch.int64, f"view gave {rows.dtype}, expected torch.int64"
    assert rows.dim() == 2, f"view has shape {tuple(rows.shape)}, expected [element, 1 + field]"
    items = rows[:, 0].unique().tolist()
    assert items == list(range(len(few))), f"the first column names items {items}, expected 0..{len(few) - 1}"
    first = case.plugin.view(few.select([0]))
    assert view_change(rows[rows[:, 0] == 0], first, 1).item() == 0.0, (
        "view gives an item other rows when it is alone in a set, expected the same"
    )


def continues(case: Case) -> None:
    """continuation returns [pair], finite; the likelihood of a pair does not depend on the other pairs."""
    prompts, continuations = _parts(_few(case))
    pairs = torch.cartesian_prod(torch.arange(len(prompts)), torch.arange(len(prompts)))
    with torch.no_grad():
        likelihood = case.plugin.continuation(_model(case), prompts, continuations, pairs)
        last = case.plugin.continuation(_model(case), prompts, continuations, pairs[-1:])
    assert likelihood.shape == (len(pairs),), f"continuation has shape {tuple(likelihood.shape)}, expected [pair]"
    assert likelihood.isfinite().all(), f"continuation is {likelihood.tolist()}, expected finite numbers"
    assert torch.allclose(likelihood[-1:], last, atol=1e-3), (
        f"a pair's likelihood is {float(last):.4f} alone, {float(likelihood[-1]):.4f} beside others, expected the same"
    )


class _Reached(Exception):
    """Ends a training at the first batch that is augmented."""


def _untrained(case: Case, train: Data) -> nn.Module:
    """Return the untrained arm of the score: the initial model, or the `prior` where there is one."""
    model: nn.Module = case.plugin.model(train, Generator().manual_seed(0))
    if case.plugin.implements("prior"):
        case.plugin.prior(model, train)
    return model


def _material(case: Case) -> tuple[Data, Data, Data]:
    """Return train, validation and test sets of the data set that the attacker names, else generated ones."""
    return case.cached("material", lambda: _loaded(case))  # type: ignore[no-any-return]


def _loaded(case: Case) -> tuple[Data, Data, Data]:
    name = case.plugin.dataset
    if not name:
        return sets.material(case.domain)
    fields = {item.name for item in dataclasses.fields(plugins.load("datasets", name))}
    parameters = {"domain": case.domain} if "domain" in fields else {}
    dataset = plugins.build("datasets", name, parameters, preset="smoke")
    try:
        return dataset.load("train"), dataset.load("validation"), dataset.load("test")
    except BenchError as error:
        raise Skipped(f"its data set '{name}' is not here: {error}") from error


def _few(case: Case) -> Data:
    train = _material(case)[0]
    return train.select(range(min(4, len(train))))


def _parts(items: Data) -> tuple[Data, Data]:
    """Return prompts and continuations of all items."""
    return halves(items, int(items.lengths.min()) // 2)


def _model(case: Case) -> nn.Module:
    """Return the untrained model in evaluation mode."""
    return case.cached("model", lambda: _build_model(case)).eval()  # type: ignore[no-any-return]


def _build_model(case: Case) -> nn.Module:
    """Build the untrained model; skip the check where that is impossible here."""
    try:
        return case.plugin.model(_few(case), Generator().manual_seed(0))  # type: ignore[no-any-return]
    except BenchError as error:
        raise Skipped(f"its model cannot be built here: {error}") from error


def _trained(case: Case) -> tuple[nn.Module, list[Epoch], int]:
    _model(case)
    return case.cached("trained", lambda: _train(case))  # type: ignore[no-any-return]


def _trained_again(case: Case) -> nn.Module:
    """Train again with the same generator, other global states, no network and another default device."""

    def learn() -> nn.Module:
        with (
            global_generators_elsewhere(),
            global_generators_unmoved(),
            offline(),
            require_data_device(case.plugin, "learn"),
        ):
            return _train(case)[0]  # type: ignore[no-any-return]

    _model(case)
    return case.cached("trained again", learn)  # type: ignore[no-any-return]


def _train(case: Case, train: Data | None = None) -> tuple[Any, list[Epoch], int]:
    """Train the attacker; return the model, its logged epochs, and the number of optimiser steps."""
    from torch.optim import optimizer

    lines: list[Epoch] = []
    steps: list[Any] = []
    full_set, validation, _ = _material(case)
    handle = optimizer.register_optimizer_step_post_hook(lambda *arguments: steps.append(None))
    try:
        model = case.plugin.learn(train or full_set, validation, Generator().manual_seed(0), log=lines.append)
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
    continues,
)


def _reads_loudness(case: Case) -> bool:
    """Return whether what the attacker reads, by its view, depends on the loudness."""
    few = _few(case)
    if not case.plugin.implements("view"):
        return True
    return not torch.equal(case.plugin.view(few), case.plugin.view(few.with_signal(few.signal * 0.5)))


ONLY_IF: dict[Function, Callable[[Case], bool]] = {
    takes_as_many_steps_of_a_part: lambda case: case.plugin.epochs is not None,
    generates: lambda case: case.plugin.implements("generate"),
    names_its_validity_checks: lambda case: case.plugin.implements("validity"),
    views_what_it_reads: lambda case: case.plugin.implements("view"),
    continues: lambda case: case.plugin.implements("continuation"),
}
