"""`bench list`, `bench check` and `bench doctor`: what there is, what fits the contract, what this machine lacks."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import plugins
from bench.errors import PluginError, unknown

# Package -> what cannot be done without it.
PACKAGES = {
    "torch": "nothing works without it",
    "soundfile": "no sound file can be read or written",
    "transformers": "attackers that are Transformers models (musicgen)",
    "peft": "LoRA fine-tuning",
    "torchaudio": "attackers and data sets built on torchaudio",
    "audiocraft": "cross-checks with MusicGen's reference code",
    "frechet-audio-distance": "FAD over VGGish, PANN, CLAP and EnCodec",
    "muspy": "reading MusicXML: the chorales",
    "music21": "the corpus of the chorales",
    "symusic": "reading MIDI quickly",
    "pretty_midi": "the soundfont that renders notes to audio",
    "tinysoundfont": "rendering notes to audio",
    "datasets": "data sets of the Hugging Face library",
    "pesq": "PESQ of speech",
    "pystoi": "STOI of speech",
    "ray": "--on ray",
    "tabulate": "tables",
    "pytest": "running the tests",
}


def listing(kinds: Sequence[str], *, as_json: bool) -> None:
    """Print the plugins of some kinds."""
    found = [listing for kind in kinds for listing in plugins.names(kind).values()]
    if as_json:
        rows = [{**dataclasses.asdict(entry), "path": str(entry.path) if entry.path else None} for entry in found]
        print(json.dumps(rows, indent=1))
        return
    width = max((len(entry.name) for entry in found), default=0)
    for kind in kinds:
        print(kind)
        for entry in found:
            if entry.kind == kind:
                origin = "" if entry.origin == "built in" else f"  [{entry.origin}]"
                print(f"  {entry.name:<{width}}  {entry.summary}{origin}")


def conformance(name: str, kind: str | None, *, fast: bool) -> bool:
    """Print one line a check; whether all that ran passed."""
    from bench import check

    kind = kind or kind_of(name)
    passed = True
    for each in check.checks(kind, name):
        if fast and each.slow:
            continue
        mark, why = "ok  ", each.meaning
        try:
            each.run()
        except check.Skipped as skip:
            mark, why = "skip", f"{each.meaning}: {skip}"
        except AssertionError as error:
            passed, mark, why = False, "FAIL", f"{each.meaning}: {error}"
        print(f"{mark}  {each.name}  {why}", flush=True)
    print(f"{kind} '{name}' {'fits' if passed else 'does not fit'} the contract (kit {check.KIT_VERSION})")
    return passed


def kind_of(name: str) -> str:
    """The kind of a plugin by its name alone. Raises `PluginError` where none, or several, have it."""
    if name.endswith(".py"):
        fitting = [kind for kind in plugins.FOLDERS if _loads(kind, name)]
    else:
        fitting = [kind for kind in plugins.FOLDERS if name in plugins.names(kind)]
    if len(fitting) > 1:
        raise PluginError(f"'{name}' is in {' and '.join(fitting)}: say which with --kind")
    if not fitting:
        if name.endswith(".py"):
            plugins.load("defenses", name)  # says what is wrong with the file
        raise PluginError(unknown("plugin", name, [each for kind in plugins.FOLDERS for each in plugins.names(kind)]))
    return fitting[0]


def doctor(store_url: str | None, *, clean: bool) -> None:
    """Print what is here and what each lacking thing disables; with `clean`, empty the store first."""
    from bench.trials.store import Store, default_url

    store = Store(store_url or default_url())
    if clean:
        print(f"store     removed {_size(_clear(store.root))} of artefacts from {store.root}")
    for line in (*_machine(), *_packages(), *_storage(store.root), *_imports(), *_plugins()):
        print(line)


def _machine() -> Iterator[str]:
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none: presets smoke and small are for this"
    yield f"python    {platform.python_version()} on {platform.platform()}"
    yield f"cores     {len(os.sched_getaffinity(0))}, accelerator: {gpu}"


def _packages() -> Iterator[str]:
    from importlib.metadata import PackageNotFoundError, version

    for package, loss in PACKAGES.items():
        try:
            yield f"package   ok    {package} {version(package)}"
        except PackageNotFoundError:
            yield f"package   LACKS {package}: {loss}"


def _storage(root: Path) -> Iterator[str]:
    used = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    free = shutil.disk_usage(root).free
    yield f"store     {root}: {_size(used)} used, {_size(free)} free on its disk"
    data = os.environ.get("BENCH_DATA")
    yield f"data      BENCH_DATA = {data or 'not set: data sets that are not embedded are looked for nowhere'}"


def _imports() -> Iterator[str]:
    """Our folder `datasets/` must never be what `import datasets` finds."""
    spec = importlib.util.find_spec("datasets")
    ours = plugins.home() / "datasets"
    if spec is not None and ours in [Path(place) for place in spec.submodule_search_locations or ()]:
        yield f"imports   WRONG 'import datasets' finds {ours}: install the Hugging Face library, Transformers needs it"


def _plugins() -> Iterator[str]:
    for kind in plugins.FOLDERS:
        for name in plugins.names(kind):
            lacks = _lacks(kind, name)
            yield f"{plugins.SINGULAR[kind]:<9} {'LACKS' if lacks else 'ok   '} {name}{': ' + lacks if lacks else ''}"


def _lacks(kind: str, name: str) -> str:
    """What a plugin misses on this machine, by its own word, or why it cannot be loaded."""
    try:
        plugin: Any = plugins.build(kind, name)
    except Exception as error:
        return str(error).splitlines()[0]
    return str(plugin.lacks()) if hasattr(plugin, "lacks") else ""


def _loads(kind: str, name: str) -> bool:
    try:
        plugins.load(kind, name)
    except PluginError:
        return False
    return True


def _clear(root: Path) -> int:
    """Remove artefacts and leftovers, never records; how many bytes that was."""
    total = 0
    for folder in (root / "artefacts", root / "tmp"):
        total += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    return total


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
