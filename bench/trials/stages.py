"""Perform the tasks of a plan: load, draw, protect, audit, mix, adapt, learn, evaluate, compare, memorise.

Executors call `perform`. It reads a stage's parents from the store, runs the task with the stage's plugins and writes
the artefact; stages exchange data only through the store. Each stage has one random generator, seeded by the task and
the trial's seed alone, so that arms and defenses are paired by seed.
"""

from __future__ import annotations

import functools
import hashlib
import resource
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from bench import plugins
from bench.api import Data, Epoch, Knowledge, Log, concatenate
from bench.devices import CPU, name_of
from bench.errors import BenchError, DataError, PluginError
from bench.extras import explained
from bench.files import Terminated, write_json
from bench.guard import exit_raises, exit_sentence
from bench.metrics.alignment import alignment_hash
from bench.metrics.learning import view_change
from bench.results.record import Number, numbers, numbers_by_name
from bench.trials import draws, measuring, memorising, shares
from bench.trials.artefacts import load_data, load_model, save_data, save_model
from bench.trials.chains import Chain, paired, trainer
from bench.trials.plan import Stage
from bench.trials.protected import check_bound, check_protected
from bench.trials.provenance import provenance
from bench.trials.recording import attacker_checks
from bench.trials.scheduler import Outcome
from bench.trials.store import Store
from bench.trials.trial import Part

Report = Callable[[str], None]  # called with a progress line


def generator(task: str, seed: int, device: torch.device | str = "cpu") -> Generator:
    """Return the random generator of a stage: the same for every defense and every arm of one seed.

    Args:
        task: The stage's task.
        seed: The trial's seed.
        device: The device of the generator.

    Returns:
        A new generator.
    """
    state = int.from_bytes(hashlib.sha256(f"{task}:{seed}".encode()).digest()[:7], "big")
    return Generator(device=device).manual_seed(state)


def perform(stage: Stage, store_url: str, report: Report = lambda line: None, device: str = CPU) -> Outcome:
    """Perform one stage and put its artefact into the store.

    Args:
        stage: The stage.
        store_url: The store with its parents, for its artefact.
        report: Called with progress lines.
        device: Where its tensors are, such as "cuda:0".

    Returns:
        The outcome. An error of a plugin, or its attempt to end the process, is an outcome and never raised.
    """
    start = time.perf_counter()
    try:
        store = Store(store_url)
        if not store.has(stage.key):
            with exit_raises():
                _do(stage, store, report, torch.device(device))
    except BaseException as error:  # plugins may raise SystemExit or CancelledError, which are not Exceptions
        if _from_user(error):
            raise
        reason = explained(error) if isinstance(error, Exception) else error
        return Outcome(stage.key, time.perf_counter() - start, _described(reason), isinstance(reason, BenchError))
    return Outcome(stage.key, time.perf_counter() - start)


def _from_user(error: BaseException) -> bool:
    """Whether the user or the system asked to stop. A worker ignores Ctrl-C, so there an interrupt is the plugin's."""
    if isinstance(error, KeyboardInterrupt):
        return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    return isinstance(error, Terminated)


