"""What each task of a plan does: load, protect, audit, mix, adapt, learn, evaluate, compare.

`perform` is all that an executor calls. It reads a stage's parents from the store, does the work with the stage's
plugins and writes the artefact; nothing passes between stages but through the store. Random numbers come from one
generator a stage, seeded by the task and the trial's seed alone, so that arms and defenses are paired by seed.
"""

from __future__ import annotations

import hashlib
import resource
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, nn

from bench import plugins
from bench.api import Clips, Data, Epoch, Knowledge, Log, Rolls
from bench.devices import CPU, name_of
from bench.errors import BenchError, DataError, PluginError
from bench.extras import explained
from bench.files import Terminated, write_json
from bench.guard import exit_raises, exit_sentence
from bench.metrics.alignment import alignment_hash, misaligned
from bench.metrics.learning import view_change
from bench.results.record import Number, numbers, numbers_by_name
from bench.trials import measuring, shares
from bench.trials.artefacts import load_data, load_model, save_data, save_model
from bench.trials.plan import Stage
from bench.trials.provenance import provenance
from bench.trials.recording import attacker_checks
from bench.trials.scheduler import Outcome
from bench.trials.store import Store
from bench.trials.trial import Part
from bench.vocabulary import PerDomain

Report = Callable[[str], None]  # a line for people: how far a stage is


def generator(task: str, seed: int, device: torch.device | str = "cpu") -> Generator:
    """The random numbers of a stage: the same for every defense and every arm of one seed."""
    state = int.from_bytes(hashlib.sha256(f"{task}:{seed}".encode()).digest()[:7], "big")
    return Generator(device=device).manual_seed(state)


def perform(stage: Stage, store_url: str, report: Report = lambda line: None, device: str = CPU) -> Outcome:
    """Do one stage and put its artefact into the store.

    Args:
        stage: what to do.
        store_url: where its parents are and its artefact goes.
        report: is told how far the stage is.
        device: where its tensors are, such as "cuda:0".

    Returns:
        How it ended. An error of a plugin, and its attempt to end the process, are outcomes and never raised.
    """
    started = time.perf_counter()
    try:
        store = Store(store_url)
        if not store.has(stage.key):
            with exit_raises():
                _do(stage, store, report, torch.device(device))
    except (KeyboardInterrupt, Terminated):  # the user's
        raise
    except BaseException as error:  # also what a plugin raises that is no Exception: SystemExit, CancelledError
        reason = explained(error) if isinstance(error, Exception) else error
        return Outcome(stage.key, time.perf_counter() - started, _described(reason), isinstance(reason, BenchError))
    return Outcome(stage.key, time.perf_counter() - started)


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
            torch.cuda.empty_cache()  # the next stage of this device may be another process's


@dataclass(frozen=True)
class _Work:
    """One stage at work: its plugins, its parents' artefacts and its random numbers."""

    stage: Stage
    store: Store
    device: torch.device
    report: Report

    def plugin(self, role: str) -> Any:
        """The only plugin of a role, or None."""
        instances = self.plugins(role)
        return instances[0] if instances else None

    def plugins(self, role: str) -> tuple[Any, ...]:
        return tuple(_built(part) for part in self.stage.parts.get(role, ()))

    def data(self, role: str) -> Any:
        return load_data(self.parent(role), self.device)

    def parent(self, role: str) -> Path:
        return self.store.open(self.stage.parents[role])

    def logging(self, epochs: list[dict[str, float]]) -> Log:
        """A log that keeps every line and tells people."""

        def log(epoch: Epoch) -> None:
            epochs.append(epoch.numbers())
            self.report("  ".join(f"{name} {value:.4g}" for name, value in epochs[-1].items()))

        return log

    def rng(self) -> Generator:
        return generator(self.stage.task, self.stage.options["seed"], self.device)


def _load(work: _Work, folder: Path) -> dict[str, Any]:
    split = work.stage.options["split"]
    data = work.plugin("dataset").load(split)
    data.check(f"{work.stage.title}")
    save_data(folder, data)
    return _counts(data)


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
        data = replace(data, lengths=protected.lengths)  # its padding counts as recording
    protected = _paired(data, protected, work.stage)
    _within(data, protected, defense.epsilon, work.stage)
    save_data(folder, protected)
    write_json(folder / "crafting.json", [numbers_by_name(row) for row in rounds])
    return {"alignment": alignment_hash(load_data(folder))}  # of the rounded file: that is what is published


