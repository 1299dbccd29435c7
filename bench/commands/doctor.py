"""`bench doctor`: packages, weights and data sets on this machine, and what cannot be done without the others."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclopts import App

from bench import plugins
from bench.commands.options import Flag
from bench.exits import OK
from bench.extras import explained

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
    "mido": "reading and writing MIDI",
    "pretty_midi": "the soundfont that renders notes to audio",
    "tinysoundfont": "rendering notes to audio",
    "datasets": "data sets of the Hugging Face library",
    "pesq": "PESQ of speech",
    "pyopen-wakeword": "the speech embedding of the attacker frozen",
    "pystoi": "STOI of speech",
    "ray": "--on ray",
    "mlflow-skinny": "bench export --to mlflow",
    "tensorboard": "bench export --to tensorboard",
    "matplotlib": "pages of bench leaderboard and bench listen",
    "s3fs": "a store on S3",
    "scikit-learn": "the detectors of bench.metrics.stealth that know no protected item",
    "tabulate": "tables",
    "pytest": "running the tests",
}


app = App(name="doctor", help_epilogue="Examples:\n  bench doctor\n  bench doctor --clean\n")


@app.default
def doctor(*, store: str | None = None, clean: Flag = False) -> int:
    """Report which packages, weights and data sets this machine has, and what cannot be done without the others.

    Parameters
    ----------
    store
        Store to report on; default: $BENCH_STORE, else the user's cache folder.
    clean
        Delete all intermediate results in the store; they are computed again when needed. Records stay.
    """
    from bench.trials.store import Store, default_url

    root = Store(store or default_url()).root
    if clean:
        print(f"store     removed {_size(_clear(root))} of artefacts from {root}")
    for line in (*_machine(), *_packages(), *_storage(root), *_imports(), *_plugins()):
        print(line)
    return OK


def _machine() -> Iterator[str]:
    """Yield lines about Python, cores and devices."""
    from bench.devices import selected

    yield f"python    {platform.python_version()} on {platform.platform()}"
    yield f"cores     {len(os.sched_getaffinity(0))}"
    devices = selected("auto")
    for each in devices:
        yield f"device    {each.device}: {each.name}, {each.memory_gb:.0f} GB: --device auto uses it"
    if not devices:
        yield "device    cpu: no accelerator that torch can use; presets smoke and small are for processors"


def _packages() -> Iterator[str]:
    """Yield a line per package."""
    from importlib.metadata import PackageNotFoundError, version

    for package, effect in PACKAGES.items():
        try:
            yield f"package   ok    {package} {version(package)}"
        except PackageNotFoundError:
            yield f"package   LACKS {package}: {effect}"


def _storage(root: Path) -> Iterator[str]:
    """Yield lines about the store and the data root."""
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    free_bytes = shutil.disk_usage(root).free
    yield f"store     {root}: {_size(size)} used, {_size(free_bytes)} free on its disk"
    data = os.environ.get("BENCH_DATA")
    yield f"data      BENCH_DATA = {data or 'not set: data sets that are not embedded are looked for nowhere'}"


def _imports() -> Iterator[str]:
    """Yield a warning if `import datasets` finds the plugin folder of that name instead of the Hugging Face library."""
    spec = importlib.util.find_spec("datasets")
    plugin_folder = plugins.home() / "datasets"
    if spec is not None and plugin_folder in [Path(folder) for folder in spec.submodule_search_locations or ()]:
        wrong = f"imports   WRONG 'import datasets' finds {plugin_folder}"
        yield f"{wrong}: install the Hugging Face library, Transformers needs it"


def _plugins() -> Iterator[str]:
    """Yield a line per plugin, and one for everything that it needs on this machine."""
    for kind in plugins.FOLDERS:
        for name in plugins.names(kind):
            kind_name = f"{plugins.SINGULAR[kind]:<10}"
            try:
                plugin: Any = plugins.build(kind, name)
            except Exception as error:
                yield f"{kind_name} BROKEN {name}: {str(error).splitlines()[0]}"
                continue
            yield f"{kind_name} ok     {name}"
            for item, effect in _inventory(plugin).items():
                yield f"{kind_name} {'LACKS' if effect else 'ok   '}    {item}{': ' + effect if effect else ''}"


def _inventory(plugin: Any) -> dict[str, str]:
    """Return what a plugin needs on this machine: name -> what its absence disables, "" where it is present."""
    try:
        return dict(plugin.inventory())
    except Exception as error:
        return {"inventory": str(explained(error)).splitlines()[0]}


def _clear(root: Path) -> int:
    """Remove artefacts and leftovers, never records; return how many bytes that was."""
    total = 0
    for folder in (root / "artefacts", root / "tmp"):
        total += sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
    return total


def _size(count: float) -> str:
    """Format a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