def _do(stage: Stage, store: Store, report: Report, device: torch.device) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    if device.type != CPU:
        torch.cuda.reset_peak_memory_stats(device)
    threads = torch.get_num_threads()
    torch.set_num_threads(stage.needs.cpus)
    try:
        work = _Work(stage, store, device, report)
        with store.write(stage.key) as (folder, meta):
            meta |= {"schema": 1, "task": stage.task, "title": stage.title, "parents": dict(stage.parents)}
            meta |= TASKS[stage.task](work, folder) or {}
            meta["cost"] = {
                "seconds": round(time.perf_counter() - wall, 3),
                "cpu_seconds": round(time.process_time() - cpu, 3),
                "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            }
            if device.type != CPU:
                meta["cost"]["peak_accelerator_mb"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
            meta["made"] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **provenance()}
            meta["made"]["accelerator"] = name_of(str(device))
    finally:
        torch.set_num_threads(threads)
        if device.type != CPU:
            torch.cuda.empty_cache()  # another process may use this device next


@dataclass(frozen=True)
class _Work:
    """One stage in progress: its plugins, its parents' artefacts and its random numbers."""

    stage: Stage
    store: Store
    device: torch.device
    report: Report

    def plugin(self, role: str) -> Any:
        """Return the only plugin of a role, or None."""
        instances = self.plugins(role)
        return instances[0] if instances else None

    def plugins(self, role: str) -> tuple[Any, ...]:
        return tuple(_load_plugin(part) for part in self.stage.parts.get(role, ()))

    def data(self, role: str) -> Any:
        return load_data(self.parent(role), self.device)

    def parent(self, role: str) -> Path:
        return self.store.open(self.stage.parents[role])

    def logging(self, epochs: list[dict[str, float]]) -> Log:
        """Return a log that appends to `epochs` and reports progress."""

        def log(epoch: Epoch) -> None:
            epochs.append(epoch.numbers())
            self.report("  ".join(f"{name} {value:.4g}" for name, value in epochs[-1].items()))

        return log

    def rng(self) -> Generator:
        """Return the generator of the task; of a stage with a stream of its own, that of the stream."""
        task, options = self.stage.task, self.stage.options
        return generator(f"{task} {options['stream']}" if "stream" in options else task, options["seed"], self.device)


def _load(work: _Work, folder: Path) -> dict[str, Any]:
    split = work.stage.options["split"]
    data = work.plugin("dataset").load(split)
    data.check(f"{work.stage.title}")
    save_data(folder, data)
    return _counts(data)


def _draw(work: _Work, folder: Path) -> dict[str, Any]:
    """Draw what the seed publishes, or a half of what it grants, from the training split."""
    data, options = work.data("train"), work.stage.options
    drawn = draws.draw(data, options["items"], options["granted"], work.rng())
    selected = data.select(drawn.part(options["part"]))
    save_data(folder, selected)
    return {**_counts(selected), "alignment": alignment_hash(load_data(folder))}


def _protect(work: _Work, folder: Path) -> dict[str, Any]:
    data = work.data("train")
    rounds: list[dict[str, float]] = []
    knowledge = Knowledge(
        name=work.stage.options["knowledge"],
        surrogates=work.plugins("surrogates"),
        expects=work.plugins("expects"),
        reference=work.data("reference") if "reference" in work.stage.parents else None,
        log=work.logging(rounds),
    )
    defense = work.plugin("defense")
    protected = defense.protect(data, knowledge, work.rng())
    if defense.padding and type(protected) is type(data):
        data = replace(data, lengths=protected.lengths)  # the padding is part of the protected signal
    protected = check_protected(data, protected, work.stage.title)
    check_bound(data, protected, defense.epsilon, work.stage.title)
    save_data(folder, protected)
    write_json(folder / "crafting.json", [numbers_by_name(row) for row in rounds])
    return {"alignment": alignment_hash(load_data(folder))}  # of the rounded file: that is what is published


def _audit(work: _Work, folder: Path) -> dict[str, Any]:
    """Measure how audible the difference between the published and the clean set is."""
    clean, published = work.data("clean"), work.data("protected")
    clean = replace(clean, lengths=published.lengths)  # a defense may have filled the padding
    rng = generator("audibility", 0, work.device)
    write_json(folder / "audibility.json", measuring.audibility(clean, published, work.stage.options["content"], rng))
    return {}


def _mix(work: _Work, folder: Path) -> dict[str, Any]:
    """Publish protected items for a share of the set and clean ones for the rest; without a protected set, that rest
    alone.
    """
    data = work.data("train")
    protected = shares.protected_items(data, work.stage.options["share"], work.rng())
    if "protected" in work.stage.parents:
        data = shares.mix(data, work.data("protected"), protected)
    else:
        data = data.select((~protected).nonzero()[:, 0])
        if not len(data):
            raise DataError(f"{work.stage.title}: no item is left unprotected, expected a smaller share")
    save_data(folder, data)
    return {**_counts(data), "protected": int(protected.sum()), "alignment": alignment_hash(load_data(folder))}


def _adapt(work: _Work, folder: Path) -> dict[str, Any]:
    data, adaptation = work.data("train"), work.plugin("adaptation")
    if "labels" in adaptation.requires and data.labels is None:
        raise DataError(
            f"{work.stage.title}: the adaptation requires labels, but the data set has none: expected one with classes"
        )
    if "pairs" in work.stage.parents:
        pairs = paired(work.data("clean"), work.data("pairs"), work.stage.title)
        adapted = adaptation.transform_with_pairs(data, *pairs, work.rng())
    else:
        adapted = adaptation.transform(data, work.rng())
    adapted.check(work.stage.title)
    save_data(folder, adapted)
    return _counts(adapted)


def _learn(work: _Work, folder: Path) -> dict[str, Any]:
    adaptation, attacker = trainer(work.plugins("adaptation"), work.plugin("attacker"))
    validation = work.data("validation")
    apart = adaptation is not None and adaptation.implements("train_with_granted") and "train" in work.stage.parents
    train, granted = _training_set(work, apart=apart)
    epochs: list[dict[str, float]] = []
    log = work.logging(epochs)
    if adaptation is not None and granted is not None:
        model = adaptation.train_with_granted(attacker, train, granted, validation, work.rng(), log=log)
    elif adaptation is None:
        model = attacker.learn(train, validation, work.rng(), log=log)
    else:
        model = adaptation.train(attacker, train, validation, work.rng(), log=log)
    if not isinstance(model, nn.Module):
        raise PluginError(f"{work.stage.title}: learn returned {type(model).__name__}, expected torch.nn.Module")
    base = attacker.model(validation, work.rng())
    save_model(folder, model, base)
    write_json(folder / "epochs.json", [numbers_by_name(row) for row in epochs])
    return {"epochs": len(epochs)}


def _training_set(work: _Work, apart: bool) -> tuple[Data, Data | None]:
    """Read what an arm is trained on: published items and, under a threat model, what the attacker holds anyway.

    Args:
        apart: whether the adaptation is given the granted items by themselves.

    Returns:
        The training set, and the granted items where they are kept apart.
    """
    parents = work.stage.parents
    sets = [work.data(role) for role in ("train", "granted", "replacement") if role in parents]
    if "replacement" in parents:  # another data set may name its items alike
        sets[-1] = replace(sets[-1], ids=tuple(f"replacement/{name}" for name in sets[-1].ids))
    if "train" in parents:
        recorded = work.store.meta(parents["train"]).get("alignment")
        if recorded and recorded != alignment_hash(sets[0]):
            raise DataError(
                f"{work.stage.title}: the training set is misaligned: its alignment hash {alignment_hash(sets[0])[:8]} "
                f"differs from {recorded[:8]}, recorded when it was written"
            )
    granted = sets.pop(1) if apart else None
    train = functools.reduce(concatenate, sets)
    published = work.stage.options.get("as_items", 0)
    if published or "whole" in parents:
        beside = [role for role in ("granted", "replacement") if role in parents and not (apart and role == "granted")]
        beside += [] if published else ["whole"]
        train = replace(train, whole=published + sum(work.store.meta(parents[role])["items"] for role in beside))
    return train, granted


def _evaluate(work: _Work, folder: Path) -> dict[str, Any]:
    attacker, test = work.plugin("attacker"), work.data("test")
    model = _model(work, attacker, test)
    with torch.no_grad():
        quality = attacker.quality(model, test)
    for metric, values in quality.items():
        if tuple(values.shape) != (len(test),):
            raise PluginError(f"{work.stage.title}: {metric} has shape {tuple(values.shape)}, expected ({len(test)},)")
    result: dict[str, Any] = {
        "metric": next(iter(quality)),
        "ids": test.ids,
        "groups": test.groups,
        "labels": [test.classes[label] for label in test.labels.tolist()] if test.labels is not None else [],
        "quality": {metric: numbers(values.tolist()) for metric, values in quality.items()},
    }
    if attacker.implements("generate") and work.stage.options.get("generate", True):
        result |= _generated(work, attacker, model, test, folder)
    if "untrained" in work.stage.parents:
        result["gates"] = _gates(work, attacker, result["quality"])
    write_json(folder / "quality.json", result)
    return {}


def _model(work: _Work, attacker: Any, like: Data) -> nn.Module:
    """Load the model of a stage, or build the untrained arm's."""
    # The base is built with the generator that learning began with, so it has the same initial weights.
    model: nn.Module = attacker.model(like, generator("learn", work.stage.options["seed"], work.device))
    if "model" in work.stage.parents:
        load_model(work.parent("model"), model)
    elif "train" in work.stage.parents:
        attacker.prior(model, work.data("train"))
    return model.to(work.device).eval()


def _gates(work: _Work, attacker: Any, clean: Mapping[str, list[Number]]) -> list[dict[str, Any]]:
    """Return the attacker's own validity checks of the clean arm beside the untrained one."""
    untrained = work.store.json(work.stage.parents["untrained"], "quality.json")["quality"]
    return [gate.model_dump() for gate in attacker_checks(attacker, clean, untrained)]


def _generated(work: _Work, attacker: Any, model: nn.Module, test: Data, folder: Path) -> dict[str, Any]:
    """Let the model generate a set, save it and measure it."""
    work.report("generating")
    with torch.no_grad():
        samples = attacker.generate(model, test, work.rng())
    save_data(folder, samples)
    return measuring.generated(test, samples, work.rng)


def _compare(work: _Work, folder: Path) -> dict[str, Any]:
    """Measure, for each item in both sets, the share of the attacker's input that differs."""
    attacker, clean, protected = work.plugin("attacker"), work.data("clean"), work.data("protected")
    index_of = {name: index for index, name in enumerate(clean.ids)}
    shared = [index for index, name in enumerate(protected.ids) if name in index_of]
    protected = protected.select(shared)
    clean = clean.select([index_of[name] for name in protected.ids])
    changed = view_change(attacker.view(clean).cpu(), attacker.view(protected).cpu(), len(clean))
    write_json(folder / "view.json", {"changed": numbers(changed.tolist())})
    return {}


def _memorise(work: _Work, folder: Path) -> dict[str, Any]:
    """Let the model rate continuations of the published items, in the clean, and of unpublished ones."""
    attacker, published, unpublished = work.plugin("attacker"), work.data("published"), work.data("unpublished")
    model = _model(work, attacker, unpublished)
    likelihoods = memorising.rated(attacker, model, published, unpublished, work.rng())
    write_json(folder / "memorised.json", {"likelihoods": numbers(likelihoods.tolist())})
    return {}


def _counts(data: Data) -> dict[str, Any]:
    return {"items": len(data), "groups": len(set(data.groups)), "seconds": round(data.seconds, 3)}


def _load_plugin(part: Part) -> Any:
    """Build a plugin as the plan resolved it. Raise `PluginError` or `DataError` where its source or data changed
    since.
    """
    if part.links:
        return Chain(links=tuple(map(_load_plugin, part.links)))
    current = plugins.digest(part.kind, part.name)
    if current != part.digest:
        raise PluginError(f"the source of '{part.name}' changed: digest {current}, expected {part.digest} of the plan")
    plugin = plugins.from_parameters(part.kind, part.name, plugins.load(part.kind, part.name), part.params)
    if part.data and plugin.fingerprint() != part.data:
        raise DataError(f"the data files of '{part.title}' changed since the plan was made: run the command again")
    return plugin


def _described(error: BaseException) -> dict[str, str]:
    lines = traceback.format_exception(error)
    tail = "" if isinstance(error, BenchError) else "".join(lines)[-3000:]
    message = exit_sentence(error) if isinstance(error, SystemExit) else str(error)
    return {"type": type(error).__name__, "message": message.split("\n")[0][:500], "tail": tail}


TASKS: dict[str, Callable[[_Work, Path], dict[str, Any]]] = {
    "load": _load,
    "draw": _draw,
    "protect": _protect,
    "audit": _audit,
    "mix": _mix,
    "adapt": _adapt,
    "learn": _learn,
    "evaluate": _evaluate,
    "compare": _compare,
    "memorise": _memorise,
}