def _audit(work: _Work, folder: Path) -> dict[str, Any]:
    """Measure how audible the published set is beside the clean one."""
    clean, published = work.data("clean"), work.data("protected")
    clean = replace(clean, lengths=published.lengths)  # a defense may have filled the padding
    rng = generator("audibility", 0, work.device)
    write_json(folder / "audibility.json", measuring.audibility(clean, published, work.stage.options["content"], rng))
    return {}


def _mix(work: _Work, folder: Path) -> dict[str, Any]:
    """Publish protected items for a share of the set and the rest as it is; without a protected set, keep that rest."""
    data = work.data("train")
    protected = shares.protected_items(data, work.stage.options["share"], work.rng())
    if "protected" in work.stage.parents:
        data = shares.mixed(data, work.data("protected"), protected)
    else:
        data = data.select((~protected).nonzero()[:, 0])
        if not len(data):
            raise DataError(f"{work.stage.title}: nothing is left unprotected, expected a smaller share")
    save_data(folder, data)
    return {**_counts(data), "protected": int(protected.sum()), "alignment": alignment_hash(load_data(folder))}


def _adapt(work: _Work, folder: Path) -> dict[str, Any]:
    data, adaptation = work.data("train"), work.plugin("adaptation")
    if "labels" in adaptation.requires and data.labels is None:
        raise DataError(f"{work.stage.title}: the adaptation requires labels, expected a data set of classes")
    adapted = adaptation.transform(data, work.rng())
    adapted.check(work.stage.title)
    save_data(folder, adapted)
    return _counts(adapted)


def _learn(work: _Work, folder: Path) -> dict[str, Any]:
    attacker, adaptation = work.plugin("attacker"), work.plugin("adaptation")
    train, validation = work.data("train"), work.data("validation")
    published = work.store.meta(work.stage.parents["train"]).get("alignment")
    if published and published != alignment_hash(train):
        raise DataError(
            f"{work.stage.title}: the training set is misaligned: its alignment hash {alignment_hash(train)[:8]} "
            f"differs from {published[:8]}, recorded when it was written"
        )
    if "whole" in work.stage.parents:
        train = replace(train, whole=work.store.meta(work.stage.parents["whole"])["items"])
    epochs: list[dict[str, float]] = []
    log = work.logging(epochs)
    if adaptation is None:
        model = attacker.learn(train, validation, work.rng(), log=log)
    else:
        model = adaptation.train(attacker, train, validation, work.rng(), log=log)
    if not isinstance(model, nn.Module):
        raise PluginError(f"{work.stage.title}: learn returned {type(model).__name__}, expected torch.nn.Module")
    base = attacker.model(validation, work.rng())
    save_model(folder, model, base)
    write_json(folder / "epochs.json", [numbers_by_name(row) for row in epochs])
    return {"epochs": len(epochs)}


def _evaluate(work: _Work, folder: Path) -> dict[str, Any]:
    attacker, test = work.plugin("attacker"), work.data("test")
    # The base is rebuilt from the random numbers that learning began with.
    model = attacker.model(test, generator("learn", work.stage.options["seed"], work.device))
    if "model" in work.stage.parents:
        load_model(work.parent("model"), model)
    elif "train" in work.stage.parents:
        attacker.prior(model, work.data("train"))
    model = model.to(work.device).eval()
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
    if attacker.implements("generate"):
        result |= _generated(work, attacker, model, test, folder)
    if "untrained" in work.stage.parents:
        result["gates"] = _gates(work, attacker, result["quality"])
    write_json(folder / "quality.json", result)
    return {}


def _gates(work: _Work, attacker: Any, clean: Mapping[str, list[Number]]) -> list[dict[str, Any]]:
    """The attacker's own validity checks of the clean arm beside the untrained one."""
    untrained = work.store.json(work.stage.parents["untrained"], "quality.json")["quality"]
    return [gate.model_dump() for gate in attacker_checks(attacker, clean, untrained)]


def _generated(work: _Work, attacker: Any, model: nn.Module, test: Data, folder: Path) -> dict[str, Any]:
    """Let the model generate, keep what it made, and measure it."""
    work.report("generating")
    with torch.no_grad():
        samples = attacker.generate(model, test, work.rng())
    save_data(folder, samples)
    return measuring.generated(test, samples, work.rng)


def _compare(work: _Work, folder: Path) -> dict[str, Any]:
    """Of each item that both sets hold, the share of what the attacker reads that differs."""
    attacker, clean, protected = work.plugin("attacker"), work.data("clean"), work.data("protected")
    index_of = {name: at for at, name in enumerate(clean.ids)}
    shared = [at for at, name in enumerate(protected.ids) if name in index_of]
    protected = protected.select(shared)
    clean = clean.select([index_of[name] for name in protected.ids])
    changed = view_change(attacker.view(clean).cpu(), attacker.view(protected).cpu(), len(clean))
    write_json(folder / "view.json", {"changed": numbers(changed.tolist())})
    return {}


def _paired(data: Data, protected: Any, stage: Stage) -> Data:
    """The invariants of every protected set: same items, shape and rate; usable values; nothing in the padding."""
    what = stage.title
    if type(protected) is not type(data):
        raise PluginError(f"{what}: protect returned {type(protected).__name__}, expected {type(data).__name__}")
    if protected.ids != data.ids:
        raise PluginError(f"{what}: the ids changed or their order did: noise would be paired with the wrong clips")
    clean_signal, protected_signal = data.signal, protected.signal
    if clean_signal.shape != protected_signal.shape:
        raise PluginError(
            f"{what}: the shape changed from {tuple(clean_signal.shape)} to {tuple(protected_signal.shape)}"
        )
    if not torch.equal(data.lengths, protected.lengths):
        raise PluginError(f"{what}: the lengths changed, expected the same recordings")
    checked: Data = protected.check(what)
    _PAIRED.of(data)(data, protected, what)
    return checked


def _paired_clips(data: Clips, protected: Clips, what: str) -> None:
    if data.rate != protected.rate:
        raise PluginError(f"{what}: the rate changed from {data.rate} to {protected.rate}")
    if strangers := misaligned(data, protected):
        name, other = strangers[0]
        raise PluginError(
            f"{what}: {len(strangers)} of {len(data)} protected clips are more like another clip's recording than like "
            f"their own (first: '{name}' is like '{other}'), expected the clips in their order, each changed less"
        )


def _paired_rolls(data: Rolls, protected: Rolls, what: str) -> None:
    """Notes may all have changed: nothing more is known of rolls."""


_PAIRED: PerDomain[Callable[[Any, Any, str], None]] = PerDomain(audio=_paired_clips, midi=_paired_rolls)


def _within(data: Data, protected: Data, epsilon: float | None, stage: Stage) -> None:
    """A defense that names a bound keeps it, to one step of 16 bits."""
    if epsilon is None:
        return
    most = float((protected.signal - data.signal).abs().max())
    if most > epsilon + 2**-15:
        raise PluginError(f"{stage.title}: the noise peaks at {most:.5f}, which is over its own bound {epsilon:.5f}")


def _counts(data: Data) -> dict[str, Any]:
    return {"items": len(data), "groups": len(set(data.groups)), "seconds": round(data.seconds, 3)}


def _built(part: Part) -> Any:
    """A plugin as the plan resolved it; refused where this machine's source is another than the plan's."""
    current = plugins.digest(part.kind, part.name)
    if current != part.digest:
        raise PluginError(f"'{part.name}' here ({current}) differs from the one that was planned ({part.digest})")
    plugin = plugins.from_parameters(part.kind, part.name, plugins.load(part.kind, part.name), part.params)
    if part.data and plugin.fingerprint() != part.data:
        raise DataError(f"the files of '{part.title}' here are not those that were planned with: run the command again")
    return plugin


def _described(error: BaseException) -> dict[str, str]:
    lines = traceback.format_exception(error)
    tail = "" if isinstance(error, BenchError) else "".join(lines)[-3000:]
    message = exit_sentence(error) if isinstance(error, SystemExit) else str(error)
    return {"type": type(error).__name__, "message": message.split("\n")[0][:500], "tail": tail}


TASKS: dict[str, Callable[[_Work, Path], dict[str, Any]]] = {
    "load": _load,
    "protect": _protect,
    "audit": _audit,
    "mix": _mix,
    "adapt": _adapt,
    "learn": _learn,
    "evaluate": _evaluate,
    "compare": _compare,
}
